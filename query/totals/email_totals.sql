-- title: Totals of emails
-- meaning: One row per email that was sent to many people. With k = 10 unless the server says otherwise: a number of
--   people is rounded to a multiple of k at a place that is secret and stays the same; it is right on average, and off by
--   less than 1.5k. Below k it is NULL, and up to 3k often. Events count at most 3 times per person, in multiples of 3k.
-- column email_id bigint: the email
-- column template varchar: the template it was made from; empty if none
-- column created_on date: the day it was registered, in UTC
-- column people bigint: recipients it was sent to
-- column people_bounced bigint: those whose mail bounced
-- column people_opened bigint: those with an open by anyone
-- column people_opened_human bigint: those with an open by a person
-- column people_clicked bigint: those with a link click by anyone
-- column people_clicked_human bigint: those with a link click by a person
-- column people_viewed bigint: those with an attachment view by anyone
-- column people_replied bigint: those who replied
-- column opens bigint: opens
-- column clicks bigint: link clicks
-- column attachment_views bigint: attachment views
-- column replies bigint: replies

SELECT t.email_id, e.template, CAST(e.created_at AS DATE) AS created_on, t.* EXCLUDE (email_id)
FROM (
  SELECT email_id, count(*) AS people,
    count(CASE WHEN bounces > 0 THEN 1 END) AS people_bounced,
    count(CASE WHEN opens > 0 THEN 1 END) AS people_opened, count(CASE WHEN opens_human > 0 THEN 1 END) AS people_opened_human,
    count(CASE WHEN clicks > 0 THEN 1 END) AS people_clicked, count(CASE WHEN clicks_human > 0 THEN 1 END) AS people_clicked_human,
    count(CASE WHEN attachment_views > 0 THEN 1 END) AS people_viewed, count(CASE WHEN replies > 0 THEN 1 END) AS people_replied,
    CAST(sum(least(opens, 3)) AS BIGINT) AS opens, CAST(sum(least(clicks, 3)) AS BIGINT) AS clicks,
    CAST(sum(least(attachment_views, 3)) AS BIGINT) AS attachment_views, CAST(sum(least(replies, 3)) AS BIGINT) AS replies
  FROM engagement WHERE sends > 0 GROUP BY email_id
) AS t JOIN emails AS e ON e.email_id = t.email_id
