-- title: Totals of emails
-- meaning: One row per email that was sent to at least k people (k = 10 unless the server says otherwise). A figure is NULL
--   where it, or what is left when it is taken from the figure around it, would stand for fewer than k people.
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
-- column opens bigint: all opens
-- column clicks bigint: all link clicks
-- column attachment_views bigint: all attachment views
-- column replies bigint: all replies

SELECT t.email_id, e.template, CAST(e.created_at AS DATE) AS created_on, people, people_bounced,
  people_opened,
  CASE WHEN (opened_human = 0 OR opened_human >= $1)
    AND (coalesce(people_opened, people) = opened_human OR coalesce(people_opened, people) - opened_human >= $1)
    AND (people = opened_human OR people - opened_human >= $1) THEN opened_human END AS people_opened_human,
  people_clicked,
  CASE WHEN (clicked_human = 0 OR clicked_human >= $1)
    AND (coalesce(people_clicked, people) = clicked_human OR coalesce(people_clicked, people) - clicked_human >= $1)
    AND (people = clicked_human OR people - clicked_human >= $1) THEN clicked_human END AS people_clicked_human,
  people_viewed, people_replied,
  CASE WHEN people_opened IS NOT NULL THEN opens END AS opens,
  CASE WHEN people_clicked IS NOT NULL THEN clicks END AS clicks,
  CASE WHEN people_viewed IS NOT NULL THEN attachment_views END AS attachment_views,
  CASE WHEN people_replied IS NOT NULL THEN replies END AS replies
FROM (
  SELECT email_id, people, opened_human, clicked_human, opens, clicks, attachment_views, replies,
    CASE WHEN (bounced = 0 OR bounced >= $1) AND (people = bounced OR people - bounced >= $1) THEN bounced END AS people_bounced,
    CASE WHEN (opened = 0 OR opened >= $1) AND (people = opened OR people - opened >= $1) THEN opened END AS people_opened,
    CASE WHEN (clicked = 0 OR clicked >= $1) AND (people = clicked OR people - clicked >= $1) THEN clicked END AS people_clicked,
    CASE WHEN (viewed = 0 OR viewed >= $1) AND (people = viewed OR people - viewed >= $1) THEN viewed END AS people_viewed,
    CASE WHEN (replied = 0 OR replied >= $1) AND (people = replied OR people - replied >= $1) THEN replied END AS people_replied
  FROM (
    SELECT email_id, count(*) AS people,
      count(CASE WHEN bounces > 0 THEN 1 END) AS bounced,
      count(CASE WHEN opens > 0 THEN 1 END) AS opened, count(CASE WHEN opens_human > 0 THEN 1 END) AS opened_human,
      count(CASE WHEN clicks > 0 THEN 1 END) AS clicked, count(CASE WHEN clicks_human > 0 THEN 1 END) AS clicked_human,
      count(CASE WHEN attachment_views > 0 THEN 1 END) AS viewed, count(CASE WHEN replies > 0 THEN 1 END) AS replied,
      CAST(sum(opens) AS BIGINT) AS opens, CAST(sum(clicks) AS BIGINT) AS clicks,
      CAST(sum(attachment_views) AS BIGINT) AS attachment_views, CAST(sum(replies) AS BIGINT) AS replies
    FROM engagement WHERE sends > 0 GROUP BY email_id
  ) WHERE people >= $1
) AS t JOIN emails AS e ON e.email_id = t.email_id
