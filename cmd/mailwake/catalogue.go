package main

// known is what the API's document says about a problem code.
type known struct {
	status  int
	meaning string
}

// catalogue holds every problem code of the private plane: the one place where a
// code gets its status and its meaning. Operations name theirs in
// Metadata["problems"]; a test holds all of them against the sources.
var catalogue = map[string]known{
	// Any operation.
	"bad_request":            {400, "the body is missing, or is not JSON"},
	"unauthenticated":        {401, "no API key, or one that is unknown or revoked"},
	"forbidden":              {403, "the key's role may not do this, or the key is for another organisation"},
	"not_found":              {404, "nothing is at this address"},
	"method_not_allowed":     {405, "the address does not take this method"},
	"not_acceptable":         {406, "no format that Accept allows"},
	"body_too_slow":          {408, "the body did not arrive in time"},
	"body_too_large":         {413, "the body is larger than the operation takes"},
	"unsupported_media_type": {415, "the body's Content-Type is not one that the operation takes"},
	"invalid_request":        {422, "parameters or body do not fit their schema; errors names the fields"},
	"invalid_utf8":           {422, "the body is not valid UTF-8"},
	"internal":               {500, "something failed inside; the server's log says what"},
	"registry_corrupt":       {500, "the registry's file is damaged"},
	"registry_busy":          {503, "the registry is locked by another writer; try again"},
	"registry_unavailable":   {503, "the registry cannot be written"},
	"log_full":               {503, "the log is full because the storage takes no data; try again later"},
	"shutting_down":          {503, "the server is shutting down"},
	"starting":               {503, "the server is still replaying its log"},
	"storage_unavailable":    {503, "the storage does not take the data; it stays in the log"},

	// Organisations and keys.
	"org_not_found":          {404, "no such organisation"},
	"org_exists":             {409, "the name is taken"},
	"org_name_invalid":       {422, "not a name: lower-case letters, digits and hyphens"},
	"org_title_invalid":      {422, "the title is too long or has control characters"},
	"org_transition_invalid": {409, "the organisation's state does not allow this"},
	"policy_invalid":         {422, "a field of the policy has a value that it may not have"},
	"feature_disabled":       {409, "following is switched off, or the subscription has ended"},
	"maintenance_elsewhere":  {409, "another process maintains the tables now"},
	"maintenance_failed":     {503, "a task of maintenance failed; it is tried again by itself, the server's log says why"},
	"key_not_found":          {404, "no such key"},
	"key_last_admin":         {409, "the last administrator's key for all organisations cannot be revoked"},
	"key_name_invalid":       {422, "the key's name is too long or has control characters"},
	"key_role_invalid":       {422, "not a role"},
	"key_scope_invalid":      {422, "a key is for one organisation or for all"},

	// People and consent.
	"person_not_found":           {404, "no such person"},
	"person_invalid":             {422, "a field of the person may not be so"},
	"person_account_invalid":     {422, "the account is not known, or the person is no contact"},
	"recipient_not_found":        {404, "no such recipient"},
	"address_invalid":            {422, "not an email address"},
	"too_many_addresses":         {422, "more addresses than a person may have"},
	"preference_subject_invalid": {422, "it is not said, or said twice, whose preference it is"},
	"preference_invalid":         {422, "not a preference, or its evidence is too long"},
	"proof_invalid":              {422, "a text of the proof is missing, too long or has control characters"},
	"too_many_changes":           {422, "more changes than one request takes; split them"},
	"import_invalid":             {422, "lines are faulty; lines, faulty_lines and faults (line, field, code, message) say which; nothing was imported"},
	"ledger_damaged":             {500, "the consent ledger is not as it was written; detail names the first bad entry"},
	"addresses_exhausted":        {507, "the organisation has as many addresses as there can be"},

	// KPIs and SQL.
	"kpi_not_found":       {404, "no such KPI"},
	"kpi_about_persons":   {403, "the KPI is about single persons, and the key may see figures of many only"},
	"query_timeout":       {504, "the KPI took longer than it may"},
	"parameter_invalid":   {400, "a parameter's value may not be so"},
	"parameter_missing":   {400, "a parameter of the KPI is missing"},
	"parameter_unknown":   {400, "the KPI has no such parameter"},
	"format_unknown":      {400, "not a format"},
	"format_unsupported":  {406, "the format cannot hold a column of the answer"},
	"result_too_large":    {413, "the answer is larger than may be; ask for less"},
	"query_closed":        {503, "the server is shutting down"},
	"query_out_of_memory": {503, "the statement needs more memory than it may have"},
	"sql_invalid":         {400, "not a statement; detail says where"},
	"sql_not_select":      {400, "not one SELECT"},
	"sql_forbidden":       {403, "the statement uses what statements may not use"},
	"sql_timeout":         {504, "the statement ran longer than it may"},
	"sql_failed":          {422, "DuckDB fails at the statement by a fault of its own; put it in other words"},
	"sql_worker_ended":    {503, "the process that ran the statement ended"},
	// Interactions in bulk.
	"bulk_invalid":   {422, "the body is not whole, or not of the format that its headers name"},
	"bulk_too_large": {413, "more rows or bytes than a request may hold"},
	"bulk_busy":      {429, "other requests are being read; try again in a moment"},
	"rows_invalid":   {422, "rows are wrong and nothing was recorded; rows names them"},

	// Erasure and export of people.
	"erasure_not_found": {404, "no such erasure"},
	"whose_invalid":     {422, "it is not said, or said twice, whom it is about"},
	"recipient_erased":  {409, "the recipient was erased before"},

	// Replies.
	"message_invalid":   {422, "the body is no raw message: it has no header"},
	"message_too_large": {413, "the message is larger than the operation takes"},
	"header_too_large":  {413, "the message's header is larger than 256 kB"},

	// Emails and attachments.
	"follow_invalid":           {422, "follow is none of required, if_allowed, no"},
	"follow_blocked":           {409, "recipients do not allow it; blockers names them, and email_id the email, to be retried"},
	"pixel_invalid":            {422, "pixel is neither top nor bottom"},
	"output_invalid":           {422, "output is neither html nor mime, or not what the input can become"},
	"mime_invalid":             {422, "a whole message and parts of one are both there"},
	"html_too_large":           {413, "the HTML is larger than 2 MiB"},
	"text_too_large":           {413, "the text is larger than 2 MiB"},
	"output_too_large":         {413, "all copies together would be larger than 64 MiB; split the recipients"},
	"message_too_complex":      {422, "the message has too many parts, too deep ones, or a header that is too large"},
	"subject_invalid":          {422, "the email's subject is too long or has control characters"},
	"sender_invalid":           {422, "from is missing, too long or no sender"},
	"template_invalid":         {422, "the template's name is too long or has control characters"},
	"reason_invalid":           {422, "the reason is too long or has control characters"},
	"list_unsubscribe_invalid": {422, "list_unsubscribe has too many values, or one that a header cannot carry"},
	"recipients_missing":       {422, "the email has no recipient"},
	"recipients_invalid":       {422, "a field of the message's header is not a list of addresses"},
	"recipient_invalid":        {422, "a recipient's address, name or person is not what it should be"},
	"recipient_duplicate":      {422, "two recipients have the same address"},
	"too_many_recipients":      {422, "more than 10,000 recipients"},
	"too_many_links":           {422, "more than 1,000 links"},
	"link_invalid":             {422, "a link leads to what a redirect must not lead to"},
	"too_many_attachments":     {422, "more than 100 attachments"},
	"attachment_duplicate":     {422, "an attachment is there twice"},
	"attachment_unknown":       {422, "an attachment was not uploaded, or was removed"},
	"email_not_found":          {404, "no such email"},
	"email_not_blocked":        {409, "only a blocked email that was never sent can be retried"},
	"attachment_not_found":     {404, "no such attachment"},
	"attachment_sent":          {409, "an email with this attachment was sent"},
	"attachment_name_invalid":  {422, "the name is missing, too long, or is not one segment of plain characters"},
	"attachment_too_large":     {413, "the file is larger than 25 MiB"},
	"attachment_empty":         {422, "the file is empty"},
	"content_type_invalid":     {422, "the Content-Type is not a media type that a file can have"},
	"upload_failed":            {400, "the file did not arrive whole"},
}
