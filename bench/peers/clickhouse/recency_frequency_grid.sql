WITH done AS (
  SELECT email_id, recipient_id, intDiv(toUnixTimestamp64Micro($now) - toUnixTimestamp64Micro(occurred_at), 86400000000) AS age
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND actor IN ('human', 'proxy') AND occurred_at <= $now
), summed AS (
  SELECT recipient_id, min(age) AS days, count(DISTINCT CASE WHEN age < 90 THEN email_id END) AS emails
  FROM done
  GROUP BY recipient_id
), ranked AS (
  SELECT days, emails, count(*) OVER () AS everybody,
    rank() OVER (ORDER BY days DESC) AS recency_rank, rank() OVER (ORDER BY emails) AS frequency_rank
  FROM summed
)
SELECT
  1 + intDiv(5 * (recency_rank - 1), everybody) AS recency_quintile,
  1 + intDiv(5 * (frequency_rank - 1), everybody) AS frequency_quintile,
  count(*) AS people,
  CAST(count(*) AS DOUBLE) / max(everybody) AS share,
  min(days) AS recency_days_min,
  max(days) AS recency_days_max,
  min(emails) AS emails_active_90d_min,
  max(emails) AS emails_active_90d_max
FROM ranked
GROUP BY 1, 2
ORDER BY 1 DESC, 2 DESC
