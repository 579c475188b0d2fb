package ingest

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

type exportInput struct {
	OrgPath
	Format string `query:"format" enum:"csv,ndjson" default:"csv"`
}

type ledgerInput struct {
	OrgPath
	After int64 `query:"after" minimum:"0" doc:"Only entries with a higher number."`
}

// LedgerEntry is one preference as it was given. It holds no address and no name.
type LedgerEntry struct {
	Seq             int64     `json:"seq" doc:"From 1, without gaps."`
	At              time.Time `json:"at"`
	SubjectKind     string    `json:"subject_kind" enum:"person,recipient"`
	SubjectID       int64     `json:"subject_id"`
	Purposes        []string  `json:"purposes"`
	State           string    `json:"state" enum:"unknown,allowed,denied"`
	PreviousAllowed []string  `json:"previous_allowed"`
	PreviousDenied  []string  `json:"previous_denied"`
	Source          string    `json:"source"`
	FormVersion     string    `json:"form_version,omitempty"`
	Text            string    `json:"text,omitempty"`
	Locale          string    `json:"locale,omitempty"`
	By              string    `json:"by" enum:"key,recipient,import,system"`
	KeyID           int64     `json:"key_id,omitempty"`
	Evidence        string    `json:"evidence,omitempty"`
	Hash            string    `json:"hash" doc:"SHA-256 over the previous entry's hash and every field, hexadecimal."`
}

// Verified is the answer to the verification of a ledger that is intact.
type Verified struct {
	LedgerHead
	Intact bool `json:"intact"`
}

// linesOf describes a streamed answer.
func linesOf(types ...string) map[string]*huma.Response {
	content := map[string]*huma.MediaType{}
	for _, t := range types {
		content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return map[string]*huma.Response{"200": {Description: "Lines, as they are read.", Content: content}}
}

func registerExport(api huma.API, reg *registry.Registry) {
	huma.Register(api, huma.Operation{
		OperationID: "export-consent", Method: http.MethodGet, Path: "/v1/orgs/{org}/consent/export", Tags: consentTags,
		Summary:   "Export the preferences that were given, in the columns of an import",
		Responses: linesOf("text/csv", "application/x-ndjson"), Metadata: map[string]any{"problems": changes},
	}, func(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		own, err := ownAnswers(ctx, reg, org.ID)
		if err != nil {
			return nil, err
		}
		if err := reg.NoteRead(ctx, registry.Read{Org: org.ID, What: "consent export"}); err != nil {
			return nil, err
		}
		if in.Format == "ndjson" {
			return streamed("application/x-ndjson", func(w io.Writer) error {
				enc := json.NewEncoder(w)
				return exportOwn(ctx, reg, org.ID, own, func(p *NewPreference) error { return enc.Encode(p) })
			}), nil
		}
		return streamed("text/csv; charset=utf-8", func(w io.Writer) error {
			out := csv.NewWriter(w)
			err := out.Write([]string{"kind", "external_id", "address", "open", "click", "attachment", "reply"})
			return errors.Join(err, exportOwn(ctx, reg, org.ID, own, func(p *NewPreference) error {
				return out.Write([]string{p.Kind, p.ExternalID, p.Address, p.Open, p.Click, p.Attachment, p.Reply})
			}), flushed(out))
		}), nil
	})
}

func flushed(w *csv.Writer) error {
	w.Flush()
	return w.Error()
}

// streamed answers what write writes. An error after the status is out can only be
// told by a broken connection.
func streamed(contentType string, write func(io.Writer) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", contentType)
		ctx.SetStatus(http.StatusOK)
		w := bufio.NewWriter(ctx.BodyWriter())
		if err := write(w); err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = w.Flush() // an error is the caller's connection
	}}
}

