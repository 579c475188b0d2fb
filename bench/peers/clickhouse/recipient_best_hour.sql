WITH done AS (
  SELECT recipient_id, toTimeZone(occurred_at, $zone) AS local_time
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND actor IN ('human', 'proxy')
), bins AS (
  SELECT recipient_id, toInt64(24 * (toDayOfWeek(local_time) - 1) + toHour(local_time)) AS bin, toInt64(count(*)) AS n
  FROM done
  GROUP BY 1, 2
), cohort AS (
  SELECT bin, sums AS n, sum(sums) OVER () AS total FROM (SELECT bin, sum(n) AS sums FROM bins GROUP BY bin)
), best AS (
  SELECT bin, n, total FROM cohort ORDER BY n DESC, bin LIMIT 1
), wanted AS (
  SELECT DISTINCT recipient_id FROM interactions WHERE $recipient IS NULL OR recipient_id = $recipient
  ORDER BY recipient_id LIMIT $limit
), own AS (
  SELECT recipient_id, sum(n) AS total FROM bins GROUP BY recipient_id
), chances AS (
  SELECT b.recipient_id AS recipient_id, b.bin AS bin, b.n * c.total + 20 * c.n AS chance
  FROM bins AS b JOIN cohort AS c ON c.bin = b.bin
  UNION ALL
  SELECT o.recipient_id AS recipient_id, best.bin AS bin, 20 * best.n AS chance FROM own AS o CROSS JOIN best
), chosen AS (
  SELECT recipient_id, bin, chance,
    row_number() OVER (PARTITION BY recipient_id ORDER BY chance DESC, bin) AS place
  FROM chances
), answers AS (
  SELECT w.recipient_id AS recipient_id, coalesce(o.total, 0) AS events, b.total AS cohort_total,
    CASE WHEN o.total >= 5 THEN c.bin ELSE b.bin END AS bin,
    CASE WHEN o.total >= 5 THEN CAST(c.chance AS Nullable(DOUBLE)) / ((o.total + 20) * b.total)
      ELSE CAST(b.n AS Nullable(DOUBLE)) / b.total END AS share
  FROM wanted AS w
  LEFT JOIN own AS o ON o.recipient_id = w.recipient_id
  LEFT JOIN (SELECT * FROM chosen WHERE place = 1) AS c ON c.recipient_id = w.recipient_id
  LEFT JOIN best AS b ON TRUE
)
SELECT
  a.recipient_id AS recipient_id,
  r.address AS address,
  r.name AS name,
  a.events AS events_human,
  1 + intDiv(a.bin, 24) AS weekday,
  coalesce(a.bin % 24, 8) AS hour,
  a.share AS share,
  CASE WHEN a.events >= 5 THEN 'own' WHEN a.cohort_total IS NOT NULL THEN 'cohort' ELSE 'rule' END AS basis
FROM answers AS a LEFT JOIN recipients AS r ON r.recipient_id = a.recipient_id
ORDER BY recipient_id
