-- title: Cohorts by week of sending
-- meaning: One row per week of sending and week after it: how many of the recipients who were sent an email in that
--   week did something with it so much later.
-- formula: cohort = recipients, each once per email, by the week of their first sent event; weeks after = whole weeks
--   from sending to the event; by people only. Rate = recipients who did it up to then / cohort. Only weeks with an
--   event are rows.
-- unit: counts; rates from 0 to 1; times in UTC
-- source: engagement, interactions
-- people: people
-- param zone zone = organisation: time zone that weeks are cut in; they begin on Monday
-- param weeks count = 12: most weeks after sending
-- column week_start timestamp: start of the week of sending, in UTC
-- column weeks_after bigint: 0 is the first seven days after sending
-- column people bigint: people in the cohort, each counted once
-- column cohort bigint: recipients, each counted once per email
-- column openers_human bigint: recipients who opened in that week
-- column clickers_human bigint: recipients who clicked in that week
-- column repliers_human bigint: recipients who replied in that week
-- column first_openers_human bigint: recipients who opened for the first time in that week
-- column open_rate_human double: recipients who had opened by the end of that week / cohort

WITH pairs AS (
  SELECT email_id, recipient_id, first_sent_at,
    CASE WHEN $zone = 'UTC' THEN date_trunc('week', first_sent_at)
      ELSE timezone('UTC', timezone($zone, date_trunc('week', timezone($zone, timezone('UTC', first_sent_at))))) END AS week_start
  FROM engagement
  WHERE sends > 0
), cohorts AS (
  SELECT week_start, count(*) AS cohort, count(DISTINCT recipient_id) AS people FROM pairs GROUP BY week_start
), done AS (
  SELECT p.week_start, i.email_id, i.recipient_id, i.kind,
    (epoch_us(i.occurred_at) - epoch_us(p.first_sent_at)) // 604800000000 AS weeks_after
  FROM interactions AS i JOIN pairs AS p ON p.email_id = i.email_id AND p.recipient_id = i.recipient_id
  WHERE i.kind IN ('open', 'click', 'reply') AND i.actor IN ('human', 'proxy') AND i.occurred_at >= p.first_sent_at
), each AS (
  SELECT week_start, weeks_after, kind, email_id, recipient_id,
    row_number() OVER (PARTITION BY kind, email_id, recipient_id ORDER BY weeks_after) AS time
  FROM (SELECT DISTINCT * FROM done)
), summed AS (
  SELECT week_start, weeks_after,
    count(CASE WHEN kind = 'open' THEN 1 END) AS openers_human,
    count(CASE WHEN kind = 'click' THEN 1 END) AS clickers_human,
    count(CASE WHEN kind = 'reply' THEN 1 END) AS repliers_human,
    count(CASE WHEN kind = 'open' AND time = 1 THEN 1 END) AS first_openers_human
  FROM each
  GROUP BY week_start, weeks_after
)
SELECT s.week_start, s.weeks_after, c.people, c.cohort, s.openers_human, s.clickers_human, s.repliers_human, s.first_openers_human,
  CAST(sum(s.first_openers_human) OVER (PARTITION BY s.week_start ORDER BY s.weeks_after) AS DOUBLE) / c.cohort AS open_rate_human
FROM summed AS s JOIN cohorts AS c ON c.week_start = s.week_start
WHERE s.weeks_after < $weeks
ORDER BY s.week_start, s.weeks_after
