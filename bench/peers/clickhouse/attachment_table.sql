WITH listed AS (
  SELECT email_id, component, name, media_type, size, followed
  FROM attachments
  WHERE $email IS NULL OR email_id = $email
  ORDER BY email_id DESC, component
  LIMIT $limit
), marked AS (
  SELECT email_id, recipient_id, component, occurred_at, actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine
  FROM interactions
  WHERE kind = 'attachment_view' AND ($email IS NULL OR email_id = $email)
), used AS (
  SELECT email_id, component,
    count(*) AS total,
    count(CASE WHEN human THEN 1 END) AS by_human,
    count(CASE WHEN machine THEN 1 END) AS by_machine,
    count(DISTINCT recipient_id) AS people_unique,
    count(DISTINCT CASE WHEN human THEN recipient_id END) AS people_human,
    count(DISTINCT CASE WHEN machine THEN recipient_id END) AS people_machine,
    min(CASE WHEN human THEN occurred_at END) AS first_at_human,
    max(CASE WHEN human THEN occurred_at END) AS last_at_human
  FROM marked
  GROUP BY email_id, component
), whole AS (
  SELECT email_id, count(*) AS people, count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
    CAST(sum(attachment_views_human) AS BIGINT) AS by_human
  FROM engagement
  WHERE $email IS NULL OR email_id = $email
  GROUP BY email_id
)
SELECT
  l.email_id AS email_id,
  l.component AS component,
  l.name AS name, l.media_type AS media_type, l.size AS size, l.followed AS followed,
  coalesce(w.people, 0) AS people,
  coalesce(w.delivered, 0) AS delivered,
  coalesce(u.total, 0) AS attachment_views_total,
  coalesce(u.by_human, 0) AS attachment_views_human,
  coalesce(u.by_machine, 0) AS attachment_views_machine,
  coalesce(u.people_unique, 0) AS people_unique,
  coalesce(u.people_human, 0) AS people_human,
  coalesce(u.people_machine, 0) AS people_machine,
  CAST(coalesce(u.people_human, 0) AS DOUBLE) / NULLIF(w.delivered, 0) AS rate_human,
  CAST(coalesce(u.by_human, 0) AS DOUBLE) / NULLIF(w.by_human, 0) AS share,
  u.first_at_human,
  u.last_at_human
FROM listed AS l
LEFT JOIN used AS u ON u.email_id = l.email_id AND u.component = l.component
LEFT JOIN whole AS w ON w.email_id = l.email_id
ORDER BY l.email_id DESC, l.component