// ownAnswers folds the ledger, through which every preference goes, into what each
// subject's own preference is now.
func ownAnswers(ctx context.Context, reg *registry.Registry, org event.OrgID) (map[registry.Subject]registry.Answers, error) {
	own := map[registry.Subject]registry.Answers{}
	for e, err := range reg.Ledger(ctx, org, 0) {
		if err != nil {
			return nil, err
		}
		own[e.Subject] = e.After()
	}
	return own, nil
}

// exportOwn yields the subjects that have answered: people, then recipients.
func exportOwn(ctx context.Context, reg *registry.Registry, org event.OrgID, own map[registry.Subject]registry.Answers, yield func(*NewPreference) error) error {
	line := func(of registry.Subject, p NewPreference) error {
		answers := own[of]
		if answers == (registry.Answers{}) {
			return nil
		}
		a := answersOf(answers)
		p.Open, p.Click, p.Attachment, p.Reply = a.Open, a.Click, a.Attachment, a.Reply
		return yield(&p)
	}
	const page = 1_000
	for after := registry.PersonID(0); ; {
		people, err := reg.People(ctx, org, registry.PeoplePage{After: after, Limit: page})
		if err != nil {
			return err
		}
		for _, p := range people {
			after = p.ID
			if err := line(registry.OfPerson(p.ID), NewPreference{Kind: string(p.Kind), ExternalID: p.ExternalID}); err != nil {
				return err
			}
		}
		if len(people) < page {
			break
		}
	}
	for who, err := range reg.RecipientsSince(ctx, org, 0) {
		if err != nil {
			return err
		}
		if err := line(registry.OfRecipient(who.ID), NewPreference{Kind: recipientKind, Address: who.Address}); err != nil {
			return err
		}
	}
	return nil
}

// registerLedger adds the operations on the consent ledger.
func registerLedger(api huma.API, reg *registry.Registry) {
	huma.Register(api, huma.Operation{
		OperationID: "get-ledger", Method: http.MethodGet, Path: "/v1/orgs/{org}/consent/ledger", Tags: consentTags,
		Summary:     "Export the consent ledger, one JSON object a line, oldest first",
		Description: "Each line is a ledger entry.",
		Responses:   linesOf("application/x-ndjson"), Metadata: map[string]any{"problems": changes},
	}, func(ctx context.Context, in *ledgerInput) (*huma.StreamResponse, error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		if err := reg.NoteRead(ctx, registry.Read{Org: org.ID, What: "ledger"}); err != nil {
			return nil, err
		}
		return streamed("application/x-ndjson", func(w io.Writer) error {
			enc := json.NewEncoder(w)
			for e, err := range reg.Ledger(ctx, org.ID, in.After) {
				if err != nil {
					return err
				}
				if err := enc.Encode(entryOf(e)); err != nil {
					return err
				}
			}
			return nil
		}), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "verify-ledger", Method: http.MethodGet, Path: "/v1/orgs/{org}/consent/verify", Tags: consentTags,
		Summary:  "Verify the consent ledger from its first entry to its last",
		Metadata: map[string]any{"problems": []string{"ledger_damaged"}},
	}, func(ctx context.Context, in *OrgPath) (*body[Verified], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		head, err := reg.LedgerHead(ctx, org.ID)
		if err != nil {
			return nil, err
		}
		if _, err := reg.VerifyLedger(ctx, org.ID); err != nil {
			return nil, err
		}
		return &body[Verified]{Verified{headOf(head), true}}, nil
	})
}

func entryOf(e registry.LedgerEntry) LedgerEntry {
	return LedgerEntry{
		Seq: e.Seq, At: e.At.Time(), SubjectKind: string(e.Subject.Kind), SubjectID: e.Subject.ID,
		Purposes: names(e.Purposes), State: e.State.String(), PreviousAllowed: names(e.Previous.Allowed), PreviousDenied: names(e.Previous.Denied),
		Source: e.Source, FormVersion: e.FormVersion, Text: e.Text, Locale: e.Locale,
		By: string(e.Actor.Kind), KeyID: e.Actor.KeyID, Evidence: e.Evidence, Hash: hex.EncodeToString(e.Hash[:]),
	}
}
