-- title: Totals of days
-- meaning: What many people did, and when: one row per day and kind. The figures are rounded as those of email_totals.
-- column kind varchar: open, click, attachment_view or reply
-- column day date: the day, in UTC
-- column people bigint: recipients who did it
-- column events bigint: how often it happened

SELECT kind, day, count(*) AS people, CAST(sum(least(events, 3)) AS BIGINT) AS events
FROM (
  SELECT kind, CAST(occurred_at AS DATE) AS day, recipient_id, count(*) AS events
  FROM interactions WHERE kind IN ('open', 'click', 'attachment_view', 'reply')
  GROUP BY kind, CAST(occurred_at AS DATE), recipient_id
)
GROUP BY kind, day
