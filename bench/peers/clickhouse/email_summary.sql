WITH listed AS (
  SELECT email_id, subject, template, follow_state, created_at, links, attachments
  FROM emails
  WHERE $email IS NULL OR email_id = $email
  ORDER BY email_id DESC
  LIMIT $limit
)
SELECT
  listed.email_id AS email_id,
  listed.subject AS subject,
  listed.template AS template,
  listed.follow_state AS follow_state,
  listed.created_at AS created_at,
  summed.sent_at AS sent_at,
  listed.links AS links,
  listed.attachments AS attachments,
  coalesce(summed.people, 0) AS people,
  coalesce(summed.sent, 0) AS sent,
  coalesce(summed.bounced, 0) AS bounced,
  coalesce(summed.delivered, 0) AS delivered,
  CAST(summed.delivered AS DOUBLE) / NULLIF(summed.sent, 0) AS delivery_rate,
  coalesce(summed.complained, 0) AS complained,
  coalesce(summed.unsubscribed, 0) AS unsubscribed,
  coalesce(summed.opens_total, 0) AS opens_total,
  coalesce(summed.opens_human, 0) AS opens_human,
  coalesce(summed.opens_machine, 0) AS opens_machine,
  coalesce(summed.openers_unique, 0) AS openers_unique,
  coalesce(summed.openers_human, 0) AS openers_human,
  coalesce(summed.openers_machine, 0) AS openers_machine,
  CAST(summed.openers_unique AS DOUBLE) / NULLIF(summed.delivered, 0) AS open_rate,
  CAST(summed.openers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS open_rate_human,
  coalesce(summed.clicks_total, 0) AS clicks_total,
  coalesce(summed.clicks_human, 0) AS clicks_human,
  coalesce(summed.clicks_machine, 0) AS clicks_machine,
  coalesce(summed.clickers_unique, 0) AS clickers_unique,
  coalesce(summed.clickers_human, 0) AS clickers_human,
  coalesce(summed.clickers_machine, 0) AS clickers_machine,
  coalesce(summed.confirmed_openers_human, 0) AS confirmed_openers_human,
  CAST(summed.clickers_human AS DOUBLE) / NULLIF(summed.confirmed_openers_human, 0) AS click_to_open_rate_human,
  CAST(summed.clickers_unique AS DOUBLE) / NULLIF(summed.delivered, 0) AS click_rate,
  CAST(summed.clickers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS click_rate_human,
  coalesce(summed.attachment_views_total, 0) AS attachment_views_total,
  coalesce(summed.attachment_views_human, 0) AS attachment_views_human,
  coalesce(summed.attachment_views_machine, 0) AS attachment_views_machine,
  coalesce(summed.attachment_viewers_unique, 0) AS attachment_viewers_unique,
  coalesce(summed.attachment_viewers_human, 0) AS attachment_viewers_human,
  coalesce(summed.attachment_viewers_machine, 0) AS attachment_viewers_machine,
  coalesce(summed.replies_total, 0) AS replies_total,
  coalesce(summed.replies_human, 0) AS replies_human,
  coalesce(summed.replies_machine, 0) AS replies_machine,
  coalesce(summed.repliers_unique, 0) AS repliers_unique,
  coalesce(summed.repliers_human, 0) AS repliers_human,
  coalesce(summed.repliers_machine, 0) AS repliers_machine,
  CAST(summed.repliers_unique AS DOUBLE) / NULLIF(summed.delivered, 0) AS reply_rate,
  CAST(summed.repliers_human AS DOUBLE) / NULLIF(summed.delivered, 0) AS reply_rate_human,
  summed.first_opened_at AS first_opened_at,
  summed.first_opened_at_human AS first_opened_at_human,
  summed.last_opened_at AS last_opened_at,
  summed.last_opened_at_human AS last_opened_at_human
FROM listed
LEFT JOIN (SELECT * FROM email_sums WHERE $email IS NULL OR email_id = $email) AS summed ON summed.email_id = listed.email_id
ORDER BY listed.email_id DESC
