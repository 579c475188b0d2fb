WITH marked AS (
  SELECT recipient_id, kind, actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine,
    toTimeZone(occurred_at, $zone) AS local_time
  FROM interactions
  WHERE kind IN ('open', 'click', 'attachment_view', 'reply') AND ($email IS NULL OR email_id = $email)
)
SELECT toDayOfWeek(local_time) AS weekday, toHour(local_time) AS hour,
  count(DISTINCT recipient_id) AS people,
  count(CASE WHEN kind = 'open' AND human THEN 1 END) AS opens_human,
  count(CASE WHEN kind = 'click' AND human THEN 1 END) AS clicks_human,
  count(CASE WHEN kind = 'attachment_view' AND human THEN 1 END) AS attachment_views_human,
  count(CASE WHEN kind = 'reply' AND human THEN 1 END) AS replies_human,
  count(CASE WHEN human THEN 1 END) AS events_human,
  count(CASE WHEN machine THEN 1 END) AS events_machine
FROM marked
GROUP BY 1, 2
ORDER BY 1, 2
