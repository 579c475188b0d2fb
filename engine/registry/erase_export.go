package registry

import (
	"context"
	"fmt"
	"time"

	"mailwake/engine/event"
)

// Held is everything the registry holds of one person, for their request for access.
type Held struct {
	Person      *HeldPerson   `json:"person,omitempty" doc:"The record of the person; absent for an address without one."`
	Addresses   []HeldAddress `json:"addresses" doc:"The email addresses, each with what may be collected of it."`
	Consent     []HeldConsent `json:"consent" doc:"Every answer about being followed, oldest first, with what was shown; kept as proof."`
	Emails      []HeldEmail   `json:"emails" doc:"The emails sent to these addresses."`
	Links       []HeldLink    `json:"links" doc:"The links in these emails; component in interactions is their ordinal."`
	Attachments []HeldFile    `json:"attachments" doc:"The files that went with these emails."`
	Reads       []HeldRead    `json:"reads" doc:"When somebody looked at data about this person, and with which key."`
}

// HeldPerson is the record of a person.
type HeldPerson struct {
	ID         PersonID   `bun:"id" json:"person_id"`
	Kind       PersonKind `bun:"kind" json:"kind"`
	ExternalID string     `bun:"external_id" json:"external_id"`
	Name       string     `bun:"name" json:"name"`
	Account    string     `bun:"account" json:"account,omitempty"`
	CreatedAt  time.Time  `bun:"-" json:"created_at"`
	Allowed    []string   `bun:"-" json:"allowed"`
	Denied     []string   `bun:"-" json:"denied"`
}

