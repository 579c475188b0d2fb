-- title: Totals of days
-- meaning: What happened when, of the figures of email_totals: one row per kind and run of days. A run ends with the first day
--   on which at least k people (k = 10 unless the server says otherwise) did it; days after the last such day are in the last
--   run. So each row stands for at least k people, and all rows of a kind make up its sum over email_totals.
-- column kind varchar: open, click, attachment_view or reply
-- column first_day date: first day of the run with any event, in UTC
-- column last_day date: last day of the run with any event
-- column people bigint: recipients who did it, each counted once per run
-- column events bigint: how often it happened

WITH shown AS (
  SELECT i.kind, CAST(i.occurred_at AS DATE) AS day, i.recipient_id
  FROM interactions AS i JOIN ({{email_totals}}) AS t ON t.email_id = i.email_id
  WHERE (i.kind = 'open' AND t.opens IS NOT NULL OR i.kind = 'click' AND t.clicks IS NOT NULL
    OR i.kind = 'attachment_view' AND t.attachment_views IS NOT NULL OR i.kind = 'reply' AND t.replies IS NOT NULL)
    AND EXISTS (SELECT 1 FROM engagement AS g WHERE g.email_id = i.email_id AND g.recipient_id = i.recipient_id AND g.sends > 0)
), marked AS (
  SELECT kind, day, CASE WHEN count(DISTINCT recipient_id) >= $1 THEN 1 ELSE 0 END AS many FROM shown GROUP BY kind, day
), runs AS (
  SELECT kind, day, least(before, greatest(runs_in_all - 1, 0)) AS run FROM (
    SELECT kind, day, coalesce(sum(many) OVER (PARTITION BY kind ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before,
      sum(many) OVER (PARTITION BY kind) AS runs_in_all
    FROM marked)
)
SELECT s.kind, min(s.day) AS first_day, max(s.day) AS last_day, count(DISTINCT s.recipient_id) AS people, count(*) AS events
FROM shown AS s JOIN runs AS r ON r.kind = s.kind AND r.day = s.day
GROUP BY s.kind, r.run HAVING count(DISTINCT s.recipient_id) >= $1
