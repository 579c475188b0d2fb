-- title: Summary of the organisation
-- meaning: One row over all emails: how many were registered, followed and sent, and how often and by how many they
--   were opened, clicked, viewed and answered, by people and by machines side by side.
-- formula: delivery rate = D / S; open rate = openers / D; click rate = clickers / D; click-to-open rate = clickers /
--   confirmed openers; reply rate = repliers / D; with D = S - B. A rate without denominator is NULL. A rate over D
--   passes 1 only when a recipient whose message bounced reacted all the same.
-- unit: counts; rates from 0 to 1, their numerators and denominators are columns; times in UTC
-- source: engagement, emails
-- people: people
-- column emails_total bigint: registered emails, followed or not
-- column emails_followed bigint: emails that are followed
-- column emails_sent bigint: emails with a sent event
-- column people bigint: people of whom there is any event
-- column people_reached bigint: people with a sent event
-- column sent bigint: recipients (each counted once per email) with a sent event: S
-- column bounced bigint: of those sent, the recipients (each counted once per email) that bounced: B
-- column delivered bigint: recipients (each counted once per email) sent and not bounced: D = S - B
-- column delivery_rate double: delivered / sent
-- column complained bigint: recipients (each counted once per email) with a complaint
-- column unsubscribed bigint: recipients (each counted once per email) with an unsubscription
-- column opens_total bigint: all opens, repeats included; human + machine + unlabelled
-- column opens_human bigint: opens by people: actor human or proxy
-- column opens_machine bigint: opens by machines: actor prefetch, scanner or bot
-- column openers_unique bigint: recipients who opened at least once, by anyone
-- column openers_human bigint: recipients who opened at least once by a person
-- column openers_machine bigint: recipients who opened at least once by a machine
-- column open_rate double: openers_unique / delivered
-- column open_rate_human double: openers_human / delivered
-- column clicks_total bigint: all link clicks, repeats included; human + machine + unlabelled
-- column clicks_human bigint: link clicks by people: actor human or proxy
-- column clicks_machine bigint: link clicks by machines: actor prefetch, scanner or bot
-- column clickers_unique bigint: recipients who clicked at least once, by anyone
-- column clickers_human bigint: recipients who clicked at least once by a person
-- column clickers_machine bigint: recipients who clicked at least once by a machine
-- column confirmed_openers_human bigint: opened or clicked by a person: a click proves an open
-- column click_to_open_rate_human double: clickers_human / confirmed_openers_human
-- column click_rate double: clickers_unique / delivered
-- column click_rate_human double: clickers_human / delivered
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
-- column reply_rate double: repliers_unique / delivered
-- column reply_rate_human double: repliers_human / delivered
-- column first_opened_at timestamp: first open by anyone
-- column first_opened_at_human timestamp: first open by a person
-- column last_opened_at timestamp: last open by anyone
-- column last_opened_at_human timestamp: last open by a person

SELECT
  emails_total,
  emails_followed,
  emails_sent,
  people,
  people_reached,
  sent,
  bounced,
  delivered,
  CAST(delivered AS DOUBLE) / NULLIF(sent, 0) AS delivery_rate,
  complained,
  unsubscribed,
  opens_total,
  opens_human,
  opens_machine,
  openers_unique,
  openers_human,
  openers_machine,
  CAST(openers_unique AS DOUBLE) / NULLIF(delivered, 0) AS open_rate,
  CAST(openers_human AS DOUBLE) / NULLIF(delivered, 0) AS open_rate_human,
  clicks_total,
  clicks_human,
  clicks_machine,
  clickers_unique,
  clickers_human,
  clickers_machine,
  confirmed_openers_human,
  CAST(clickers_human AS DOUBLE) / NULLIF(confirmed_openers_human, 0) AS click_to_open_rate_human,
  CAST(clickers_unique AS DOUBLE) / NULLIF(delivered, 0) AS click_rate,
  CAST(clickers_human AS DOUBLE) / NULLIF(delivered, 0) AS click_rate_human,
  attachment_views_total,
  attachment_views_human,
  attachment_views_machine,
  attachment_viewers_unique,
  attachment_viewers_human,
  attachment_viewers_machine,
  replies_total,
  replies_human,
  replies_machine,
  repliers_unique,
  repliers_human,
  repliers_machine,
  CAST(repliers_unique AS DOUBLE) / NULLIF(delivered, 0) AS reply_rate,
  CAST(repliers_human AS DOUBLE) / NULLIF(delivered, 0) AS reply_rate_human,
  first_opened_at,
  first_opened_at_human,
  last_opened_at,
  last_opened_at_human
FROM (
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
)
CROSS JOIN (
  SELECT count(*) AS emails_total, count(CASE WHEN follow_state = 'on' THEN 1 END) AS emails_followed FROM emails
)
