WITH pairs AS (
  SELECT email_id, recipient_id, first_sent_at, toDateTime(toStartOfWeek(first_sent_at, 1, $zone), $zone) AS week_start
  FROM engagement
  WHERE sends > 0
), cohorts AS (
  SELECT week_start, count(*) AS cohort, count(DISTINCT recipient_id) AS people FROM pairs GROUP BY week_start
), done AS (
  SELECT DISTINCT p.week_start AS week_start, i.email_id AS email_id, i.recipient_id AS recipient_id, i.kind AS kind,
    intDiv(toUnixTimestamp64Micro(i.occurred_at) - toUnixTimestamp64Micro(assumeNotNull(p.first_sent_at)), 604800000000) AS weeks_after
  FROM interactions AS i JOIN pairs AS p ON p.email_id = i.email_id AND p.recipient_id = i.recipient_id
  WHERE i.kind IN ('open', 'click', 'reply') AND i.actor IN ('human', 'proxy') AND i.occurred_at >= p.first_sent_at
), each AS (
  SELECT week_start, weeks_after, kind, row_number() OVER (PARTITION BY kind, email_id, recipient_id ORDER BY weeks_after) AS time
  FROM done
), summed AS (
  SELECT week_start, weeks_after,
    count(CASE WHEN kind = 'open' THEN 1 END) AS openers_human,
    count(CASE WHEN kind = 'click' THEN 1 END) AS clickers_human,
    count(CASE WHEN kind = 'reply' THEN 1 END) AS repliers_human,
    count(CASE WHEN kind = 'open' AND time = 1 THEN 1 END) AS first_openers_human
  FROM each
  GROUP BY week_start, weeks_after
)
SELECT s.week_start AS week_start, s.weeks_after AS weeks_after, c.people AS people, c.cohort AS cohort,
  s.openers_human AS openers_human, s.clickers_human AS clickers_human, s.repliers_human AS repliers_human, s.first_openers_human AS first_openers_human,
  CAST(sum(s.first_openers_human) OVER (PARTITION BY s.week_start ORDER BY s.weeks_after) AS DOUBLE) / c.cohort AS open_rate_human
FROM summed AS s JOIN cohorts AS c ON c.week_start = s.week_start
WHERE s.weeks_after < $weeks
ORDER BY week_start, weeks_after
