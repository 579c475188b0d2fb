package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// personColumns names every column that points to a recipient or a person, and what
// an erasure does with it. A test holds it against the schema.
var personColumns = map[string]string{
	"recipients.id":                   "stays, without address, name and person",
	"email_recipients.recipient_id":   "stays: that somebody got the email, not who",
	"erasure_recipients.recipient_id": "stays: whose rows must not come back",
	"person_addresses.recipient_id":   "row goes",
	"person_addresses.person_id":      "row goes",
	"people.id":                       "row goes",
	"people.account_id":               "of an account's contacts: emptied; they keep its refusals as their own",
	"reads.person_id":                 "emptied: that somebody looked stays",
	"reads.recipient_id":              "emptied",
	"erasures.person_id":              "stays",
	"consent_ledger.subject_id":       "stays as pseudonymous proof",
}

// countEmptied counts, of erased recipients, those whose records were removed.
const countEmptied = "count(CASE WHEN address = '' THEN 1 END)"

// Erased counts what EraseRecords removed.
type Erased struct {
	People      int64 `json:"people"`      // records of people
	Addresses   int64 `json:"addresses"`   // of recipients, with their names
	Emails      int64 `json:"emails"`      // that went to nobody else: their subjects and links
	Links       int64 `json:"links"`       // of these, and those with the address in them
	Attachments int64 `json:"attachments"` // sent to nobody else
	Mentions    int64 `json:"mentions"`    // senders, subjects and names of files that held the address
	Reads       int64 `json:"reads"`       // entries of the access log that no longer say whom
	Ledger      int64 `json:"ledger_kept"` // entries of the ledger about them: kept, without address or name
	Shared      int64 `json:"shared"`      // addresses that other people's records had too
}

// soleEmails are the emails that went to erased recipients only, one of them being
// of this erasure.
const soleEmails = `SELECT DISTINCT mine.email_id FROM erasure_recipients AS x
	CROSS JOIN email_recipients AS mine ON mine.org_id = x.org_id AND mine.recipient_id = x.recipient_id
	WHERE x.org_id = ? AND x.erasure_id = ? AND NOT EXISTS (
		SELECT 1 FROM email_recipients AS o JOIN recipients AS r ON r.org_id = o.org_id AND r.id = o.recipient_id
		WHERE o.org_id = mine.org_id AND o.email_id = mine.email_id AND r.erased_at = 0)`

// ErasedAttachments lists the attachments that were sent to erased recipients only,
// one of them being of this erasure: their blobs are to be deleted.
func (r *Registry) ErasedAttachments(ctx context.Context, org event.OrgID, id ErasureID) ([]Attachment, error) {
	return scanAttachments(ctx, r.reader.NewSelect().Model((*attachmentRow)(nil)).Where("org_id = ?", org).
		Where(`id IN (SELECT attachment_id FROM email_attachments WHERE org_id = ? AND email_id IN (`+soleEmails+`))`, org, org, id).
		Where(`id NOT IN (SELECT attachment_id FROM email_attachments WHERE org_id = ? AND email_id NOT IN (`+soleEmails+`))`, org, org, id).Order("id"))
}

// EraseRecords removes what the registry holds of the erased: addresses, names,
// external ids, the emails that went to nobody else (but their ids), and every
// mention of the addresses. The consent ledger stays. Doing it again is harmless.
// Problems: org_not_found, erasure_not_found.
func (r *Registry) EraseRecords(ctx context.Context, org event.OrgID, id ErasureID) (Erased, error) {
	e, err := r.Erasure(ctx, org, id)
	if err != nil {
		return Erased{}, err
	}
	gone, err := r.ErasedAttachments(ctx, org, id)
	if err != nil {
		return Erased{}, err
	}
	if err := r.takeGiving(ctx); err != nil {
		return Erased{}, err
	}
	defer r.endGiving()
	var out Erased
	var needles []string
	err = r.change(ctx, "erase records", func(tx bun.Tx, next *draft) error {
		if _, ok := next.Org(org); !ok {
			return orgNotFound()
		}
		x := &eraser{ctx: ctx, tx: tx, org: org, erasure: e}
		if err := x.run(gone); err != nil {
			return err
		}
		out, needles = x.out, x.needles
		sets := next.consentOf(org)
		if err := tx.NewRaw("SELECT "+countEmptied+" FROM recipients WHERE org_id = ? AND erased_at <> 0", org).Scan(ctx, &sets.emptied); err != nil {
			return fmt.Errorf("count erased recipients: %w", err)
		}
		return reanswer(ctx, tx, next, org, x.touched, r.now())
	})
	if err != nil {
		return Erased{}, err
	}
	return out, r.scrub(ctx, needles)
}

