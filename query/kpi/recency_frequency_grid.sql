-- title: Recency and frequency of all recipients
-- meaning: One row per cell of the grid of quintiles that holds anybody: how many recipients were active how lately
--   and how often.
-- formula: quintiles as in recipient_score: recency = whole days since the last event by a person, frequency = emails
--   with one in the last 90 days; share = people / all people in the grid
-- unit: people; shares from 0 to 1
-- source: interactions
-- people: people
-- param now time = now: instant that ages are counted to; later events are left out
-- column recency_quintile bigint: 5 for the most recent fifth
-- column frequency_quintile bigint: 5 for the most frequent fifth
-- column people bigint: recipients in the cell
-- column share double: people / all recipients in the grid
-- column recency_days_min bigint: least days since the last event in the cell
-- column recency_days_max bigint: most days since the last event in the cell
-- column emails_active_90d_min bigint: least emails in the cell
-- column emails_active_90d_max bigint: most emails in the cell

WITH done AS (
  SELECT email_id, recipient_id, (epoch_us($now) - epoch_us(occurred_at)) // 86400000000 AS age
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
  1 + 5 * (recency_rank - 1) // everybody AS recency_quintile,
  1 + 5 * (frequency_rank - 1) // everybody AS frequency_quintile,
  count(*) AS people,
  CAST(count(*) AS DOUBLE) / max(everybody) AS share,
  min(days) AS recency_days_min,
  max(days) AS recency_days_max,
  min(emails) AS emails_active_90d_min,
  max(emails) AS emails_active_90d_max
FROM ranked
GROUP BY 1, 2
ORDER BY 1 DESC, 2 DESC
