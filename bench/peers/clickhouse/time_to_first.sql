WITH pairs AS (
  SELECT recipient_id, coalesce(first_delivered_at, first_sent_at) AS started_at,
    first_opened_at_human, first_clicked_at_human, first_replied_at_human
  FROM engagement
  WHERE sends > 0 AND bounces = 0 AND ($email IS NULL OR email_id = $email)
), firsts AS (
  SELECT 1 AS place, 'open' AS event, recipient_id, started_at, first_opened_at_human AS first_at FROM pairs
  UNION ALL
  SELECT 2, 'click', recipient_id, started_at, first_clicked_at_human FROM pairs
  UNION ALL
  SELECT 3, 'reply', recipient_id, started_at, first_replied_at_human FROM pairs
), waits AS (
  SELECT place, event, recipient_id,
    CASE WHEN first_at IS NOT NULL THEN greatest(toUnixTimestamp64Micro(first_at) - toUnixTimestamp64Micro(started_at), toInt64(0)) END AS wait,
    least(greatest(toUnixTimestamp64Micro($now) - toUnixTimestamp64Micro(started_at), toInt64(0)), toInt64($window * 86400000000)) AS limit_us
  FROM firsts
), times AS (
  SELECT place, event, recipient_id,
    CASE WHEN wait <= limit_us THEN wait ELSE limit_us END AS t,
    CASE WHEN wait <= limit_us THEN 1 ELSE 0 END AS seen
  FROM waits
), steps AS (
  SELECT place, t, CAST(sum(seen) AS BIGINT) AS seen, count(*) AS gone
  FROM times
  GROUP BY place, t
), risks AS (
  SELECT place, t, seen,
    CAST(sum(gone) OVER (PARTITION BY place ORDER BY t DESC) AS BIGINT) AS waiting
  FROM steps
), survival AS (
  SELECT place, t,
    exp(sum(log(1.0 - CAST(seen AS DOUBLE) / waiting)) OVER (PARTITION BY place ORDER BY t)) AS s
  FROM risks
), quantiles AS (
  SELECT place,
    CAST(min(CASE WHEN s <= 0.5 + 1e-9 THEN t END) AS DOUBLE) / 1000000 AS p50,
    CAST(min(CASE WHEN s <= 0.25 + 1e-9 THEN t END) AS DOUBLE) / 1000000 AS p75,
    CAST(min(CASE WHEN s <= 0.1 + 1e-9 THEN t END) AS DOUBLE) / 1000000 AS p90
  FROM survival
  GROUP BY place
), counts AS (
  SELECT place, max(event) AS event, count(DISTINCT recipient_id) AS people, count(*) AS delivered, CAST(sum(seen) AS BIGINT) AS observed
  FROM times
  GROUP BY place
)
SELECT c.event, c.people, c.delivered, c.observed, c.delivered - c.observed AS waiting,
  q.p50 AS p50_seconds, q.p75 AS p75_seconds, q.p90 AS p90_seconds
FROM counts AS c JOIN quantiles AS q ON q.place = c.place
ORDER BY c.place
