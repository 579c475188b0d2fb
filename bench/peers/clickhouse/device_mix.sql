WITH marked AS (
  SELECT recipient_id, kind, CASE $by WHEN 'device' THEN device WHEN 'client' THEN client ELSE os END AS name,
    actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine
  FROM interactions
  WHERE kind IN ('open', 'click') AND ($email IS NULL OR email_id = $email)
), summed AS (
  SELECT name,
    count(DISTINCT recipient_id) AS people,
    count(CASE WHEN kind = 'open' THEN 1 END) AS opens_total,
    count(CASE WHEN kind = 'open' AND human THEN 1 END) AS opens_human,
    count(CASE WHEN kind = 'open' AND machine THEN 1 END) AS opens_machine,
    count(CASE WHEN kind = 'click' THEN 1 END) AS clicks_total,
    count(CASE WHEN kind = 'click' AND human THEN 1 END) AS clicks_human,
    count(CASE WHEN kind = 'click' AND machine THEN 1 END) AS clicks_machine,
    count(DISTINCT CASE WHEN human THEN recipient_id END) AS people_human,
    count(CASE WHEN human THEN 1 END) AS events_human
  FROM marked
  GROUP BY name
)
SELECT *, CAST(events_human AS DOUBLE) / NULLIF(sum(events_human) OVER (), 0) AS share_human
FROM summed
ORDER BY events_human DESC, name
