package ingest

import (
	"context"
	"encoding/hex"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Answers is a preference for each purpose.
type Answers struct {
	Open       string `json:"open" enum:"unknown,allowed,denied"`
	Click      string `json:"click" enum:"unknown,allowed,denied"`
	Attachment string `json:"attachment" enum:"unknown,allowed,denied"`
	Reply      string `json:"reply" enum:"unknown,allowed,denied"`
}

// SubjectRef names whose preference it is: a person by kind and external id, or a
// recipient, which is an address, by its number.
type SubjectRef struct {
	Kind        string `json:"kind" enum:"contact,lead,account,recipient"`
	ExternalID  string `json:"external_id,omitempty"`
	PersonID    int64  `json:"person_id,omitempty"`
	RecipientID int64  `json:"recipient_id,omitempty"`
}

// Preferences is what is recorded for a subject, and what follows from it.
type Preferences struct {
	SubjectRef
	Own       Answers             `json:"own" doc:"As set for the subject itself."`
	Inherited []string            `json:"inherited_denials" doc:"Purposes that a contact's account denies."`
	Addresses []AddressPreference `json:"addresses" doc:"What follows for each of the addresses."`
}

// AddressPreference is what all preferences that reach an address come to.
type AddressPreference struct {
	RecipientID int64    `json:"recipient_id"`
	Address     string   `json:"address"`
	Effective   Answers  `json:"effective" doc:"The strictest of all preferences that reach the address: its own, of everybody who has it, and of their accounts."`
	Collected   []string `json:"collected" doc:"Purposes for which interactions are recorded now."`
	Reasons     []string `json:"reasons" doc:"Why not for the others."`
	Because     []Source `json:"because" doc:"Whose preferences reach the address: those that were given, 20 at most."`
}

// Source is a preference that reaches an address.
type Source struct {
	SubjectRef
	Answers Answers `json:"answers"`
}

type preferencesInput struct {
	OrgPath
	Kind        string `query:"kind" enum:"contact,lead,account,recipient" required:"true"`
	ExternalID  string `query:"external_id" maxLength:"256" doc:"Of a contact, lead or account."`
	RecipientID int64  `query:"recipient_id" minimum:"0" doc:"Of a recipient."`
}

// LookUp asks for the preferences of an address, which has no place in a URL.
type LookUp struct {
	Address string `json:"address" maxLength:"320" example:"jo@customer.example"`
}

type lookUpInput struct {
	OrgPath
	Body LookUp
}

type changeInput struct {
	OrgPath
	Body PreferenceChanges
}

var consentTags = []string{"consent"}

// RegisterConsent adds the operations on preferences and the consent ledger. They
// work in every state of the organisation.
func RegisterConsent(api huma.API, reg *registry.Registry) {
	huma.Register(api, huma.Operation{
		OperationID: "get-preferences", Method: http.MethodGet, Path: "/v1/orgs/{org}/preferences", Tags: consentTags,
		Summary: "Show what is recorded for a person or recipient, and what follows from it",
		Metadata: map[string]any{"roles": seePersons, "problems": append([]string{
			"preference_subject_invalid", "person_not_found", "recipient_not_found"}, changes...)},
	}, func(ctx context.Context, in *preferencesInput) (*body[Preferences], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		of, err := in.subject(ctx, reg, org.ID)
		if err != nil {
			return nil, err
		}
		return showPreferences(ctx, reg, org.ID, of)
	})
	huma.Register(api, huma.Operation{
		OperationID: "look-up-preferences", Method: http.MethodPost, Path: "/v1/orgs/{org}/preferences/lookup", Tags: consentTags,
		Summary: "Show what is recorded for an address, and what follows from it",
		Metadata: map[string]any{"roles": seePersons, "problems": append([]string{
			"address_invalid", "recipient_not_found"}, changes...)},
	}, func(ctx context.Context, in *lookUpInput) (*body[Preferences], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		who, err := reg.RecipientByAddress(ctx, org.ID, in.Body.Address)
		if err != nil {
			return nil, err
		}
		return showPreferences(ctx, reg, org.ID, SubjectRef{Kind: recipientKind, RecipientID: int64(who.ID)})
	})
	huma.Register(api, huma.Operation{
		OperationID: "set-preferences", Method: http.MethodPost, Path: "/v1/orgs/{org}/preferences", Tags: consentTags,
		Summary:     "Record preferences with their proof: all of them or none",
		Description: "Each change becomes an entry of the consent ledger. The next interaction obeys.",
		Metadata: map[string]any{"roles": crm, "problems": append([]string{
			"preference_invalid", "proof_invalid", "preference_subject_invalid", "person_not_found", "recipient_not_found", "address_invalid", "addresses_exhausted"}, changes...)},
	}, func(ctx context.Context, in *changeInput) (*body[LedgerHead], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		all, from, err := in.Body.changes()
		if err != nil {
			return nil, err
		}
		if err := reg.SetPreferences(ctx, org.ID, all, in.Body.Proof.proof(actor(ctx))); err != nil {
			return nil, placed(err, from)
		}
		head, err := reg.LedgerHead(ctx, org.ID)
		return &body[LedgerHead]{headOf(head)}, err
	})
	registerLedger(api, reg)
	registerTransfer(api, reg)
}

// recipientKind is the kind of subject that is an address.
const recipientKind = "recipient"

// subject finds whom the parameters name.
func (in *preferencesInput) subject(ctx context.Context, reg *registry.Registry, org event.OrgID) (SubjectRef, error) {
	if in.Kind == recipientKind {
		if in.RecipientID == 0 || in.ExternalID != "" {
			return SubjectRef{}, problem.New(422, "preference_subject_invalid", "A recipient is named by recipient_id alone.")
		}
		return SubjectRef{Kind: recipientKind, RecipientID: in.RecipientID}, nil
	}
	if in.ExternalID == "" || in.RecipientID != 0 {
		return SubjectRef{}, problem.New(422, "preference_subject_invalid", "A contact, lead or account is named by external_id alone.")
	}
	p, err := reg.PersonByExternalID(ctx, org, registry.PersonKey{Kind: registry.PersonKind(in.Kind), ExternalID: in.ExternalID})
	return SubjectRef{Kind: in.Kind, ExternalID: in.ExternalID, PersonID: int64(p.ID)}, err
}

// showPreferences notes the read and then answers.
func showPreferences(ctx context.Context, reg *registry.Registry, org event.OrgID, of SubjectRef) (*body[Preferences], error) {
	subject := registry.OfPerson(registry.PersonID(of.PersonID))
	if of.Kind == recipientKind {
		subject = registry.OfRecipient(event.RecipientID(of.RecipientID))
	}
	state, err := reg.Preferences(ctx, org, subject)
	if err != nil {
		return nil, err
	}
	out := Preferences{SubjectRef: of, Own: answersOf(state.Own), Inherited: names(state.Inherited), Addresses: []AddressPreference{}}
	for _, a := range state.Addresses {
		shown := AddressPreference{RecipientID: int64(a.Recipient), Address: a.Address, Effective: answersOf(a.Answers)}
		shown.Collected, shown.Reasons = collected(reg, org, a.Recipient)
		if shown.Because, err = sources(ctx, reg, org, a); err != nil {
			return nil, err
		}
		out.Addresses = append(out.Addresses, shown)
	}
	return &body[Preferences]{out}, reg.NoteRead(ctx, registry.Read{
		Org: org, What: "preferences", Person: registry.PersonID(of.PersonID), Recipient: event.RecipientID(of.RecipientID),
	})
}

// collected asks the hot path's own question for each purpose.
func collected(reg *registry.Registry, org event.OrgID, who event.RecipientID) (purposes, reasons []string) {
	purposes = []string{}
	var against registry.Reasons
	for _, kind := range []event.Kind{event.Open, event.Click, event.AttachmentView, event.Reply} {
		verdict := reg.Decide(org, who, kind)
		if verdict.Allow {
			purposes = append(purposes, registry.PurposeOf(kind).String())
		}
		against |= verdict.Reasons
	}
	return purposes, append([]string{}, against.Names()...)
}

// maxSources bounds what is told about one address: a shared mailbox may be that
// of a whole company.
const maxSources = 20

// sources lists whose given preferences reach an address.
func sources(ctx context.Context, reg *registry.Registry, org event.OrgID, a registry.AddressAnswers) ([]Source, error) {
	own, err := reg.Preferences(ctx, org, registry.OfRecipient(a.Recipient))
	if err != nil {
		return nil, err
	}
	out := []Source{}
	add := func(ref SubjectRef, answers registry.Answers) {
		if answers != (registry.Answers{}) && len(out) < maxSources {
			out = append(out, Source{ref, answersOf(answers)})
		}
	}
	add(SubjectRef{Kind: recipientKind, RecipientID: int64(a.Recipient)}, own.Own)
	if a.Address == "" { // erased: nobody has it any more
		return out, nil
	}
	people, err := reg.PeopleByAddress(ctx, org, a.Address)
	if err != nil {
		return nil, err
	}
	for _, p := range people[:min(len(people), maxSources)] {
		state, err := reg.Preferences(ctx, org, registry.OfPerson(p.ID))
		if err != nil {
			return nil, err
		}
		add(SubjectRef{Kind: string(p.Kind), ExternalID: p.ExternalID, PersonID: int64(p.ID)}, state.Own)
		if state.Inherited != 0 {
			account, err := reg.Person(ctx, org, p.Account)
			if err != nil {
				return nil, err
			}
			add(SubjectRef{Kind: string(account.Kind), ExternalID: account.ExternalID, PersonID: int64(account.ID)}, registry.Answers{Denied: state.Inherited})
		}
	}
	return out, nil
}

func answersOf(a registry.Answers) Answers {
	return Answers{
		Open: a.For(registry.PurposeOpen).String(), Click: a.For(registry.PurposeClick).String(),
		Attachment: a.For(registry.PurposeAttachment).String(), Reply: a.For(registry.PurposeReply).String(),
	}
}

func names(p registry.Purposes) []string { return append([]string{}, p.Names()...) }

// LedgerHead is where a consent ledger ends. Kept elsewhere, it shows later
// whether the ledger was rewritten as a whole.
type LedgerHead struct {
	Entries int64  `json:"entries"`
	Hash    string `json:"hash" doc:"SHA-256 of the last entry, hexadecimal."`
}

func headOf(h registry.LedgerHead) LedgerHead {
	return LedgerHead{Entries: h.Entries, Hash: hex.EncodeToString(h.Hash[:])}
}
