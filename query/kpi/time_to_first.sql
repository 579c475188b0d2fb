-- title: Time to the first open, click and reply
-- meaning: One row each for open, click and reply: how long after delivery people do it for the first time.
--   Recipients who have not done so yet are not left out: they count as waiting for as long as they have been waited
--   for.
-- formula: t = first event by a person - delivery (else sending), at least 0. Recipients without one, or with a later
--   one, wait until the end of the window, or until now. Quantile q: the first t at which the Kaplan-Meier estimate
--   of those still waiting is at most 1 - q (beyond rounding, 1e-9); NULL when it is not reached.
-- unit: seconds; counts of recipients, each once per email
-- source: engagement
-- people: people
-- param email id optional: only this email
-- param window count = 30: days after delivery that count
-- param now time = now: instant until which is waited
-- column event varchar: open, click or reply
-- column people bigint: recipients it is about, each counted once
-- column delivered bigint: recipients (each counted once per email) sent and not bounced
-- column observed bigint: those with the event within the window
-- column waiting bigint: those without
-- column p50_seconds double: half have done it by then
-- column p75_seconds double: three of four
-- column p90_seconds double: nine of ten

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
    -- greatest leaves NULL out
    CASE WHEN first_at IS NOT NULL THEN greatest(epoch_us(first_at) - epoch_us(started_at), 0) END AS wait,
    least(greatest(epoch_us($now) - epoch_us(started_at), 0), $window * 86400000000) AS limit_us
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
    product(1.0 - CAST(seen AS DOUBLE) / waiting) OVER (PARTITION BY place ORDER BY t) AS s
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
