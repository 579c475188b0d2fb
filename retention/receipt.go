package retention

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Receipt says what a removal searched, rewrote and deleted. It holds no personal
// data: people are numbers that mean nothing any more.
type Receipt struct {
	Kind       string              `json:"kind"` // erasure or purge
	Org        event.OrgID         `json:"org_id"`
	OrgName    string              `json:"org"`
	Erasure    registry.ErasureID  `json:"erasure_id,omitempty"`
	Person     registry.PersonID   `json:"person_id,omitempty"`
	Recipients []event.RecipientID `json:"recipient_ids,omitempty"`
	By         *registry.Actor     `json:"asked_by,omitempty"`
	Due        *time.Time          `json:"due_at,omitempty"` // of a purge
	StartedAt  time.Time           `json:"started_at"`       // since then nothing is collected
	FinishedAt time.Time           `json:"finished_at"`
	Steps      []ReceiptStep       `json:"steps"`
	Remaining  CopiesFound         `json:"remaining"` // at the storage account
}

// ReceiptStep is one step as it was done.
type ReceiptStep struct {
	Step  string          `json:"step"`
	Does  string          `json:"does"`
	At    time.Time       `json:"at"`
	Found json.RawMessage `json:"found"`
}

// Signed is a Receipt with its signature: Ed25519 over the receipt's JSON text
// without white space between its parts.
type Signed struct {
	Receipt   json.RawMessage `json:"receipt"`
	KeyID     string          `json:"key_id"` // first 16 hex digits of the SHA-256 of the public key
	PublicKey []byte          `json:"public_key"`
	Signature []byte          `json:"signature"`
}

func erasureReceipt(o registry.Org, e registry.Erasure, now time.Time) *Receipt {
	r := &Receipt{
		Kind: "erasure", Org: o.ID, OrgName: o.Name, Erasure: e.ID, Person: e.Person, Recipients: e.Recipients, By: &e.By,
		StartedAt: e.StartedAt.Time(), FinishedAt: now.UTC(),
	}
	does := map[string]string{}
	for _, s := range eraseSteps {
		does[s.name] = s.does
	}
	r.steps(e.Steps, does)
	return r
}

func purgeReceipt(p registry.Purge, now time.Time) *Receipt {
	due := p.PurgeAt.Time()
	r := &Receipt{Kind: "purge", Org: p.Org, OrgName: p.Name, Due: &due, StartedAt: p.StartedAt.Time(), FinishedAt: now.UTC()}
	does := map[string]string{}
	for _, s := range purgeSteps {
		does[s.name] = s.does
	}
	r.steps(p.Steps, does)
	return r
}

func (r *Receipt) steps(done []registry.RemovalStep, does map[string]string) {
	for _, s := range done {
		r.Steps = append(r.Steps, ReceiptStep{s.Step, does[s.Step], s.At.Time(), s.Found})
		if s.Step == "copies" {
			_ = json.Unmarshal(s.Found, &r.Remaining) // our own text
		}
	}
}

// Page is the receipt as people read it, in Markdown.
func (r *Receipt) Page() string {
	var b bytes.Buffer
	if r.Kind == "purge" {
		fmt.Fprintf(&b, "# Certificate of deletion\n\nEverything of the organisation `%s` (number %d) was deleted, as due on %s.\n", r.OrgName, r.Org, r.Due.Format(time.RFC3339))
	} else {
		fmt.Fprintf(&b, "# Receipt of erasure %d\n\nOrganisation `%s`. Person record: %d (0: none). Recipients: %d. These numbers lead to nobody any more.\n",
			r.Erasure, r.OrgName, r.Person, r.Recipients)
	}
	fmt.Fprintf(&b, "\n- Begun: %s; nothing was collected since.\n- Done: %s\n\n| Step | What it does | Done at | Found |\n|---|---|---|---|\n",
		r.StartedAt.Format(time.RFC3339), r.FinishedAt.Format(time.RFC3339))
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", s.Step, s.Does, s.At.Format(time.RFC3339), s.Found)
	}
	switch left := r.Remaining; {
	case left.Left == 0:
		b.WriteString("\nThe storage keeps no copy of what was deleted.\n")
	case left.Never > 0:
		fmt.Fprintf(&b, "\nThe storage account still keeps %d copies (%d bytes), %d of them until somebody with the right to deletes them.\n", left.Left, left.Bytes, left.Never)
	default:
		fmt.Fprintf(&b, "\nThe storage account still keeps %d copies (%d bytes), the last of them until %s.\n", left.Left, left.Bytes, left.Until.Format(time.RFC3339))
	}
	if r.Kind == "erasure" {
		b.WriteString("\nWhat stays: entries of the consent ledger, which hold numbers only, as proof that consent was asked for and heeded; that a mail was sent to a number; this receipt.\n")
	}
	return b.String()
}

// Signer signs receipts with a key of its own.
type Signer struct{ key ed25519.PrivateKey }

const receiptKeyType = "MAILWAKE RECEIPT KEY"

// OpenSigner reads the key from the file at path, which only its owner may read,
// and makes it when the file is missing.
func OpenSigner(path string) (*Signer, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the caller's file
	if errors.Is(err, fs.ErrNotExist) {
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed) // never fails: the runtime aborts the process instead
		text = pem.EncodeToMemory(&pem.Block{Type: receiptKeyType, Bytes: seed})
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the caller's file
		if err != nil {
			return nil, fmt.Errorf("create receipt key: %w", err)
		}
		_, err = f.Write(text)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return nil, fmt.Errorf("create receipt key: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("read receipt key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != receiptKeyType || len(block.Bytes) != ed25519.SeedSize {
		return nil, errors.New("read receipt key: the file holds no such key")
	}
	return &Signer{ed25519.NewKeyFromSeed(block.Bytes)}, nil
}

// Public is the key that Check needs.
func (s *Signer) Public() ed25519.PublicKey {
	return s.key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // is what Public is documented to return
}

// Sign returns r as a Signed, in JSON.
func (s *Signer) Sign(r *Receipt) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write receipt: %w", err)
	}
	public := s.Public()
	id := sha256.Sum256(public)
	signed, err := json.Marshal(Signed{text, hex.EncodeToString(id[:8]), public, ed25519.Sign(s.key, text)})
	if err != nil {
		return nil, fmt.Errorf("write receipt: %w", err)
	}
	return signed, nil
}

// CheckReceipt returns the receipt in text if key signed it. Problem: receipt_invalid.
func CheckReceipt(text []byte, key ed25519.PublicKey) (*Receipt, error) {
	invalid := func(fault string, err error) error {
		return problem.New(422, "receipt_invalid", "The receipt %s.", fault).Because(err)
	}
	var s Signed
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, invalid("is no receipt", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, s.Receipt); err != nil {
		return nil, invalid("is no receipt", err)
	}
	if !ed25519.Verify(key, compact.Bytes(), s.Signature) {
		return nil, invalid("was not signed by this server, or was changed since", nil)
	}
	var r Receipt
	if err := json.Unmarshal(s.Receipt, &r); err != nil {
		return nil, invalid("is no receipt", err)
	}
	return &r, nil
}
