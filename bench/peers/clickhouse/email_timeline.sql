WITH marked AS (
  SELECT recipient_id, kind, actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine,
    (email_id, recipient_id) AS pair, date_trunc($bucket, occurred_at) AS bucket
  FROM interactions
  WHERE $email IS NULL OR email_id = $email
)
SELECT
  bucket AS bucket_start,
  count(DISTINCT recipient_id) AS people,
  count(CASE WHEN kind = 'sent' THEN 1 END) AS sent,
  count(CASE WHEN kind = 'bounced' THEN 1 END) AS bounced,
  count(CASE WHEN kind = 'open' THEN 1 END) AS opens_total,
  count(CASE WHEN kind = 'open' AND human THEN 1 END) AS opens_human,
  count(CASE WHEN kind = 'open' AND machine THEN 1 END) AS opens_machine,
  uniqExactIf(pair, kind = 'open') AS openers_unique,
  uniqExactIf(pair, kind = 'open' AND human) AS openers_human,
  count(CASE WHEN kind = 'click' THEN 1 END) AS clicks_total,
  count(CASE WHEN kind = 'click' AND human THEN 1 END) AS clicks_human,
  count(CASE WHEN kind = 'click' AND machine THEN 1 END) AS clicks_machine,
  uniqExactIf(pair, kind = 'click') AS clickers_unique,
  uniqExactIf(pair, kind = 'click' AND human) AS clickers_human,
  count(CASE WHEN kind = 'attachment_view' THEN 1 END) AS attachment_views_total,
  count(CASE WHEN kind = 'attachment_view' AND human THEN 1 END) AS attachment_views_human,
  count(CASE WHEN kind = 'attachment_view' AND machine THEN 1 END) AS attachment_views_machine,
  count(CASE WHEN kind = 'reply' THEN 1 END) AS replies_total,
  count(CASE WHEN kind = 'reply' AND human THEN 1 END) AS replies_human,
  count(CASE WHEN kind = 'reply' AND machine THEN 1 END) AS replies_machine
FROM marked
GROUP BY bucket
ORDER BY bucket
