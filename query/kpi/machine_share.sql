-- title: Share of machines
-- meaning: One row per domain of recipients, network or reason: how much of what was opened and clicked there was
--   done by machines, the most events first.
-- formula: machine share = events by machines / all events; events are opens, clicks and attachment views
-- unit: counts; shares from 0 to 1
-- source: interactions, recipients
-- people: people
-- param by choice = domain (domain network reason): what rows are made of
-- param limit count = 100: most rows, those with most events first
-- column name varchar: the domain, network or reason; NULL where it is not kept
-- column people bigint: recipients the row is about
-- column events_total bigint: opens, clicks and attachment views
-- column events_human bigint: by people
-- column events_machine bigint: by machines
-- column events_prefetch bigint: images fetched ahead of a reader
-- column events_scanner bigint: security scanners
-- column events_bot bigint: other programs
-- column events_unlabelled bigint: by nobody knows whom
-- column machine_share double: events_machine / events_total

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
