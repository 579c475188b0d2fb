-- title: Activity per recipient
-- meaning: One row per recipient who has any event, those whom a person was active for last first: what they were
--   sent, opened, clicked, viewed and answered, by people and by machines side by side.
-- formula: delivery rate = D / S; open rate = emails opened / D; click rate = emails clicked / D; click-to-open rate
--   = emails clicked / emails confirmed opened; reply rate = emails replied / D; with D = S - B, in emails of this
--   recipient. A rate without denominator is NULL. A rate over D passes 1 only when an email that bounced was opened
--   all the same.
-- unit: counts; rates from 0 to 1, their numerators and denominators are columns; times in UTC
-- source: engagement, recipients
-- people: one
-- param recipient id optional: only this recipient
-- param email id optional: only this email
-- param limit count = 100: most recipients, those active last first
-- column recipient_id bigint: the recipient
-- column address varchar: their address
-- column name varchar: their name; empty if unknown
-- column last_active_at_human timestamp: last open, click, attachment view or reply by a person
-- column sent bigint: emails with a sent event: S
-- column bounced bigint: of those sent, the emails that bounced: B
-- column delivered bigint: emails sent and not bounced: D = S - B
-- column delivery_rate double: delivered / sent
-- column complained bigint: emails with a complaint
-- column unsubscribed bigint: emails with an unsubscription
-- column opens_total bigint: all opens, repeats included; human + machine + unlabelled
-- column opens_human bigint: opens by people: actor human or proxy
-- column opens_machine bigint: opens by machines: actor prefetch, scanner or bot
-- column emails_opened_unique bigint: emails opened at least once, by anyone
-- column emails_opened_human bigint: emails opened at least once by a person
-- column emails_opened_machine bigint: emails opened at least once by a machine
-- column open_rate double: emails_opened_unique / delivered
-- column open_rate_human double: emails_opened_human / delivered
-- column clicks_total bigint: all link clicks, repeats included; human + machine + unlabelled
-- column clicks_human bigint: link clicks by people: actor human or proxy
-- column clicks_machine bigint: link clicks by machines: actor prefetch, scanner or bot
-- column emails_clicked_unique bigint: emails clicked at least once, by anyone
-- column emails_clicked_human bigint: emails clicked at least once by a person
-- column emails_clicked_machine bigint: emails clicked at least once by a machine
-- column emails_confirmed_opened_human bigint: opened or clicked by a person: a click proves an open
-- column click_to_open_rate_human double: emails_clicked_human / emails_confirmed_opened_human
-- column click_rate double: emails_clicked_unique / delivered
-- column click_rate_human double: emails_clicked_human / delivered
-- column attachment_views_total bigint: all attachment views, repeats included; human + machine + unlabelled
-- column attachment_views_human bigint: attachment views by people: actor human or proxy
-- column attachment_views_machine bigint: attachment views by machines: actor prefetch, scanner or bot
-- column emails_attachment_viewed_unique bigint: emails with an attachment viewed at least once, by anyone
-- column emails_attachment_viewed_human bigint: emails with an attachment viewed at least once by a person
-- column emails_attachment_viewed_machine bigint: emails with an attachment viewed at least once by a machine
-- column replies_total bigint: all replies, repeats included; human + machine + unlabelled
-- column replies_human bigint: replies by people: actor human or proxy
-- column replies_machine bigint: replies by machines: actor prefetch, scanner or bot
-- column emails_replied_unique bigint: emails replied to at least once, by anyone
-- column emails_replied_human bigint: emails replied to at least once by a person
-- column emails_replied_machine bigint: emails replied to at least once by a machine
-- column reply_rate double: emails_replied_unique / delivered
-- column reply_rate_human double: emails_replied_human / delivered
-- column first_opened_at timestamp: first open by anyone
-- column first_opened_at_human timestamp: first open by a person
-- column last_opened_at timestamp: last open by anyone
-- column last_opened_at_human timestamp: last open by a person

