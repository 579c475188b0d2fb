-- title: Links
-- meaning: One row per link of an email: how often and by how many it was used, by people and by machines side by
--   side. One that nobody touched is a row too.
-- formula: click rate = recipients who clicked it by a person / D; share = clicks_human / all clicks of the email by
--   people. A rate without denominator is NULL.
-- unit: counts; rates from 0 to 1; times in UTC
-- source: interactions, engagement, links
-- people: people
-- param email id optional: only this email
-- param limit count = 100: most rows, the newest email first
-- column email_id bigint: the email
-- column component integer: ordinal of the link in the email
-- column url varchar: where it leads
-- column people bigint: recipients of the email of whom there is any event
-- column delivered bigint: recipients sent and not bounced
-- column clicks_total bigint: all of them, repeats included
-- column clicks_human bigint: by people
-- column clicks_machine bigint: by machines
-- column people_unique bigint: recipients, by anyone
-- column people_human bigint: recipients, by a person
-- column people_machine bigint: recipients, by a machine
-- column rate_human double: people_human / delivered
-- column share double: of the email's clicks by people
-- column first_at_human timestamp: first by a person
-- column last_at_human timestamp: last by a person

WITH listed AS (
  SELECT email_id, component, url
  FROM links
  WHERE $email IS NULL OR email_id = $email
  ORDER BY email_id DESC, component
  LIMIT $limit
), marked AS (
  SELECT email_id, recipient_id, component, occurred_at, actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine
  FROM interactions
  WHERE kind = 'click' AND ($email IS NULL OR email_id = $email)
), used AS (
  SELECT email_id, component,
    count(*) AS total,
    count(CASE WHEN human THEN 1 END) AS by_human,
    count(CASE WHEN machine THEN 1 END) AS by_machine,
    count(DISTINCT recipient_id) AS people_unique,
    count(DISTINCT CASE WHEN human THEN recipient_id END) AS people_human,
    count(DISTINCT CASE WHEN machine THEN recipient_id END) AS people_machine,
    min(CASE WHEN human THEN occurred_at END) AS first_at_human,
    max(CASE WHEN human THEN occurred_at END) AS last_at_human
  FROM marked
  GROUP BY email_id, component
), whole AS (
  SELECT email_id, count(*) AS people, count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
    CAST(sum(clicks_human) AS BIGINT) AS by_human
  FROM engagement
  WHERE $email IS NULL OR email_id = $email
  GROUP BY email_id
)
SELECT
  l.email_id,
  l.component,
  l.url,
  coalesce(w.people, 0) AS people,
  coalesce(w.delivered, 0) AS delivered,
  coalesce(u.total, 0) AS clicks_total,
  coalesce(u.by_human, 0) AS clicks_human,
  coalesce(u.by_machine, 0) AS clicks_machine,
  coalesce(u.people_unique, 0) AS people_unique,
  coalesce(u.people_human, 0) AS people_human,
  coalesce(u.people_machine, 0) AS people_machine,
  CAST(coalesce(u.people_human, 0) AS DOUBLE) / NULLIF(w.delivered, 0) AS rate_human,
  CAST(coalesce(u.by_human, 0) AS DOUBLE) / NULLIF(w.by_human, 0) AS share,
  u.first_at_human,
  u.last_at_human
FROM listed AS l
LEFT JOIN used AS u ON u.email_id = l.email_id AND u.component = l.component
LEFT JOIN whole AS w ON w.email_id = l.email_id
ORDER BY l.email_id DESC, l.component
