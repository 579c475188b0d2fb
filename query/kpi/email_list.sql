-- title: List of emails
-- meaning: One row per registered email, the newest first, with what people did: as lists of emails show it.
-- formula: open rate = openers / D; click rate = clickers / D; reply rate = repliers / D, all by people; D = sent and
--   not bounced. A rate without denominator is NULL.
-- unit: counts of recipients; rates from 0 to 1; times in UTC
-- source: engagement, emails
-- people: people
-- param before id optional: only emails with a smaller id: the next page
-- param template text optional: only emails made from this template
-- param limit count = 50: most emails, the newest first
-- column email_id bigint: the email
-- column subject varchar: its subject
-- column template varchar: the template it was made from; empty if none
-- column follow_state varchar: on, off or blocked
-- column created_at timestamp: when it was registered
-- column people bigint: recipients of whom there is any event
-- column sent bigint: recipients with a sent event
-- column delivered bigint: recipients sent to whose message did not bounce
-- column openers_human bigint: recipients of whom a person opened
-- column clickers_human bigint: recipients of whom a person clicked
-- column attachment_viewers_human bigint: recipients of whom a person viewed an attachment
-- column repliers_human bigint: recipients who replied
-- column open_rate_human double: openers_human / delivered
-- column click_rate_human double: clickers_human / delivered
-- column reply_rate_human double: repliers_human / delivered
-- column last_active_at_human timestamp: last open, click, attachment view or reply by a person

WITH listed AS (
  SELECT email_id, subject, template, follow_state, created_at
  FROM emails
  WHERE ($before IS NULL OR email_id < $before) AND ($template IS NULL OR template = $template)
  ORDER BY email_id DESC
  LIMIT $limit
), summed AS (
  SELECT email_id,
    count(*) AS people,
    count(CASE WHEN sends > 0 THEN 1 END) AS sent,
    count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
    count(CASE WHEN opens_human > 0 THEN 1 END) AS openers_human,
    count(CASE WHEN clicks_human > 0 THEN 1 END) AS clickers_human,
    count(CASE WHEN attachment_views_human > 0 THEN 1 END) AS attachment_viewers_human,
    count(CASE WHEN replies_human > 0 THEN 1 END) AS repliers_human,
    max(last_active_at_human) AS last_active_at_human
  FROM engagement
  WHERE ($before IS NULL OR email_id < $before) AND email_id IN (SELECT email_id FROM listed)
  GROUP BY email_id
)
SELECT
  listed.email_id,
  listed.subject,
  listed.template,
  listed.follow_state,
  listed.created_at,
  coalesce(summed.people, 0) AS people,
  coalesce(summed.sent, 0) AS sent,
  coalesce(summed.delivered, 0) AS delivered,
  coalesce(summed.openers_human, 0) AS openers_human,
  coalesce(summed.clickers_human, 0) AS clickers_human,
  coalesce(summed.attachment_viewers_human, 0) AS attachment_viewers_human,
  coalesce(summed.repliers_human, 0) AS repliers_human,
  CAST(summed.openers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS open_rate_human,
  CAST(summed.clickers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS click_rate_human,
  CAST(summed.repliers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS reply_rate_human,
  summed.last_active_at_human
FROM listed LEFT JOIN summed ON summed.email_id = listed.email_id
ORDER BY listed.email_id DESC
