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
	"key_not_found":          {404, "no such key"},
	"key_last_admin":         {409, "the last administrator's key for all organisations cannot be revoked"},
	"key_name_invalid":       {422, "the key's name is too long or has control characters"},
	"key_role_invalid":       {422, "not a role"},
	"key_scope_invalid":      {422, "a key is for one organisation or for all"},

	// People and consent.
	"person_not_found":       {404, "no such person"},
	"person_invalid":         {422, "a field of the person may not be so"},
	"person_account_invalid": {422, "the account is not known, or the person is no contact"},
	"recipient_not_found":    {404, "no such recipient"},
	"address_invalid":        {422, "not an email address"},
	"too_many_addresses":     {422, "more addresses than a person may have"},
	"subject_invalid":        {422, "it is not said, or said twice, whose preference it is"},
	"preference_invalid":     {422, "not a preference, or its evidence is too long"},
	"proof_invalid":          {422, "a text of the proof is missing, too long or has control characters"},
	"too_many_changes":       {422, "more changes than one request takes; split them"},
	"import_invalid":         {422, "lines are faulty; lines, faulty_lines and faults (line, field, code, message) say which; nothing was imported"},
	"ledger_damaged":         {500, "the consent ledger is not as it was written; detail names the first bad entry"},

	// Replies.
	"message_invalid":   {422, "the body is no raw message: it has no header"},
	"message_too_large": {413, "the message is larger than 64 MiB"},
	"header_too_large":  {413, "the message's header is larger than 256 kB"},
}