WITH active AS (
  SELECT recipient_id,
    max(last_active_at_human) AS last_active_at_human,
    count(CASE WHEN sends > 0 THEN 1 END) AS sent,
    count(CASE WHEN sends > 0 AND bounces > 0 THEN 1 END) AS bounced,
    count(CASE WHEN sends > 0 AND bounces = 0 THEN 1 END) AS delivered,
    count(CASE WHEN complaints > 0 THEN 1 END) AS complained,
    count(CASE WHEN unsubscriptions > 0 THEN 1 END) AS unsubscribed,
    CAST(coalesce(sum(opens), 0) AS BIGINT) AS opens_total,
    CAST(coalesce(sum(opens_human), 0) AS BIGINT) AS opens_human,
    CAST(coalesce(sum(opens_machine), 0) AS BIGINT) AS opens_machine,
    count(CASE WHEN opens > 0 THEN 1 END) AS emails_opened_unique,
    count(CASE WHEN opens_human > 0 THEN 1 END) AS emails_opened_human,
    count(CASE WHEN opens_machine > 0 THEN 1 END) AS emails_opened_machine,
    CAST(coalesce(sum(clicks), 0) AS BIGINT) AS clicks_total,
    CAST(coalesce(sum(clicks_human), 0) AS BIGINT) AS clicks_human,
    CAST(coalesce(sum(clicks_machine), 0) AS BIGINT) AS clicks_machine,
    count(CASE WHEN clicks > 0 THEN 1 END) AS emails_clicked_unique,
    count(CASE WHEN clicks_human > 0 THEN 1 END) AS emails_clicked_human,
    count(CASE WHEN clicks_machine > 0 THEN 1 END) AS emails_clicked_machine,
    count(CASE WHEN opens_human > 0 OR clicks_human > 0 THEN 1 END) AS emails_confirmed_opened_human,
    CAST(coalesce(sum(attachment_views), 0) AS BIGINT) AS attachment_views_total,
    CAST(coalesce(sum(attachment_views_human), 0) AS BIGINT) AS attachment_views_human,
    CAST(coalesce(sum(attachment_views_machine), 0) AS BIGINT) AS attachment_views_machine,
    count(CASE WHEN attachment_views > 0 THEN 1 END) AS emails_attachment_viewed_unique,
    count(CASE WHEN attachment_views_human > 0 THEN 1 END) AS emails_attachment_viewed_human,
    count(CASE WHEN attachment_views_machine > 0 THEN 1 END) AS emails_attachment_viewed_machine,
    CAST(coalesce(sum(replies), 0) AS BIGINT) AS replies_total,
    CAST(coalesce(sum(replies_human), 0) AS BIGINT) AS replies_human,
    CAST(coalesce(sum(replies_machine), 0) AS BIGINT) AS replies_machine,
    count(CASE WHEN replies > 0 THEN 1 END) AS emails_replied_unique,
    count(CASE WHEN replies_human > 0 THEN 1 END) AS emails_replied_human,
    count(CASE WHEN replies_machine > 0 THEN 1 END) AS emails_replied_machine,
    min(first_opened_at) AS first_opened_at,
    min(first_opened_at_human) AS first_opened_at_human,
    max(last_opened_at) AS last_opened_at,
    max(last_opened_at_human) AS last_opened_at_human
  FROM engagement
  WHERE ($email IS NULL OR email_id = $email) AND ($recipient IS NULL OR recipient_id = $recipient)
  GROUP BY recipient_id
  ORDER BY last_active_at_human DESC NULLS LAST, recipient_id
  LIMIT $limit
)
SELECT
  active.recipient_id,
  recipients.address,
  recipients.name,
  active.last_active_at_human,
  active.sent,
  active.bounced,
  active.delivered,
  CAST(active.delivered AS DOUBLE) / NULLIF(active.sent, 0) AS delivery_rate,
  active.complained,
  active.unsubscribed,
  active.opens_total,
  active.opens_human,
  active.opens_machine,
  active.emails_opened_unique,
  active.emails_opened_human,
  active.emails_opened_machine,
  CAST(active.emails_opened_unique AS DOUBLE) / NULLIF(active.delivered, 0) AS open_rate,
  CAST(active.emails_opened_human AS DOUBLE) / NULLIF(active.delivered, 0) AS open_rate_human,
  active.clicks_total,
  active.clicks_human,
  active.clicks_machine,
  active.emails_clicked_unique,
  active.emails_clicked_human,
  active.emails_clicked_machine,
  active.emails_confirmed_opened_human,
  CAST(active.emails_clicked_human AS DOUBLE) / NULLIF(active.emails_confirmed_opened_human, 0) AS click_to_open_rate_human,
  CAST(active.emails_clicked_unique AS DOUBLE) / NULLIF(active.delivered, 0) AS click_rate,
  CAST(active.emails_clicked_human AS DOUBLE) / NULLIF(active.delivered, 0) AS click_rate_human,
  active.attachment_views_total,
  active.attachment_views_human,
  active.attachment_views_machine,
  active.emails_attachment_viewed_unique,
  active.emails_attachment_viewed_human,
  active.emails_attachment_viewed_machine,
  active.replies_total,
  active.replies_human,
  active.replies_machine,
  active.emails_replied_unique,
  active.emails_replied_human,
  active.emails_replied_machine,
  CAST(active.emails_replied_unique AS DOUBLE) / NULLIF(active.delivered, 0) AS reply_rate,
  CAST(active.emails_replied_human AS DOUBLE) / NULLIF(active.delivered, 0) AS reply_rate_human,
  active.first_opened_at,
  active.first_opened_at_human,
  active.last_opened_at,
  active.last_opened_at_human
FROM active LEFT JOIN recipients ON recipients.recipient_id = active.recipient_id
ORDER BY active.last_active_at_human DESC NULLS LAST, active.recipient_id
