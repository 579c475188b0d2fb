-- title: Attachments
-- meaning: One row per attachment of an email.
-- column email_id bigint: the email
-- column component integer: ordinal of the attachment in the email, as in interactions of kind attachment_view
-- column name varchar: its file name
-- column media_type varchar: its type, as it was uploaded
-- column size bigint: bytes
-- column followed boolean: views of it are collected

SELECT email_id, component, name, media_type, size, followed FROM catalog_attachments
