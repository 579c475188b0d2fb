-- title: Links
-- meaning: One row per link of an email.
-- column email_id bigint: the email
-- column component integer: ordinal of the link in the email, as in interactions of kind click
-- column url varchar: where it leads

SELECT email_id, component, url FROM catalog_links
