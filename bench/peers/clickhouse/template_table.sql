WITH pairs AS (
  SELECT emails.template, engagement.*
  FROM engagement JOIN emails ON emails.email_id = engagement.email_id
  WHERE emails.follow_state = 'on'
), summed AS (
  SELECT template,
    count(DISTINCT recipient_id) AS people,
    count(CASE WHEN sends > 0 THEN 1 END) AS sent,
    count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
    CAST(sum(opens) AS BIGINT) AS opens_total,
    CAST(sum(opens_human) AS BIGINT) AS opens_human,
    CAST(sum(opens_machine) AS BIGINT) AS opens_machine,
    count(CASE WHEN opens > 0 THEN 1 END) AS openers_unique,
    count(CASE WHEN opens_human > 0 THEN 1 END) AS openers_human,
    count(CASE WHEN clicks_human > 0 THEN 1 END) AS clickers_human,
    CAST(sum(replies) AS BIGINT) AS replies_total,
    count(CASE WHEN replies_human > 0 THEN 1 END) AS repliers_human
  FROM pairs
  GROUP BY template
), everything AS (
  SELECT CAST(sum(repliers_human) AS DOUBLE) / NULLIF(sum(delivered), 0) AS reply_rate FROM summed
), shares AS (
  -- Bounced messages may be reacted to all the same; an interval needs a share.
  SELECT template, CAST(delivered AS DOUBLE) AS n,
    CAST(least(openers_human, delivered) AS DOUBLE) AS o, CAST(least(repliers_human, delivered) AS DOUBLE) AS r
  FROM summed
  WHERE delivered > 0
), bounds AS (
  SELECT template,
    (((o / n) + 3.8416 / (2.0 * n)) - (1.96 * sqrt((o / n) * (1.0 - (o / n)) / n + 3.8416 / (4.0 * n * n)))) / (1.0 + 3.8416 / n) AS open_low,
    (((o / n) + 3.8416 / (2.0 * n)) + (1.96 * sqrt((o / n) * (1.0 - (o / n)) / n + 3.8416 / (4.0 * n * n)))) / (1.0 + 3.8416 / n) AS open_high,
    (((r / n) + 3.8416 / (2.0 * n)) - (1.96 * sqrt((r / n) * (1.0 - (r / n)) / n + 3.8416 / (4.0 * n * n)))) / (1.0 + 3.8416 / n) AS reply_low,
    (((r / n) + 3.8416 / (2.0 * n)) + (1.96 * sqrt((r / n) * (1.0 - (r / n)) / n + 3.8416 / (4.0 * n * n)))) / (1.0 + 3.8416 / n) AS reply_high
  FROM shares
)
SELECT
  t.template AS template,
  t.emails AS emails,
  t.emails_followed AS emails_followed,
  t.last_used_at AS last_used_at,
  coalesce(s.people, 0) AS people,
  coalesce(s.sent, 0) AS sent,
  coalesce(s.delivered, 0) AS delivered,
  coalesce(s.opens_total, 0) AS opens_total,
  coalesce(s.opens_human, 0) AS opens_human,
  coalesce(s.opens_machine, 0) AS opens_machine,
  coalesce(s.openers_unique, 0) AS openers_unique,
  coalesce(s.openers_human, 0) AS openers_human,
  coalesce(s.clickers_human, 0) AS clickers_human,
  coalesce(s.replies_total, 0) AS replies_total,
  coalesce(s.repliers_human, 0) AS repliers_human,
  CAST(s.openers_human AS DOUBLE) / NULLIF(s.delivered, 0) AS open_rate_human,
  b.open_low AS open_rate_low,
  b.open_high AS open_rate_high,
  CAST(s.clickers_human AS DOUBLE) / NULLIF(s.delivered, 0) AS click_rate_human,
  CAST(s.repliers_human AS DOUBLE) / NULLIF(s.delivered, 0) AS reply_rate_human,
  b.reply_low AS reply_rate_low,
  b.reply_high AS reply_rate_high,
  coalesce(s.delivered >= 30 AND b.reply_low > everything.reply_rate, FALSE) AS recommended
FROM templates AS t
LEFT JOIN summed AS s ON s.template = t.template
LEFT JOIN bounds AS b ON b.template = t.template
CROSS JOIN everything
ORDER BY b.reply_low DESC NULLS LAST, b.open_low DESC NULLS LAST, t.template
LIMIT $limit
