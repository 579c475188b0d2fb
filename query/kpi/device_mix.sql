-- title: Devices and clients
-- meaning: One row per device, mail client or operating system that opens and clicks came from, the most used by
--   people first.
-- formula: share = opens and clicks by people from here / all opens and clicks by people
-- unit: counts; shares from 0 to 1
-- source: interactions
-- people: people
-- param by choice = device (device client os): what rows are made of
-- param email id optional: only this email
-- column name varchar: the device, client or operating system; empty or unknown if it cannot be told
-- column people bigint: recipients the row is about
-- column opens_total bigint: all opens
-- column opens_human bigint: opens by people
-- column opens_machine bigint: opens by machines
-- column clicks_total bigint: all link clicks
-- column clicks_human bigint: link clicks by people
-- column clicks_machine bigint: link clicks by machines
-- column people_human bigint: recipients with an open or click by a person
-- column events_human bigint: opens and clicks by people
-- column share_human double: events_human / those of all rows

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
