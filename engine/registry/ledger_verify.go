package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// LedgerError says which entry of a consent ledger is the first that is not as it
// was written. It unwraps to the problem ledger_damaged.
type LedgerError struct {
	Org   event.OrgID
	Seq   int64
	Fault string // what is wrong with it, without personal data
}

// Error names the organisation, the entry and the fault.
func (e *LedgerError) Error() string {
	return fmt.Sprintf("consent ledger of organisation %d, entry %d: %s", e.Org, e.Seq, e.Fault)
}

// Unwrap returns the problem ledger_damaged.
func (e *LedgerError) Unwrap() error {
	return problem.New(500, "ledger_damaged",
		"The consent ledger of organisation %d is not as it was written, first at entry %d (it %s); restore it from a backup.", e.Org, e.Seq, e.Fault)
}

// LedgerHead returns where the organisation's ledger ends. Problem: org_not_found.
func (r *Registry) LedgerHead(ctx context.Context, org event.OrgID) (LedgerHead, error) {
	count, hash, err := ledgerHead(ctx, r.reader, org)
	if err != nil {
		return LedgerHead{}, storeError("read ledger's head", err)
	}
	head := LedgerHead{Entries: count}
	copy(head.Hash[:], hash)
	return head, nil
}

func ledgerHead(ctx context.Context, db bun.IDB, org event.OrgID) (count int64, hash []byte, err error) {
	err = db.QueryRowContext(ctx, "SELECT ledger_count, ledger_hash FROM organisations WHERE id = ?", int64(org)).Scan(&count, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, orgNotFound()
	}
	return count, hash, err
}

// VerifyLedger reads the organisation's whole ledger and returns the number of
// entries that are as they were written: all, or those before the first bad one,
// which a *LedgerError names. It sees one moment; appending goes on meanwhile.
//
// Whoever can write the database can write a whole new ledger. A LedgerHead kept
// elsewhere shows that. Problem: org_not_found.
func (r *Registry) VerifyLedger(ctx context.Context, org event.OrgID) (entries int64, err error) {
	tx, err := r.reader.BeginTx(ctx, nil)
	if err != nil {
		return 0, storeError("verify ledger", err)
	}
	defer func() { _ = tx.Rollback() }()
	count, head, err := ledgerHead(ctx, tx, org)
	if err != nil {
		return 0, storeError("verify ledger", err)
	}
	bad := func(fault string) (int64, error) { return entries, &LedgerError{org, entries + 1, fault} }
	previous := []byte{}
	digests := map[int64][sha256.Size]byte{}
	var buf []byte
	for after := int64(math.MinInt64); ; {
		rows, proofs, err := ledgerPage(ctx, tx, org, after, digests)
		if err != nil {
			return entries, storeError("verify ledger", err)
		}
		for id, p := range proofs {
			digests[id] = p.digest()
		}
		for i := range rows {
			e := &rows[i]
			digest, ok := digests[e.Proof]
			switch {
			case e.Seq > entries+1:
				return bad("is missing")
			case e.Seq < entries+1:
				return 0, &LedgerError{org, e.Seq, "has a number that no entry has"}
			case entries == count:
				return bad("is behind the ledger's end")
			case !ok:
				return bad("has no proof")
			}
			if hash := e.chain(buf, previous, digest); !bytes.Equal(hash[:], e.Hash) {
				return bad("was altered, or its proof was")
			}
			previous, entries, after = e.Hash, entries+1, e.Seq
		}
		if len(rows) < feedPage {
			break
		}
	}
	if entries < count {
		return bad("is missing")
	}
	if !bytes.Equal(previous, head) {
		entries = max(entries-1, 0)
		return bad("is not the one that the ledger's head names")
	}
	return entries, nil
}

// ledgerPage reads the entries behind after, at most feedPage, and those of their
// proofs that are not known yet.
func ledgerPage[T any](ctx context.Context, db bun.IDB, org event.OrgID, after int64, known map[int64]T) ([]ledgerRow, map[int64]*proofRow, error) {
	var rows []ledgerRow
	err := db.NewSelect().Model(&rows).Where("org_id = ?", org).Where("seq > ?", after).Order("seq").Limit(feedPage).Scan(ctx)
	if err != nil {
		return nil, nil, err
	}
	proofs := map[int64]*proofRow{}
	var ids []int64
	for _, row := range rows {
		if _, ok := known[row.Proof]; !ok && proofs[row.Proof] == nil {
			ids, proofs[row.Proof] = append(ids, row.Proof), &proofRow{}
		}
	}
	clear(proofs)
	var found []proofRow
	err = db.NewRaw("SELECT cp.* FROM json_each(?) AS wanted CROSS JOIN consent_proofs AS cp ON cp.org_id = ? AND cp.id = wanted.value",
		jsonList(ids), org).Scan(ctx, &found)
	for i := range found {
		proofs[found[i].ID] = &found[i]
	}
	return rows, proofs, err
}

// Ledger yields the organisation's entries with a number above after, in order.
// It does not verify them; see VerifyLedger. An error ends the sequence.
func (r *Registry) Ledger(ctx context.Context, org event.OrgID, after int64) iter.Seq2[LedgerEntry, error] {
	return func(yield func(LedgerEntry, error) bool) {
		for {
			rows, proofs, err := ledgerPage[any](ctx, r.reader, org, after, nil)
			if err != nil {
				yield(LedgerEntry{}, storeError("read ledger", err))
				return
			}
			for i := range rows {
				after = rows[i].Seq
				if !yield(rows[i].entry(proofs[rows[i].Proof]), nil) {
					return
				}
			}
			if len(rows) < feedPage {
				return
			}
		}
	}
}

func (e *ledgerRow) entry(p *proofRow) LedgerEntry {
	if p == nil {
		p = &proofRow{} // damage; VerifyLedger says so
	}
	state, _ := ParsePreference(e.State)
	out := LedgerEntry{
		Seq: e.Seq, At: event.Micros(e.At), Subject: Subject{SubjectKind(e.SubjectKind), e.SubjectID},
		Purposes: Purposes(e.Purposes), State: state, Previous: Answers{Purposes(e.WasAllowed), Purposes(e.WasDenied)},
		Source: p.Source, FormVersion: p.FormVersion, Text: p.Shown, Locale: p.Locale,
		Actor: Actor{ActorKind(p.ActorKind), p.ActorKey}, Evidence: e.Evidence,
	}
	copy(out.Hash[:], e.Hash)
	return out
}
