package token

import (
	"strings"

	"mailwake/engine/event"
)

// PreferenceURL returns the address of the recipient's preference page, for a
// link or a List-Unsubscribe header of a mail. Base is the public plane's
// address. Whoever has the address may see and change what may be collected of
// this recipient, and nothing else; it names no email, so it stays good in every
// mail.
func (r *Ring) PreferenceURL(base string, org event.OrgID, recipient event.RecipientID) string {
	return strings.TrimRight(base, "/") + "/p/" + string(r.Seal(nil, KindPreference, Claims{Org: org, Recipient: recipient}))
}