// eraser does the work of one EraseRecords within its transaction.
type eraser struct {
	ctx     context.Context //nolint:containedctx // lives for one transaction
	tx      bun.Tx
	org     event.OrgID
	erasure Erasure
	needles []string
	touched []event.RecipientID
	out     Erased
}

func (x *eraser) exec(count *int64, query string, args ...any) error {
	res, err := x.tx.NewRaw(query, args...).Exec(x.ctx)
	if err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	n, err := res.RowsAffected()
	if count != nil {
		*count += n
	}
	return err
}

func (x *eraser) run(gone []Attachment) error {
	list := jsonList(x.erasure.Recipients)
	x.touched = slices.Clone(x.erasure.Recipients)
	var rows []recipientRow
	err := x.tx.NewSelect().Model(&rows).Where("org_id = ? AND address <> '' AND id IN (SELECT value FROM json_each(?))", x.org, list).Scan(x.ctx)
	if err != nil {
		return fmt.Errorf("read addresses: %w", err)
	}
	for _, row := range rows {
		for _, text := range []string{row.Address, row.AddressKey} {
			if text = strings.ToLower(text); !slices.Contains(x.needles, text) {
				x.needles = append(x.needles, text)
			}
		}
	}
	err = x.tx.NewRaw("SELECT count(DISTINCT recipient_id) FROM person_addresses WHERE org_id = ? AND person_id <> ? AND recipient_id IN (SELECT value FROM json_each(?))",
		x.org, x.erasure.Person, list).Scan(x.ctx, &x.out.Shared)
	if err != nil {
		return fmt.Errorf("count shared addresses: %w", err)
	}
	for _, do := range []func() error{x.emails, func() error { return x.attachments(gone) }, x.mentions, x.person, func() error { return x.recipients(list) }} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// emails empties those that nobody else got.
func (x *eraser) emails() error {
	org, id := x.org, x.erasure.ID
	if err := x.exec(&x.out.Links, "DELETE FROM links WHERE org_id = ? AND email_id IN ("+soleEmails+")", org, org, id); err != nil {
		return err
	}
	return x.exec(&x.out.Emails, "UPDATE emails SET subject = '' WHERE org_id = ? AND subject <> '' AND id IN ("+soleEmails+")", org, org, id)
}

func (x *eraser) attachments(gone []Attachment) error {
	for _, a := range gone {
		if err := x.exec(nil, "DELETE FROM email_attachments WHERE org_id = ? AND attachment_id = ?", x.org, a.ID); err != nil {
			return err
		}
		if err := x.exec(&x.out.Attachments, "DELETE FROM attachments WHERE org_id = ? AND id = ?", x.org, a.ID); err != nil {
			return err
		}
	}
	return nil
}

// mentions empties texts of other emails that hold an address, as a link to
// unsubscribe may.
func (x *eraser) mentions() error {
	for _, needle := range x.needles {
		escaped := strings.ReplaceAll(needle, "@", "%40")
		if err := x.exec(&x.out.Links, "UPDATE links SET url = '' WHERE org_id = ? AND (instr(lower(url), ?) OR instr(lower(url), ?))", x.org, needle, escaped); err != nil {
			return err
		}
		for _, column := range []struct{ table, column, empty string }{
			{"emails", "sender", "erased"}, {"emails", "subject", ""}, {"attachments", "name", "erased"},
		} {
			err := x.exec(&x.out.Mentions, "UPDATE ? SET ? = ? WHERE org_id = ? AND instr(lower(?), ?)",
				bun.Ident(column.table), bun.Ident(column.column), column.empty, x.org, bun.Ident(column.column), needle)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// person removes the record. Contacts of an account take its refusals over.
func (x *eraser) person() error {
	id := x.erasure.Person
	if id == 0 {
		return nil
	}
	var account personRow
	err := x.tx.NewSelect().Model(&account).Where("org_id = ? AND id = ?", x.org, id).Scan(x.ctx)
	if err != nil && !isNoRows(err) {
		return fmt.Errorf("read person: %w", err)
	}
	if err == nil && account.Kind == Account {
		if err := x.contacts(&account); err != nil {
			return err
		}
	}
	if err := x.exec(nil, "DELETE FROM person_addresses WHERE org_id = ? AND person_id = ?", x.org, id); err != nil {
		return err
	}
	if err := x.exec(&x.out.People, "DELETE FROM people WHERE org_id = ? AND id = ?", x.org, id); err != nil {
		return err
	}
	if err := x.exec(&x.out.Reads, "UPDATE reads SET person_id = 0 WHERE org_id = ? AND person_id = ?", x.org, id); err != nil {
		return err
	}
	return x.tx.NewRaw("SELECT count(*) FROM consent_ledger WHERE org_id = ? AND subject_kind = 'person' AND subject_id = ?", x.org, id).Scan(x.ctx, &x.out.Ledger)
}

// contacts gives an account's contacts its refusals as their own, and frees them.
func (x *eraser) contacts(account *personRow) error {
	var contacts []personRow
	if err := x.tx.NewSelect().Model(&contacts).Where("org_id = ? AND account_id = ?", x.org, account.ID).Scan(x.ctx); err != nil {
		return fmt.Errorf("read contacts: %w", err)
	}
	var changes []newPreference
	var ids []PersonID
	evidence := fmt.Sprintf("erasure %d of the account", x.erasure.ID)
	for _, c := range contacts {
		ids = append(ids, c.ID)
		if fresh := account.Denied &^ c.Denied; fresh != 0 {
			changes = append(changes, newPreference{
				PreferenceChange: PreferenceChange{Subject: OfPerson(c.ID), Purposes: fresh, State: Denied, Evidence: evidence}, was: Answers{c.Allowed, c.Denied},
			})
		}
	}
	if len(changes) > 0 {
		number, err := nextProof(x.ctx, x.tx, x.org)
		if err != nil {
			return err
		}
		shown, err := newProof(x.ctx, x.tx, x.org, number, Proof{Source: "erasure", Actor: BySystem()})
		if err != nil {
			return err
		}
		if err := appendLedger(x.ctx, x.tx, x.org, changes, given{&shown, x.erasure.StartedAt}); err != nil {
			return err
		}
		states := map[Subject]Answers{}
		for _, c := range changes {
			states[c.Subject] = c.was.with(c.Purposes, c.State)
		}
		if _, _, err := storeAnswers(x.ctx, x.tx, x.org, states); err != nil {
			return err
		}
	}
	reached, err := addressesOf(x.ctx, x.tx, x.org, ids)
	x.touched = append(x.touched, reached...)
	if err != nil {
		return err
	}
	return x.exec(nil, "UPDATE people SET account_id = NULL WHERE org_id = ? AND account_id = ?", x.org, account.ID)
}

func (x *eraser) recipients(list string) error {
	if err := x.exec(nil, "DELETE FROM person_addresses WHERE org_id = ? AND recipient_id IN (SELECT value FROM json_each(?))", x.org, list); err != nil {
		return err
	}
	err := x.exec(&x.out.Addresses, `UPDATE recipients SET address = '', address_key = 'erased:' || id, name = '', person = ''
		WHERE org_id = ? AND address <> '' AND id IN (SELECT value FROM json_each(?))`, x.org, list)
	if err != nil {
		return err
	}
	if err := x.exec(&x.out.Reads, "UPDATE reads SET recipient_id = 0 WHERE org_id = ? AND recipient_id <> 0 AND recipient_id IN (SELECT value FROM json_each(?))", x.org, list); err != nil {
		return err
	}
	var n int64
	err = x.tx.NewRaw("SELECT count(*) FROM consent_ledger WHERE org_id = ? AND subject_kind = 'recipient' AND subject_id IN (SELECT value FROM json_each(?))", x.org, list).Scan(x.ctx, &n)
	x.out.Ledger += n
	return err
}
