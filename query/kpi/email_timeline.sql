-- title: Timeline of an email
-- meaning: One row per bucket of time that has an event: what happened in it, by people and by machines side by side.
-- formula: counts of events by the time they occurred at; a late event re-opens its bucket
-- unit: counts; times in UTC
-- source: interactions
-- param email id optional: only this email; without it all emails
-- param bucket choice = hour (minute hour day week month): width of a row; weeks begin on Monday
-- param zone zone = UTC: time zone that buckets are cut in
-- column bucket_start timestamp: start of the bucket, in UTC
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
  SELECT email_id, recipient_id, kind,
         actor IN ('human', 'proxy') AS human,
         actor IN ('prefetch', 'scanner', 'bot') AS machine,
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
  count(*) FILTER (WHERE kind = 'sent') AS sent,
  count(*) FILTER (WHERE kind = 'bounced') AS bounced,
  count(*) FILTER (WHERE kind = 'open') AS opens_total,
  count(*) FILTER (WHERE kind = 'open' AND human) AS opens_human,
  count(*) FILTER (WHERE kind = 'open' AND machine) AS opens_machine,
  count(DISTINCT (email_id, recipient_id)) FILTER (WHERE kind = 'open') AS openers_unique,
  count(DISTINCT (email_id, recipient_id)) FILTER (WHERE kind = 'open' AND human) AS openers_human,
  count(*) FILTER (WHERE kind = 'click') AS clicks_total,
  count(*) FILTER (WHERE kind = 'click' AND human) AS clicks_human,
  count(*) FILTER (WHERE kind = 'click' AND machine) AS clicks_machine,
  count(DISTINCT (email_id, recipient_id)) FILTER (WHERE kind = 'click') AS clickers_unique,
  count(DISTINCT (email_id, recipient_id)) FILTER (WHERE kind = 'click' AND human) AS clickers_human,
  count(*) FILTER (WHERE kind = 'attachment_view') AS attachment_views_total,
  count(*) FILTER (WHERE kind = 'attachment_view' AND human) AS attachment_views_human,
  count(*) FILTER (WHERE kind = 'attachment_view' AND machine) AS attachment_views_machine,
  count(*) FILTER (WHERE kind = 'reply') AS replies_total,
  count(*) FILTER (WHERE kind = 'reply' AND human) AS replies_human,
  count(*) FILTER (WHERE kind = 'reply' AND machine) AS replies_machine
FROM marked
GROUP BY bucket
ORDER BY bucket
