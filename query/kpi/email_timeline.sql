-- title: Timeline of an email
-- meaning: One row per bucket of time that has an event: what happened in it, by people and by machines side by side.
-- formula: counts of events by the time they occurred at; a late event re-opens its bucket
-- unit: counts; times in UTC
-- source: interactions
-- people: people
-- param email id optional: only this email; without it all emails
-- param bucket choice = hour (minute hour day week month): width of a row; weeks begin on Monday
-- param zone zone = organisation: time zone that buckets are cut in
-- column bucket_start timestamp: start of the bucket, in UTC
-- column people bigint: recipients the row is about
-- column sent bigint: sent events
-- column bounced bigint: bounce events
-- column opens_total bigint: all opens in the bucket, repeats included
-- column opens_human bigint: opens by people: actor human or proxy
-- column opens_machine bigint: opens by machines: actor prefetch, scanner or bot
-- column openers_unique bigint: recipients (each counted once per email and bucket) with opens
-- column openers_human bigint: the same by people
-- column clicks_total bigint: all link clicks in the bucket, repeats included
-- column clicks_human bigint: link clicks by people: actor human or proxy
-- column clicks_machine bigint: link clicks by machines: actor prefetch, scanner or bot
-- column clickers_unique bigint: recipients (each counted once per email and bucket) with link clicks
-- column clickers_human bigint: the same by people
-- column attachment_views_total bigint: all attachment views in the bucket, repeats included
-- column attachment_views_human bigint: attachment views by people: actor human or proxy
-- column attachment_views_machine bigint: attachment views by machines: actor prefetch, scanner or bot
-- column replies_total bigint: all replies in the bucket, repeats included
-- column replies_human bigint: replies by people: actor human or proxy
-- column replies_machine bigint: replies by machines: actor prefetch, scanner or bot

WITH placed AS (
  SELECT email_id, recipient_id, kind, actor, occurred_at,
    timezone($zone, timezone('UTC', occurred_at)) AS local_time
  FROM interactions
  WHERE $email IS NULL OR email_id = $email
), marked AS (
  SELECT recipient_id, kind, actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine,
    -- one value per email and recipient
    CAST(email_id AS VARCHAR) || ' ' || CAST(recipient_id AS VARCHAR) AS pair,
    -- UTC goes its own way, since zones cost 30 times as much. Short buckets are cut
    -- by what is past their start, so that the hour that comes twice in autumn is two.
    CASE WHEN $zone = 'UTC' THEN date_trunc($bucket, occurred_at)
      WHEN $bucket IN ('minute', 'hour') THEN occurred_at - (local_time - date_trunc($bucket, local_time))
      ELSE timezone('UTC', timezone($zone, date_trunc($bucket, local_time)))
    END AS bucket
  FROM placed
)
SELECT
  bucket AS bucket_start,
  count(DISTINCT recipient_id) AS people,
  count(CASE WHEN kind = 'sent' THEN 1 END) AS sent,
  count(CASE WHEN kind = 'bounced' THEN 1 END) AS bounced,
  count(CASE WHEN kind = 'open' THEN 1 END) AS opens_total,
  count(CASE WHEN kind = 'open' AND human THEN 1 END) AS opens_human,
  count(CASE WHEN kind = 'open' AND machine THEN 1 END) AS opens_machine,
  count(DISTINCT CASE WHEN kind = 'open' THEN pair END) AS openers_unique,
  count(DISTINCT CASE WHEN kind = 'open' AND human THEN pair END) AS openers_human,
  count(CASE WHEN kind = 'click' THEN 1 END) AS clicks_total,
  count(CASE WHEN kind = 'click' AND human THEN 1 END) AS clicks_human,
  count(CASE WHEN kind = 'click' AND machine THEN 1 END) AS clicks_machine,
  count(DISTINCT CASE WHEN kind = 'click' THEN pair END) AS clickers_unique,
  count(DISTINCT CASE WHEN kind = 'click' AND human THEN pair END) AS clickers_human,
  count(CASE WHEN kind = 'attachment_view' THEN 1 END) AS attachment_views_total,
  count(CASE WHEN kind = 'attachment_view' AND human THEN 1 END) AS attachment_views_human,
  count(CASE WHEN kind = 'attachment_view' AND machine THEN 1 END) AS attachment_views_machine,
  count(CASE WHEN kind = 'reply' THEN 1 END) AS replies_total,
  count(CASE WHEN kind = 'reply' AND human THEN 1 END) AS replies_human,
  count(CASE WHEN kind = 'reply' AND machine THEN 1 END) AS replies_machine
FROM marked
GROUP BY bucket
ORDER BY bucket
