-- title: Sums of the organisation
-- meaning: One row over all that there is. Not published: KPIs stand on it, and have it from rollups where these are kept.
-- column emails_sent bigint: emails with a sent event
-- column people bigint: people of whom there is any event
-- column people_reached bigint: people with a sent event
-- column sent bigint: recipients (each counted once per email) with a sent event: S
-- column bounced bigint: of those sent, the recipients (each counted once per email) that bounced: B
-- column delivered bigint: recipients (each counted once per email) sent and not bounced: D = S - B
-- column complained bigint: recipients (each counted once per email) with a complaint
-- column unsubscribed bigint: recipients (each counted once per email) with an unsubscription
-- column opens_total bigint: all opens, repeats included; human + machine + unlabelled
-- column opens_human bigint: opens by people: actor human or proxy
-- column opens_machine bigint: opens by machines: actor prefetch, scanner or bot
-- column openers_unique bigint: recipients who opened at least once, by anyone
-- column openers_human bigint: recipients who opened at least once by a person
-- column openers_machine bigint: recipients who opened at least once by a machine
-- column clicks_total bigint: all link clicks, repeats included; human + machine + unlabelled
-- column clicks_human bigint: link clicks by people: actor human or proxy
-- column clicks_machine bigint: link clicks by machines: actor prefetch, scanner or bot
-- column clickers_unique bigint: recipients who clicked at least once, by anyone
-- column clickers_human bigint: recipients who clicked at least once by a person
-- column clickers_machine bigint: recipients who clicked at least once by a machine
-- column confirmed_openers_human bigint: opened or clicked by a person: a click proves an open
-- column attachment_views_total bigint: all attachment views, repeats included; human + machine + unlabelled
-- column attachment_views_human bigint: attachment views by people: actor human or proxy
-- column attachment_views_machine bigint: attachment views by machines: actor prefetch, scanner or bot
-- column attachment_viewers_unique bigint: recipients who viewed an attachment at least once, by anyone
-- column attachment_viewers_human bigint: recipients who viewed an attachment at least once by a person
-- column attachment_viewers_machine bigint: recipients who viewed an attachment at least once by a machine
-- column replies_total bigint: all replies, repeats included; human + machine + unlabelled
-- column replies_human bigint: replies by people: actor human or proxy
-- column replies_machine bigint: replies by machines: actor prefetch, scanner or bot
-- column repliers_unique bigint: recipients who replied at least once, by anyone
-- column repliers_human bigint: recipients who replied at least once by a person
-- column repliers_machine bigint: recipients who replied at least once by a machine
-- column first_opened_at timestamp: first open by anyone
-- column first_opened_at_human timestamp: first open by a person
-- column last_opened_at timestamp: last open by anyone
-- column last_opened_at_human timestamp: last open by a person

SELECT
  count(DISTINCT CASE WHEN sends > 0 THEN email_id END) AS emails_sent,
  count(DISTINCT recipient_id) AS people,
  count(DISTINCT CASE WHEN sends > 0 THEN recipient_id END) AS people_reached,
  count(CASE WHEN sends > 0 THEN 1 END) AS sent,
  count(CASE WHEN sends > 0 AND bounces > 0 THEN 1 END) AS bounced,
  count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
  count(CASE WHEN complaints > 0 THEN 1 END) AS complained,
  count(CASE WHEN unsubscriptions > 0 THEN 1 END) AS unsubscribed,
  CAST(coalesce(sum(opens), 0) AS BIGINT) AS opens_total,
  CAST(coalesce(sum(opens_human), 0) AS BIGINT) AS opens_human,
  CAST(coalesce(sum(opens_machine), 0) AS BIGINT) AS opens_machine,
  count(CASE WHEN opens > 0 THEN 1 END) AS openers_unique,
  count(CASE WHEN opens_human > 0 THEN 1 END) AS openers_human,
  count(CASE WHEN opens_machine > 0 THEN 1 END) AS openers_machine,
  CAST(coalesce(sum(clicks), 0) AS BIGINT) AS clicks_total,
  CAST(coalesce(sum(clicks_human), 0) AS BIGINT) AS clicks_human,
  CAST(coalesce(sum(clicks_machine), 0) AS BIGINT) AS clicks_machine,
  count(CASE WHEN clicks > 0 THEN 1 END) AS clickers_unique,
  count(CASE WHEN clicks_human > 0 THEN 1 END) AS clickers_human,
  count(CASE WHEN clicks_machine > 0 THEN 1 END) AS clickers_machine,
  count(CASE WHEN opens_human > 0 OR clicks_human > 0 THEN 1 END) AS confirmed_openers_human,
  CAST(coalesce(sum(attachment_views), 0) AS BIGINT) AS attachment_views_total,
  CAST(coalesce(sum(attachment_views_human), 0) AS BIGINT) AS attachment_views_human,
  CAST(coalesce(sum(attachment_views_machine), 0) AS BIGINT) AS attachment_views_machine,
  count(CASE WHEN attachment_views > 0 THEN 1 END) AS attachment_viewers_unique,
  count(CASE WHEN attachment_views_human > 0 THEN 1 END) AS attachment_viewers_human,
  count(CASE WHEN attachment_views_machine > 0 THEN 1 END) AS attachment_viewers_machine,
  CAST(coalesce(sum(replies), 0) AS BIGINT) AS replies_total,
  CAST(coalesce(sum(replies_human), 0) AS BIGINT) AS replies_human,
  CAST(coalesce(sum(replies_machine), 0) AS BIGINT) AS replies_machine,
  count(CASE WHEN replies > 0 THEN 1 END) AS repliers_unique,
  count(CASE WHEN replies_human > 0 THEN 1 END) AS repliers_human,
  count(CASE WHEN replies_machine > 0 THEN 1 END) AS repliers_machine,
  min(first_opened_at) AS first_opened_at,
  min(first_opened_at_human) AS first_opened_at_human,
  max(last_opened_at) AS last_opened_at,
  max(last_opened_at_human) AS last_opened_at_human
FROM engagement
