package registry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// LedgerEntry is one preference as it was given. Entries are never changed.
type LedgerEntry struct {
	Seq         int64 // from 1, without gaps
	At          event.Micros
	Subject     Subject
	Purposes    Purposes
	State       Preference
	Previous    Answers // of the subject, for all purposes, before this entry
	Source      string
	FormVersion string
	Text        string
	Locale      string
	Actor       Actor
	Evidence    string
	Hash        [32]byte // over the previous entry's hash and all of the above
}

// LedgerHead is where an organisation's ledger ends. Kept elsewhere, it shows
// later whether the ledger was rewritten as a whole.
type LedgerHead struct {
	Entries int64
	Hash    [32]byte // of the last entry; zero without one
}

// ledgerRow is an entry as stored. The hash covers the stored values, whatever
// they are, not what they are taken for.
type ledgerRow struct {
	bun.BaseModel `bun:"table:consent_ledger,alias:cl"`
	Org           int64  `bun:"org_id,pk"`
	Seq           int64  `bun:"seq,pk"`
	At            int64  `bun:"at"`
	SubjectKind   string `bun:"subject_kind"`
	SubjectID     int64  `bun:"subject_id"`
	Purposes      int64  `bun:"purposes"`
	State         string `bun:"state"`
	WasAllowed    int64  `bun:"was_allowed"`
	WasDenied     int64  `bun:"was_denied"`
	Evidence      string `bun:"evidence"`
	Proof         int64  `bun:"proof_id"`
	Hash          []byte `bun:"hash"`
}

type proofRow struct {
	bun.BaseModel `bun:"table:consent_proofs,alias:cp"`
	Org           int64  `bun:"org_id,pk"`
	ID            int64  `bun:"id,pk"`
	Source        string `bun:"source"`
	FormVersion   string `bun:"form_version"`
	Shown         string `bun:"shown"`
	Locale        string `bun:"locale"`
	ActorKind     string `bun:"actor_kind"`
	ActorKey      int64  `bun:"actor_key"`
}

// ledgerFormat begins what is hashed, so that a later format cannot be taken for
// this one.
const ledgerFormat = "mailwake consent ledger 1"

// A canonical encoding: numbers are 8 bytes, big-endian; texts follow their
// length; the order is that of the columns.
func appendInt(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func appendText(b []byte, s string) []byte { return append(appendInt(b, int64(len(s))), s...) }

// digest returns SHA-256 over all fields of the proof.
func (p *proofRow) digest() [sha256.Size]byte {
	b := appendInt(appendInt(nil, p.Org), p.ID)
	for _, s := range []string{p.Source, p.FormVersion, p.Shown, p.Locale, p.ActorKind} {
		b = appendText(b, s)
	}
	return sha256.Sum256(appendInt(b, p.ActorKey))
}

// chain returns the entry's hash: SHA-256 over the format, the previous entry's
// hash, all fields, and the digest of its proof. buf saves allocations.
func (e *ledgerRow) chain(buf []byte, previous []byte, proof [sha256.Size]byte) [sha256.Size]byte {
	b := appendText(buf[:0], ledgerFormat)
	b = appendText(b, string(previous))
	b = appendInt(appendInt(appendInt(b, e.Org), e.Seq), e.At)
	b = appendInt(appendText(b, e.SubjectKind), e.SubjectID)
	b = appendText(appendInt(b, e.Purposes), e.State)
	b = appendInt(appendInt(b, e.WasAllowed), e.WasDenied)
	b = appendInt(appendText(b, e.Evidence), e.Proof)
	return sha256.Sum256(append(b, proof[:]...))
}

// nextProof gives out the number of a proof. The numbers are the order in which
// changes were asked for.
func nextProof(ctx context.Context, tx bun.Tx, org event.OrgID) (id int64, err error) {
	err = tx.NewRaw("UPDATE organisations SET last_proof_id = last_proof_id + 1 WHERE id = ? RETURNING last_proof_id", org).Scan(ctx, &id)
	if isNoRows(err) {
		return 0, orgNotFound()
	} else if err != nil {
		return 0, fmt.Errorf("number proof: %w", err)
	}
	return id, nil
}

// newProof stores what shows that changes were given, for their entries to share.
func newProof(ctx context.Context, tx bun.Tx, org event.OrgID, number int64, proof Proof) (proofRow, error) {
	shown := proofRow{
		Org: int64(org), ID: number, Source: proof.Source, FormVersion: proof.FormVersion, Shown: proof.Text,
		Locale: proof.Locale, ActorKind: string(proof.Actor.Kind), ActorKey: proof.Actor.KeyID,
	}
	if _, err := tx.NewInsert().Model(&shown).Exec(ctx); err != nil {
		return shown, fmt.Errorf("insert proof: %w", err)
	}
	return shown, nil
}

// appendLedger writes one entry per change behind the organisation's last one.
func appendLedger(ctx context.Context, tx bun.Tx, org event.OrgID, changes []newPreference, as given) error {
	var head orgRow
	err := tx.NewSelect().Model(&head).Column("ledger_count", "ledger_hash").Where("id = ?", org).Scan(ctx)
	if err != nil {
		return fmt.Errorf("read ledger's head: %w", err)
	}
	asDigest, previous := as.proof.digest(), head.LedgerHash
	var buf []byte
	rows := make([]ledgerRow, 0, min(len(changes), rowsPerStatement))
	for part := range slices.Chunk(changes, rowsPerStatement) {
		rows = rows[:0]
		for _, c := range part {
			head.LedgerCount++
			of, digest := as, asDigest
			if c.given != nil {
				of, digest = *c.given, c.given.proof.digest()
			}
			row := ledgerRow{
				Org: int64(org), Seq: head.LedgerCount, At: int64(of.at), SubjectKind: string(c.Subject.Kind), SubjectID: c.Subject.ID,
				Purposes: int64(c.Purposes), State: c.State.String(), WasAllowed: int64(c.was.Allowed), WasDenied: int64(c.was.Denied),
				Evidence: c.Evidence, Proof: of.proof.ID,
			}
			hash := row.chain(buf, previous, digest)
			row.Hash = hash[:]
			previous = row.Hash
			rows = append(rows, row)
		}
		if err := insertAll(ctx, tx, rows); err != nil {
			return err
		}
	}
	_, err = tx.NewUpdate().Model((*orgRow)(nil)).Set("ledger_count = ?", head.LedgerCount).Set("ledger_hash = ?", previous).
		Where("id = ?", org).Exec(ctx)
	if err != nil {
		return fmt.Errorf("move ledger's head: %w", err)
	}
	return nil
}
