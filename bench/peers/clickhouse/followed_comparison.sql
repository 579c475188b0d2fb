WITH states AS (
  SELECT follow_state, count(*) AS emails, CAST(sum(recipients) AS BIGINT) AS recipients
  FROM emails
  GROUP BY follow_state
), summed AS (
  SELECT emails.follow_state,
    count(DISTINCT recipient_id) AS people,
    count(CASE WHEN sends > 0 THEN 1 END) AS sent,
    count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
    count(CASE WHEN opens_human > 0 THEN 1 END) AS openers_human,
    count(CASE WHEN clicks_human > 0 THEN 1 END) AS clickers_human,
    count(CASE WHEN replies_human > 0 THEN 1 END) AS repliers_human
  FROM engagement JOIN emails ON emails.email_id = engagement.email_id
  GROUP BY emails.follow_state
)
SELECT
  states.follow_state AS follow_state,
  states.emails AS emails,
  CAST(states.emails AS DOUBLE) / sum(states.emails) OVER () AS share,
  states.recipients AS recipients,
  coalesce(people, 0) AS people,
  coalesce(sent, 0) AS sent,
  coalesce(delivered, 0) AS delivered,
  coalesce(openers_human, 0) AS openers_human,
  coalesce(clickers_human, 0) AS clickers_human,
  coalesce(repliers_human, 0) AS repliers_human,
  CAST(openers_human AS DOUBLE) / NULLIF(delivered, 0) AS open_rate_human,
  CAST(clickers_human AS DOUBLE) / NULLIF(delivered, 0) AS click_rate_human,
  CAST(repliers_human AS DOUBLE) / NULLIF(delivered, 0) AS reply_rate_human
FROM states LEFT JOIN summed ON summed.follow_state = states.follow_state
ORDER BY states.follow_state DESC