// HeldAddress is an address as a recipient of mail.
type HeldAddress struct {
	Recipient event.RecipientID `json:"recipient_id"`
	Address   string            `json:"address"`
	Name      string            `json:"name"`
	Person    string            `json:"person,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	Allowed   []string          `json:"allowed"` // with what people's records say
	Denied    []string          `json:"denied"`
}

// HeldConsent is one entry of the ledger.
type HeldConsent struct {
	At          time.Time `json:"at"`
	Subject     string    `json:"subject"`
	Purposes    []string  `json:"purposes"`
	State       string    `json:"state"`
	Source      string    `json:"source"`
	FormVersion string    `json:"form_version,omitempty"`
	Text        string    `json:"text,omitempty"`
	Locale      string    `json:"locale,omitempty"`
	Evidence    string    `json:"evidence,omitempty"`
}

// HeldEmail is one email to the person.
type HeldEmail struct {
	Email     event.EmailID     `bun:"email_id" json:"email_id"`
	Recipient event.RecipientID `bun:"recipient_id" json:"recipient_id"`
	From      string            `bun:"sender" json:"from"`
	Subject   string            `bun:"subject" json:"subject"`
	Template  string            `bun:"template" json:"template,omitempty"`
	Follow    FollowState       `bun:"follow_state" json:"follow_state"`
	Collected []string          `bun:"-" json:"collected"`
	SentAt    *time.Time        `bun:"-" json:"sent_at,omitempty"`
}

// HeldLink is one link of one of the emails.
type HeldLink struct {
	Email   event.EmailID `bun:"email_id" json:"email_id"`
	Ordinal int32         `bun:"ordinal" json:"ordinal"`
	URL     string        `bun:"url" json:"url"`
}

// HeldFile is one attachment of one of the emails.
type HeldFile struct {
	Email       event.EmailID `bun:"email_id" json:"email_id"`
	Ordinal     int32         `bun:"ordinal" json:"ordinal"`
	Name        string        `bun:"name" json:"name"`
	ContentType string        `bun:"content_type" json:"content_type"`
	Bytes       int64         `bun:"size" json:"bytes"`
}

// HeldRead is one entry of the access log.
type HeldRead struct {
	At    time.Time `json:"at"`
	KeyID int64     `json:"key_id"`
	What  string    `json:"what"`
}

// Held returns everything that the registry holds of a person, and whose rows in
// the table are theirs. Problems: those of BeginErasure.
func (r *Registry) Held(ctx context.Context, org event.OrgID, who Whose) (*Held, PersonID, []event.RecipientID, error) {
	if _, ok := r.Snapshot().Org(org); !ok {
		return nil, 0, nil, orgNotFound()
	}
	person, recipients, err := who.find(ctx, r.reader, org)
	if err != nil {
		return nil, 0, nil, storeError("find person", err)
	}
	h := &holder{r: r, org: org, person: person, list: jsonList(recipients), recipients: recipients,
		out: &Held{Addresses: []HeldAddress{}, Consent: []HeldConsent{}, Emails: []HeldEmail{}, Links: []HeldLink{}, Attachments: []HeldFile{}, Reads: []HeldRead{}}}
	for _, read := range []func(context.Context) error{h.record, h.addresses, h.consent, h.emails, h.parts, h.reads} {
		if err := read(ctx); err != nil {
			return nil, 0, nil, storeError("export person", err)
		}
	}
	return h.out, person, recipients, nil
}

type holder struct {
	r          *Registry
	org        event.OrgID
	person     PersonID
	recipients []event.RecipientID
	list       string
	out        *Held
}

func (h *holder) record(ctx context.Context) error {
	if h.person == 0 {
		return nil
	}
	var row struct {
		HeldPerson
		At      event.Micros `bun:"created_at"`
		Allowed Purposes     `bun:"allowed"`
		Denied  Purposes     `bun:"denied"`
	}
	err := h.r.reader.NewRaw(`SELECT p.id, p.kind, p.external_id, p.name, coalesce(a.external_id, '') AS account, p.created_at, p.allowed, p.denied
		FROM people AS p LEFT JOIN people AS a ON a.org_id = p.org_id AND a.id = p.account_id
		WHERE p.org_id = ? AND p.id = ?`, h.org, h.person).Scan(ctx, &row)
	p := row.HeldPerson
	p.CreatedAt, p.Allowed, p.Denied = row.At.Time(), named(row.Allowed), named(row.Denied)
	h.out.Person = &p
	return err
}

func (h *holder) addresses(ctx context.Context) error {
	var rows []recipientRow
	err := h.r.reader.NewSelect().Model(&rows).Where("org_id = ? AND id IN (SELECT value FROM json_each(?))", h.org, h.list).Order("id").Scan(ctx)
	if err != nil {
		return err
	}
	sets := h.r.Snapshot().consent[h.org-1]
	for _, row := range rows {
		a := sets.answers(row.ID)
		h.out.Addresses = append(h.out.Addresses, HeldAddress{
			Recipient: row.ID, Address: row.Address, Name: row.Name, Person: row.Person, CreatedAt: row.CreatedAt.Time(),
			Allowed: named(a.Allowed), Denied: named(a.Denied),
		})
	}
	return nil
}

func (h *holder) consent(ctx context.Context) error {
	var rows []struct {
		ledgerRow
		Source      string `bun:"source"`
		FormVersion string `bun:"form_version"`
		Shown       string `bun:"shown"`
		Locale      string `bun:"locale"`
	}
	err := h.r.reader.NewRaw(`SELECT cl.at, cl.subject_kind, cl.subject_id, cl.purposes, cl.state, cl.evidence, cp.source, cp.form_version, cp.shown, cp.locale
		FROM consent_ledger AS cl JOIN consent_proofs AS cp ON cp.org_id = cl.org_id AND cp.id = cl.proof_id
		WHERE cl.org_id = ? AND (cl.subject_kind = 'recipient' AND cl.subject_id IN (SELECT value FROM json_each(?))
			OR cl.subject_kind = 'person' AND cl.subject_id = ?) ORDER BY cl.seq`, h.org, h.list, h.person).Scan(ctx, &rows)
	for _, row := range rows {
		h.out.Consent = append(h.out.Consent, HeldConsent{
			At: event.Micros(row.At).Time(), Subject: fmt.Sprintf("%s %d", row.SubjectKind, row.SubjectID), Purposes: named(Purposes(row.Purposes)), //nolint:gosec // checked by the table
			State: row.State, Source: row.Source, FormVersion: row.FormVersion, Text: row.Shown, Locale: row.Locale, Evidence: row.Evidence,
		})
	}
	return err
}

func (h *holder) emails(ctx context.Context) error {
	var rows []struct {
		HeldEmail
		Purposes Purposes     `bun:"purposes"`
		At       event.Micros `bun:"sent_at"`
	}
	err := h.r.reader.NewRaw(`SELECT er.email_id, er.recipient_id, e.sender, e.subject, e.template, e.follow_state, er.purposes, e.sent_at
		FROM json_each(?) AS wanted CROSS JOIN email_recipients AS er ON er.org_id = ? AND er.recipient_id = wanted.value
		JOIN emails AS e ON e.org_id = er.org_id AND e.id = er.email_id ORDER BY er.email_id, er.recipient_id`, h.list, h.org).Scan(ctx, &rows)
	for _, row := range rows {
		e := row.HeldEmail
		e.Collected = named(row.Purposes)
		if row.At != 0 {
			at := row.At.Time()
			e.SentAt = &at
		}
		h.out.Emails = append(h.out.Emails, e)
	}
	return err
}

// parts reads links and attachments of the emails.
func (h *holder) parts(ctx context.Context) error {
	const theirs = `SELECT email_id FROM email_recipients WHERE org_id = ? AND recipient_id IN (SELECT value FROM json_each(?))`
	err := h.r.reader.NewRaw("SELECT email_id, ordinal, url FROM links WHERE org_id = ? AND email_id IN ("+theirs+") ORDER BY email_id, ordinal",
		h.org, h.org, h.list).Scan(ctx, &h.out.Links)
	if err != nil {
		return err
	}
	return h.r.reader.NewRaw(`SELECT ea.email_id, ea.ordinal, a.name, a.content_type, a.size FROM email_attachments AS ea
		JOIN attachments AS a ON a.org_id = ea.org_id AND a.id = ea.attachment_id
		WHERE ea.org_id = ? AND ea.email_id IN (`+theirs+") ORDER BY ea.email_id, ea.ordinal", h.org, h.org, h.list).Scan(ctx, &h.out.Attachments)
}

func (h *holder) reads(ctx context.Context) error {
	var rows []readRow
	err := h.r.reader.NewSelect().Model(&rows).Where("org_id = ?", h.org).
		Where("(person_id <> 0 AND person_id = ? OR recipient_id <> 0 AND recipient_id IN (SELECT value FROM json_each(?)))", h.person, h.list).Order("id").Scan(ctx)
	for _, row := range rows {
		h.out.Reads = append(h.out.Reads, HeldRead{row.At.Time(), row.KeyID, row.What})
	}
	return err
}

// named is never nil: lists in an export are there, if empty.
func named(p Purposes) []string { return append([]string{}, p.Names()...) }
