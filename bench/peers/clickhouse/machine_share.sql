WITH marked AS (
  SELECT i.recipient_id, i.actor,
    CASE $by WHEN 'domain' THEN r.domain WHEN 'network' THEN i.network ELSE i.reason END AS name
  FROM interactions AS i LEFT JOIN recipients AS r ON r.recipient_id = i.recipient_id
  WHERE i.kind IN ('open', 'click', 'attachment_view')
)
SELECT name,
  count(DISTINCT recipient_id) AS people,
  count(*) AS events_total,
  count(CASE WHEN actor IN ('human', 'proxy') THEN 1 END) AS events_human,
  count(CASE WHEN actor IN ('prefetch', 'scanner', 'bot') THEN 1 END) AS events_machine,
  count(CASE WHEN actor = 'prefetch' THEN 1 END) AS events_prefetch,
  count(CASE WHEN actor = 'scanner' THEN 1 END) AS events_scanner,
  count(CASE WHEN actor = 'bot' THEN 1 END) AS events_bot,
  count(CASE WHEN actor NOT IN ('human', 'proxy', 'prefetch', 'scanner', 'bot') THEN 1 END) AS events_unlabelled,
  CAST(count(CASE WHEN actor IN ('prefetch', 'scanner', 'bot') THEN 1 END) AS DOUBLE) / count(*) AS machine_share
FROM marked
GROUP BY name
ORDER BY events_total DESC, name NULLS LAST
LIMIT $limit
