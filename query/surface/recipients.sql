-- title: Recipients
-- meaning: One row per address that was ever written to. Those who may see figures only find the numbers alone.
-- column recipient_id bigint: identifies the recipient
-- column address varchar: the address; NULL for those who may not see persons
-- column name varchar: the name given with it, empty if none; NULL for those who may not see persons
-- column person varchar: the sender's own id of the person, empty if none; NULL for those who may not see persons
-- column domain varchar: what follows the @, in lower case; NULL for those who may not see persons

SELECT recipient_id,
{{- if .Persons}} address, name, person, lower(regexp_extract(address, '@([^@]*)$', 1)) AS domain
{{- else}} NULL::VARCHAR AS address, NULL::VARCHAR AS name, NULL::VARCHAR AS person, NULL::VARCHAR AS domain
{{- end}}
FROM catalog_recipients
