-- title: Summary per email
-- meaning: One row per registered email, the newest first: how many recipients it was sent to, and how often and by
--   how many of them it was opened, clicked, viewed and answered, by people and by machines side by side.
-- formula: delivery rate = D / S; open rate = openers / D; click rate = clickers / D; click-to-open rate = clickers /
--   confirmed openers; reply rate = repliers / D; with D = S - B. A rate without denominator is NULL. A rate over D
--   passes 1 only when a recipient whose message bounced reacted all the same.
-- unit: counts; rates from 0 to 1, their numerators and denominators are columns; times in UTC
-- source: engagement, emails
-- people: people
-- param email id optional: only this email
-- param limit count = 100: most emails, the newest first
-- column email_id bigint: the email
-- column subject varchar: its subject
-- column template varchar: the template it was made from; empty if none
-- column follow_state varchar: on, off or blocked
-- column created_at timestamp: when it was registered
-- column sent_at timestamp: first sent event
-- column links bigint: links in it
-- column attachments bigint: attachments that came as links
-- column people bigint: recipients of whom there is any event
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

WITH listed AS (
  SELECT email_id, subject, template, follow_state, created_at, links, attachments
  FROM emails
  WHERE $email IS NULL OR email_id = $email
  ORDER BY email_id DESC
  LIMIT $limit
), summed AS (
  SELECT email_id,
    min(first_sent_at) AS sent_at,
    count(*) AS people,
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
  WHERE ($email IS NULL OR email_id = $email) AND email_id IN (SELECT email_id FROM listed)
  GROUP BY email_id
)
SELECT
  listed.email_id,
  listed.subject,
  listed.template,
  listed.follow_state,
  listed.created_at,
  summed.sent_at,
  listed.links,
  listed.attachments,
  coalesce(summed.people, 0) AS people,
  coalesce(summed.sent, 0) AS sent,
  coalesce(summed.bounced, 0) AS bounced,
  coalesce(summed.delivered, 0) AS delivered,
  CAST(summed.delivered AS DOUBLE) / NULLIF(summed.sent, 0) AS delivery_rate,
  coalesce(summed.complained, 0) AS complained,
  coalesce(summed.unsubscribed, 0) AS unsubscribed,
  coalesce(summed.opens_total, 0) AS opens_total,
  coalesce(summed.opens_human, 0) AS opens_human,
  coalesce(summed.opens_machine, 0) AS opens_machine,
  coalesce(summed.openers_unique, 0) AS openers_unique,
  coalesce(summed.openers_human, 0) AS openers_human,
  coalesce(summed.openers_machine, 0) AS openers_machine,
  CAST(summed.openers_unique AS DOUBLE) / NULLIF(summed.delivered, 0) AS open_rate,
  CAST(summed.openers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS open_rate_human,
  coalesce(summed.clicks_total, 0) AS clicks_total,
  coalesce(summed.clicks_human, 0) AS clicks_human,
  coalesce(summed.clicks_machine, 0) AS clicks_machine,
  coalesce(summed.clickers_unique, 0) AS clickers_unique,
  coalesce(summed.clickers_human, 0) AS clickers_human,
  coalesce(summed.clickers_machine, 0) AS clickers_machine,
  coalesce(summed.confirmed_openers_human, 0) AS confirmed_openers_human,
  CAST(summed.clickers_human AS DOUBLE) / NULLIF(summed.confirmed_openers_human, 0) AS click_to_open_rate_human,
  CAST(summed.clickers_unique AS DOUBLE) / NULLIF(summed.delivered, 0) AS click_rate,
  CAST(summed.clickers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS click_rate_human,
  coalesce(summed.attachment_views_total, 0) AS attachment_views_total,
  coalesce(summed.attachment_views_human, 0) AS attachment_views_human,
  coalesce(summed.attachment_views_machine, 0) AS attachment_views_machine,
  coalesce(summed.attachment_viewers_unique, 0) AS attachment_viewers_unique,
  coalesce(summed.attachment_viewers_human, 0) AS attachment_viewers_human,
  coalesce(summed.attachment_viewers_machine, 0) AS attachment_viewers_machine,
  coalesce(summed.replies_total, 0) AS replies_total,
  coalesce(summed.replies_human, 0) AS replies_human,
  coalesce(summed.replies_machine, 0) AS replies_machine,
  coalesce(summed.repliers_unique, 0) AS repliers_unique,
  coalesce(summed.repliers_human, 0) AS repliers_human,
  coalesce(summed.repliers_machine, 0) AS repliers_machine,
  CAST(summed.repliers_unique AS DOUBLE) / NULLIF(summed.delivered, 0) AS reply_rate,
  CAST(summed.repliers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS reply_rate_human,
  summed.first_opened_at,
  summed.first_opened_at_human,
  summed.last_opened_at,
  summed.last_opened_at_human
FROM listed LEFT JOIN summed ON summed.email_id = listed.email_id
ORDER BY listed.email_id DESC
