WITH listed AS (
  SELECT email_id, subject, template, follow_state, created_at
  FROM emails
  WHERE ($before IS NULL OR email_id < $before) AND ($template IS NULL OR template = $template)
  ORDER BY email_id DESC
  LIMIT $limit
)
SELECT
  listed.email_id AS email_id,
  listed.subject AS subject,
  listed.template AS template,
  listed.follow_state AS follow_state,
  listed.created_at AS created_at,
  coalesce(summed.people, 0) AS people,
  coalesce(summed.sent, 0) AS sent,
  coalesce(summed.delivered, 0) AS delivered,
  coalesce(summed.openers_human, 0) AS openers_human,
  coalesce(summed.clickers_human, 0) AS clickers_human,
  coalesce(summed.attachment_viewers_human, 0) AS attachment_viewers_human,
  coalesce(summed.repliers_human, 0) AS repliers_human,
  CAST(summed.openers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS open_rate_human,
  CAST(summed.clickers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS click_rate_human,
  CAST(summed.repliers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS reply_rate_human,
  summed.last_active_at_human AS last_active_at_human
FROM listed
LEFT JOIN (SELECT * FROM email_sums WHERE $before IS NULL OR email_id < $before) AS summed ON summed.email_id = listed.email_id
ORDER BY listed.email_id DESC
