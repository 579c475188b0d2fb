-- title: Heat map of the week
-- meaning: One row per hour of the week that has an event: when people react.
-- formula: counts of opens, clicks, attachment views and replies by the hour they occurred in
-- unit: days from 1 (Monday) to 7, hours from 0 to 23 in the zone; counts
-- source: interactions
-- people: people
-- param email id optional: only this email
-- param zone zone = organisation: time zone of the hours
-- column weekday bigint: day, 1 is Monday
-- column hour bigint: hour of the day
-- column people bigint: recipients the row is about
-- column opens_human bigint: opens by people
-- column clicks_human bigint: link clicks by people
-- column attachment_views_human bigint: attachment views by people
-- column replies_human bigint: replies by people
-- column events_human bigint: all of these
-- column events_machine bigint: opens, clicks, attachment views and replies by machines

WITH marked AS (
  SELECT recipient_id, kind, actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine,
    CASE WHEN $zone = 'UTC' THEN occurred_at ELSE timezone($zone, timezone('UTC', occurred_at)) END AS local_time
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND ($email IS NULL OR email_id = $email)
)
SELECT isodow(local_time) AS weekday, hour(local_time) AS hour,
  count(DISTINCT recipient_id) AS people,
  count(CASE WHEN kind = 'open' AND human THEN 1 END) AS opens_human,
  count(CASE WHEN kind = 'click' AND human THEN 1 END) AS clicks_human,
  count(CASE WHEN kind = 'attachment_view' AND human THEN 1 END) AS attachment_views_human,
  count(CASE WHEN kind = 'reply' AND human THEN 1 END) AS replies_human,
  count(CASE WHEN human THEN 1 END) AS events_human,
  count(CASE WHEN machine THEN 1 END) AS events_machine
FROM marked
GROUP BY 1, 2
ORDER BY 1, 2
