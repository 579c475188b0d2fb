WITH done AS (
  SELECT email_id, recipient_id, occurred_at,
    CASE kind WHEN 'open' THEN 1 WHEN 'click' THEN 3 WHEN 'attachment_view' THEN 4 ELSE 10 END AS weight,
    intDiv(toUnixTimestamp64Micro($now) - toUnixTimestamp64Micro(occurred_at), 86400000000) AS age
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND actor IN ('human', 'proxy') AND occurred_at <= $now
), summed AS (
  SELECT recipient_id,
    sum(intDiv(weight * toInt64([1000000000, 951695153, 905723664, 861972821, 820335356, 780709182, 742997145, 707106781, 672950096, 640443345, 609506827, 580064693, 552044757, 525378319][1 + age % 14]),
      bitShiftLeft(toInt64(1), least(intDiv(age, 14), 40)))) AS billionths,
    max(occurred_at) AS last_active_at_human,
    min(age) AS recency_days,
    count(DISTINCT CASE WHEN age < 90 THEN email_id END) AS emails_active_90d
  FROM done
  GROUP BY recipient_id
), ranked AS (
  SELECT *,
    count(*) OVER () AS everybody,
    count(*) OVER (ORDER BY billionths RANGE UNBOUNDED PRECEDING) AS at_most,
    rank() OVER (ORDER BY recency_days DESC) AS recency_rank,
    rank() OVER (ORDER BY emails_active_90d) AS frequency_rank
  FROM summed
)
SELECT
  s.recipient_id AS recipient_id,
  r.address AS address,
  r.name AS name,
  CAST(s.billionths AS DOUBLE) / 1000000000 AS points,
  CAST(100 * s.at_most AS DOUBLE) / s.everybody AS score,
  s.last_active_at_human AS last_active_at_human,
  s.recency_days AS recency_days,
  s.emails_active_90d AS emails_active_90d,
  1 + intDiv(5 * (s.recency_rank - 1), s.everybody) AS recency_quintile,
  1 + intDiv(5 * (s.frequency_rank - 1), s.everybody) AS frequency_quintile
FROM ranked AS s LEFT JOIN recipients AS r ON r.recipient_id = s.recipient_id
WHERE $recipient IS NULL OR s.recipient_id = $recipient
ORDER BY billionths DESC, recipient_id
LIMIT $limit
