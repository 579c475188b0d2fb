-- title: Engagement
-- meaning: One row per email and recipient of whom there is any event: how often each thing happened, by people and by
--   machines side by side, and when first and last. The KPIs are built on it.
-- column email_id bigint: the email
-- column recipient_id bigint: the recipient
-- column sends bigint: sent events
-- column deliveries bigint: delivery reports
-- column bounces bigint: bounces
-- column complaints bigint: complaints
-- column unsubscriptions bigint: unsubscriptions
-- column opens bigint: all opens, repeats included; human + machine + unlabelled
-- column opens_human bigint: opens by people: actor human or proxy
-- column opens_machine bigint: opens by machines: actor prefetch, scanner or bot
-- column clicks bigint: all link clicks, repeats included; human + machine + unlabelled
-- column clicks_human bigint: link clicks by people: actor human or proxy
-- column clicks_machine bigint: link clicks by machines: actor prefetch, scanner or bot
-- column attachment_views bigint: all attachment views, repeats included; human + machine + unlabelled
-- column attachment_views_human bigint: attachment views by people: actor human or proxy
-- column attachment_views_machine bigint: attachment views by machines: actor prefetch, scanner or bot
-- column replies bigint: all replies, repeats included; human + machine + unlabelled
-- column replies_human bigint: replies by people: actor human or proxy
-- column replies_machine bigint: replies by machines: actor prefetch, scanner or bot
-- column first_sent_at timestamp: first sent event
-- column first_delivered_at timestamp: first delivery report
-- column first_opened_at timestamp: first open by anyone
-- column first_opened_at_human timestamp: first open by a person
-- column last_opened_at timestamp: last open by anyone
-- column last_opened_at_human timestamp: last open by a person
-- column first_clicked_at timestamp: first link click by anyone
-- column first_clicked_at_human timestamp: first link click by a person
-- column last_clicked_at timestamp: last link click by anyone
-- column last_clicked_at_human timestamp: last link click by a person
-- column first_viewed_at timestamp: first attachment view by anyone
-- column first_viewed_at_human timestamp: first attachment view by a person
-- column last_viewed_at timestamp: last attachment view by anyone
-- column last_viewed_at_human timestamp: last attachment view by a person
-- column first_replied_at timestamp: first reply by anyone
-- column first_replied_at_human timestamp: first reply by a person
-- column last_replied_at timestamp: last reply by anyone
-- column last_replied_at_human timestamp: last reply by a person
-- column last_active_at_human timestamp: last open, click, attachment view or reply by a person

-- CASE and not FILTER: each filtered aggregate keeps a copy of all columns, so
-- that 80 of them take five times as long.
SELECT email_id, recipient_id,
  count(CASE WHEN kind = 'sent' THEN 1 END) AS sends,
  count(CASE WHEN kind = 'delivered' THEN 1 END) AS deliveries,
  count(CASE WHEN kind = 'bounced' THEN 1 END) AS bounces,
  count(CASE WHEN kind = 'complained' THEN 1 END) AS complaints,
  count(CASE WHEN kind = 'unsubscribed' THEN 1 END) AS unsubscriptions,
  count(CASE WHEN kind = 'open' THEN 1 END) AS opens,
  count(CASE WHEN kind = 'open' AND human THEN 1 END) AS opens_human,
  count(CASE WHEN kind = 'open' AND machine THEN 1 END) AS opens_machine,
  count(CASE WHEN kind = 'click' THEN 1 END) AS clicks,
  count(CASE WHEN kind = 'click' AND human THEN 1 END) AS clicks_human,
  count(CASE WHEN kind = 'click' AND machine THEN 1 END) AS clicks_machine,
  count(CASE WHEN kind = 'attachment_view' THEN 1 END) AS attachment_views,
  count(CASE WHEN kind = 'attachment_view' AND human THEN 1 END) AS attachment_views_human,
  count(CASE WHEN kind = 'attachment_view' AND machine THEN 1 END) AS attachment_views_machine,
  count(CASE WHEN kind = 'reply' THEN 1 END) AS replies,
  count(CASE WHEN kind = 'reply' AND human THEN 1 END) AS replies_human,
  count(CASE WHEN kind = 'reply' AND machine THEN 1 END) AS replies_machine,
  min(CASE WHEN kind = 'sent' THEN occurred_at END) AS first_sent_at,
  min(CASE WHEN kind = 'delivered' THEN occurred_at END) AS first_delivered_at,
  min(CASE WHEN kind = 'open' THEN occurred_at END) AS first_opened_at,
  min(CASE WHEN kind = 'open' AND human THEN occurred_at END) AS first_opened_at_human,
  max(CASE WHEN kind = 'open' THEN occurred_at END) AS last_opened_at,
  max(CASE WHEN kind = 'open' AND human THEN occurred_at END) AS last_opened_at_human,
  min(CASE WHEN kind = 'click' THEN occurred_at END) AS first_clicked_at,
  min(CASE WHEN kind = 'click' AND human THEN occurred_at END) AS first_clicked_at_human,
  max(CASE WHEN kind = 'click' THEN occurred_at END) AS last_clicked_at,
  max(CASE WHEN kind = 'click' AND human THEN occurred_at END) AS last_clicked_at_human,
  min(CASE WHEN kind = 'attachment_view' THEN occurred_at END) AS first_viewed_at,
  min(CASE WHEN kind = 'attachment_view' AND human THEN occurred_at END) AS first_viewed_at_human,
  max(CASE WHEN kind = 'attachment_view' THEN occurred_at END) AS last_viewed_at,
  max(CASE WHEN kind = 'attachment_view' AND human THEN occurred_at END) AS last_viewed_at_human,
  min(CASE WHEN kind = 'reply' THEN occurred_at END) AS first_replied_at,
  min(CASE WHEN kind = 'reply' AND human THEN occurred_at END) AS first_replied_at_human,
  max(CASE WHEN kind = 'reply' THEN occurred_at END) AS last_replied_at,
  max(CASE WHEN kind = 'reply' AND human THEN occurred_at END) AS last_replied_at_human,
  max(CASE WHEN human AND kind IN ('open', 'click', 'attachment_view', 'reply') THEN occurred_at END) AS last_active_at_human
FROM (
  SELECT email_id, recipient_id, occurred_at, kind,
    actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine
  FROM interactions
)
GROUP BY email_id, recipient_id
