-- title: Days
-- meaning: One row per day, in UTC, on which anything happened.
-- column day date: the day
-- column sends bigint: sent events
-- column deliveries bigint: delivery reports
-- column bounces bigint: bounces
-- column complaints bigint: complaints
-- column unsubscriptions bigint: unsubscriptions
-- column opens bigint: all opens, repeats included; human + machine + unlabelled
-- column opens_human bigint: opens by people
-- column opens_machine bigint: opens by machines
-- column clicks bigint: all link clicks, repeats included; human + machine + unlabelled
-- column clicks_human bigint: link clicks by people
-- column clicks_machine bigint: link clicks by machines
-- column attachment_views bigint: all attachment views, repeats included; human + machine + unlabelled
-- column attachment_views_human bigint: attachment views by people
-- column attachment_views_machine bigint: attachment views by machines
-- column replies bigint: all replies, repeats included; human + machine + unlabelled
-- column replies_human bigint: replies by people
-- column replies_machine bigint: replies by machines
-- column recipients_active bigint: recipients who opened, clicked, viewed or replied, by a person

SELECT day,
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
  count(DISTINCT CASE WHEN human AND kind IN ('open', 'click', 'attachment_view', 'reply') THEN recipient_id END) AS recipients_active
FROM (
  SELECT CAST(occurred_at AS DATE) AS day, recipient_id, kind,
    actor IN ('human', 'proxy') AS human, actor IN ('prefetch', 'scanner', 'bot') AS machine
  FROM interactions
)
GROUP BY day
