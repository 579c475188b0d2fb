-- title: Engagement score of recipients, with recency and frequency
-- meaning: One row per recipient for whom a person was ever active, the highest score first: how much they do with
--   the emails they get, what they did lately counting most, and where that puts them among all.
-- formula: points = sum over events by people of w(kind) * 2^(-age / 14), age in whole days, w = 1 open, 3 click, 4
--   attachment view, 10 reply; machines count 0. Score = share of recipients with at most as many points, from 0 to
--   100. Recency = whole days since the last event by a person; frequency = emails with an event by a person in the
--   last 90 days. Quintile = 1 + 5 * (rank - 1) / n, whole, ties share a rank; 5 is the most recent and the most
--   frequent.
-- unit: points; score from 0 to 100; days; quintiles from 1 to 5
-- source: interactions, recipients
-- people: one
-- param recipient id optional: only this recipient
-- param now time = now: instant that ages are counted to; later events are left out
-- param limit count = 100: most recipients, the highest score first
-- column recipient_id bigint: the recipient
-- column address varchar: their address
-- column name varchar: their name; empty if unknown
-- column points double: what their events are worth
-- column score double: share of recipients with at most as many points, times 100
-- column last_active_at_human timestamp: last open, click, attachment view or reply by a person
-- column recency_days bigint: whole days since then
-- column emails_active_90d bigint: emails with such an event in the last 90 days
-- column recency_quintile bigint: 5 for the most recent fifth
-- column frequency_quintile bigint: 5 for the most frequent fifth

-- Points are whole billionths: half of the weight every 14 days by shifting, the
-- days between by a table. Sums of whole numbers do not depend on their order.
WITH done AS (
  SELECT email_id, recipient_id, occurred_at,
    CASE kind WHEN 'open' THEN 1 WHEN 'click' THEN 3 WHEN 'attachment_view' THEN 4 ELSE 10 END AS weight,
    (epoch_us($now) - epoch_us(occurred_at)) // 86400000000 AS age
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND actor IN ('human', 'proxy') AND occurred_at <= $now
), summed AS (
  SELECT recipient_id,
    CAST(sum(weight * CAST(list_extract([1000000000, 951695153, 905723664, 861972821, 820335356, 780709182, 742997145, 707106781, 672950096, 640443345, 609506827, 580064693, 552044757, 525378319], 1 + age % 14) AS BIGINT)
      // (CAST(1 AS BIGINT) << least(age // 14, 40))) AS BIGINT) AS billionths,
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
  ranked.recipient_id,
  recipients.address,
  recipients.name,
  CAST(billionths AS DOUBLE) / 1000000000 AS points,
  CAST(100 * at_most AS DOUBLE) / everybody AS score,
  last_active_at_human,
  recency_days,
  emails_active_90d,
  1 + 5 * (recency_rank - 1) // everybody AS recency_quintile,
  1 + 5 * (frequency_rank - 1) // everybody AS frequency_quintile
FROM ranked LEFT JOIN recipients ON recipients.recipient_id = ranked.recipient_id
WHERE $recipient IS NULL OR ranked.recipient_id = $recipient
ORDER BY billionths DESC, ranked.recipient_id
LIMIT $limit
