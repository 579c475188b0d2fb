-- title: Emails
-- meaning: One row per registered email, followed or not.
-- column email_id bigint: identifies the email; newer ones have greater numbers
-- column sender varchar: address it was sent from
-- column subject varchar: its subject
-- column template varchar: the template it was made from; empty if none
-- column created_at timestamp: when it was registered
-- column links bigint: links in it
-- column follow_state varchar: on, off or blocked
-- column attachments bigint: attachments that came as links
-- column recipients bigint: recipients it was meant for

SELECT email_id, sender, subject, template, created_at, links, follow_state, attachments, recipients FROM catalog_emails
