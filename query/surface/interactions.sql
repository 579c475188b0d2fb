-- title: Interactions
-- meaning: One row per thing that happened with an email. Interactions of recipients who do not allow them to be
--   followed are not in it, nor anything older than the organisation keeps, and each event is in it once.
-- column event_id bigint: identifies the event; negative for events that others reported
-- column occurred_at timestamp: when it happened
-- column received_at timestamp: when mailwake learnt of it
-- column kind varchar: open, click, attachment_view, reply, sent, delivered, bounced, complained or unsubscribed
-- column email_id bigint: the email
-- column recipient_id bigint: the recipient
-- column component integer: ordinal of the link or attachment in the email; 0 if none
-- column actor varchar: who caused it: human, proxy (counted as people), prefetch, scanner, bot (machines) or unknown
-- column reason varchar: why actor was chosen
-- column device varchar: desktop, mobile, tablet or unknown
-- column client varchar: family of the mail client or browser
-- column os varchar: family of the operating system
-- column source varchar: pixel, redirect, attachment, api or unknown
-- column user_agent varchar: as received; NULL once it is no longer needed to classify
-- column network varchar: network of the sender, /24 or /48 at most; NULL unless the owner keeps it

{{define "consent"}}
{{- if .OptIn}}
LEFT JOIN consent_granted AS c ON c.recipient_id = e.recipient_id
{{- else if .Denied}}
LEFT JOIN consent_denied AS c ON c.recipient_id = e.recipient_id
{{- end}}
{{- end}}

{{- define "shown"}}
{{- if .OptIn -}}
CASE e.kind WHEN 'open' THEN c.opens IS TRUE WHEN 'click' THEN c.clicks IS TRUE
  WHEN 'attachment_view' THEN c.views IS TRUE WHEN 'reply' THEN c.replies IS TRUE ELSE TRUE END
{{- else if .Denied -}}
CASE e.kind WHEN 'open' THEN c.opens IS NOT TRUE WHEN 'click' THEN c.clicks IS NOT TRUE
  WHEN 'attachment_view' THEN c.views IS NOT TRUE WHEN 'reply' THEN c.replies IS NOT TRUE ELSE TRUE END
{{- else -}}
TRUE
{{- end}}
{{- if .Oldest}}
  AND e.occurred_at >= {{.Oldest}}
{{- end}}
{{- end -}}

SELECT e.event_id, e.occurred_at, e.received_at, e.kind, e.email_id, e.recipient_id, e.component,
  e.actor, e.reason, e.device, e.client, e.os, e.source, e.user_agent, e.network
FROM surface_rows AS e
{{- template "consent" .}}
WHERE {{template "shown" .}}
