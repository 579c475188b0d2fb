-- title: Templates
-- meaning: One row per template that an email was made from.
-- column template varchar: its name
-- column emails bigint: emails made from it
-- column emails_followed bigint: those of them that are followed
-- column first_used_at timestamp: when the first one was registered
-- column last_used_at timestamp: when the last one was registered

SELECT template, count(*) AS emails, count(CASE WHEN follow_state = 'on' THEN 1 END) AS emails_followed,
  min(created_at) AS first_used_at, max(created_at) AS last_used_at
FROM emails WHERE template <> '' GROUP BY template
