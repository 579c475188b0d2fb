-- title: Best hour to write to recipients
-- meaning: One row per recipient who has any event: the hour of the week in which a person is most likely to react.
-- formula: share of hour h = (n_h + 20 * p_h) / (N + 20), n_h of the recipient's N events by people, p_h the share of
--   hour h in those of everybody; the hour with the greatest share, the earliest of equals. Below 5 events of their
--   own everybody's best hour; without any event of anybody Monday to Friday from 08:00, the start of office hours.
-- unit: days from 1 (Monday) to 7, hours from 0 to 23 in the zone; shares from 0 to 1
-- source: interactions, recipients
-- people: one
-- param recipient id optional: only this recipient
-- param zone zone = organisation: time zone of the hours
-- param limit count = 100: most recipients, by their numbers
-- column recipient_id bigint: the recipient
-- column address varchar: their address
-- column name varchar: their name; empty if unknown
-- column events_human bigint: N, opens, clicks, attachment views and replies by a person
-- column weekday bigint: best day; NULL: any from Monday to Friday
-- column hour bigint: best hour
-- column share double: its share, smoothed; NULL without any event
-- column basis varchar: own, cohort (everybody) or rule

WITH done AS (
  SELECT recipient_id, CASE WHEN $zone = 'UTC' THEN occurred_at ELSE timezone($zone, timezone('UTC', occurred_at)) END AS local_time
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND actor IN ('human', 'proxy')
), bins AS (
  SELECT recipient_id, 24 * (isodow(local_time) - 1) + hour(local_time) AS bin, count(*) AS n
  FROM done
  GROUP BY 1, 2
), cohort AS (
  SELECT bin, CAST(sum(n) AS BIGINT) AS n, CAST(sum(sum(n)) OVER () AS BIGINT) AS total
  FROM bins
  GROUP BY bin
), best AS (
  SELECT bin, n, total FROM cohort ORDER BY n DESC, bin LIMIT 1
), wanted AS (
  SELECT DISTINCT recipient_id FROM interactions WHERE $recipient IS NULL OR recipient_id = $recipient
  ORDER BY recipient_id LIMIT $limit
), own AS (
  SELECT recipient_id, CAST(sum(n) AS BIGINT) AS total FROM bins GROUP BY recipient_id
), chances AS (
  -- An hour without events of their own is at best everybody's best hour.
  SELECT bins.recipient_id, bins.bin, bins.n * cohort.total + 20 * cohort.n AS chance
  FROM bins JOIN cohort ON cohort.bin = bins.bin
  UNION ALL
  SELECT own.recipient_id, best.bin, 20 * best.n FROM own CROSS JOIN best
), chosen AS (
  SELECT recipient_id, bin, chance,
    row_number() OVER (PARTITION BY recipient_id ORDER BY chance DESC, bin) AS place
  FROM chances
), answers AS (
  SELECT wanted.recipient_id, coalesce(own.total, 0) AS events, best.total AS cohort_total,
    CASE WHEN own.total >= 5 THEN chosen.bin ELSE best.bin END AS bin,
    CASE WHEN own.total >= 5 THEN CAST(chosen.chance AS DOUBLE) / ((own.total + 20) * best.total)
      ELSE CAST(best.n AS DOUBLE) / best.total END AS share
  FROM wanted
  LEFT JOIN own ON own.recipient_id = wanted.recipient_id
  LEFT JOIN chosen ON chosen.recipient_id = wanted.recipient_id AND chosen.place = 1
  LEFT JOIN best ON TRUE
)
SELECT
  answers.recipient_id,
  recipients.address,
  recipients.name,
  events AS events_human,
  1 + bin // 24 AS weekday,
  coalesce(bin % 24, 8) AS hour,
  share,
  CASE WHEN events >= 5 THEN 'own' WHEN cohort_total IS NOT NULL THEN 'cohort' ELSE 'rule' END AS basis
FROM answers LEFT JOIN recipients ON recipients.recipient_id = answers.recipient_id
ORDER BY answers.recipient_id
