package registry

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// maxRecipientID is the last id that a bitmap of 32-bit numbers holds. Ids are
// dense, so an organisation reaches it with its four billionth address.
const maxRecipientID = event.RecipientID(math.MaxUint32)

// consentSets holds who of an organisation's recipients has answered what. Once
// published it does not change: bitmaps are cloned before they are altered, and a
// clone shares all containers (65,536 ids each) but those that are written to.
type consentSets struct {
	version uint64
	denied  [numPurposes]*roaring.Bitmap // by Purpose - 1; nil is empty
	granted [numPurposes]*roaring.Bitmap
	erased  *roaring.Bitmap // shared by clones until BeginErasure replaces it
	emptied uint64          // how many of them have no address any more
}

// clone returns a copy to be altered by its add and remove.
func (c *consentSets) clone() *consentSets {
	next := &consentSets{version: c.version, erased: c.erased, emptied: c.emptied}
	for i := range numPurposes {
		next.denied[i], next.granted[i] = cloneBitmap(c.denied[i]), cloneBitmap(c.granted[i])
	}
	return next
}

func cloneBitmap(b *roaring.Bitmap) *roaring.Bitmap {
	if b == nil {
		b = roaring.New()
		b.SetCopyOnWrite(true)
		return b
	}
	// Marks the containers of b as shared too, in a list that readers never look at.
	return b.Clone()
}

// put replaces a recipient's answers.
func (c *consentSets) put(recipient event.RecipientID, was, is Answers) {
	for i := range numPurposes {
		bit := Purposes(1) << i
		move(c.denied[i], recipient, was.Denied&bit != 0, is.Denied&bit != 0)
		move(c.granted[i], recipient, was.Allowed&bit != 0, is.Allowed&bit != 0)
	}
}

func move(b *roaring.Bitmap, recipient event.RecipientID, was, is bool) {
	switch {
	case is && !was:
		b.Add(uint32(recipient))
	case was && !is:
		b.Remove(uint32(recipient))
	}
}

// against returns what stands against collecting from the recipient for p.
func (c *consentSets) against(recipient event.RecipientID, p Purpose, optIn bool) Reasons {
	if contains(c.denied[p-1], recipient) {
		return RecipientDenied
	}
	if optIn && !contains(c.granted[p-1], recipient) {
		return RecipientUnknownOptIn
	}
	return 0
}

func contains(b *roaring.Bitmap, recipient event.RecipientID) bool {
	return b != nil && recipient > 0 && recipient <= maxRecipientID && b.Contains(uint32(recipient))
}

// Consent is an immutable picture of the preferences of one organisation's
// recipients, as they count: inheritance is worked out, the strictest answer has
// won. It knows nothing of the organisation's state. It is safe for concurrent
// use. The zero value has no refusals listed but refuses everything asked.
type Consent struct {
	OptIn   bool   // an unknown preference refuses
	Version uint64 // changes whenever anything in it changes, also over restarts
	Emptied uint64 // changes whenever records of people were removed: copies of them must go
	sets    *consentSets
}

// Denied yields the recipients who refuse p, ascending.
func (c Consent) Denied(p Purpose) iter.Seq[event.RecipientID] {
	if c.sets == nil || PurposesOf(p) == 0 {
		return members(nil)
	}
	return members(c.sets.denied[p-1])
}

// Granted yields the recipients who allow p, ascending. None of them is in Denied.
func (c Consent) Granted(p Purpose) iter.Seq[event.RecipientID] {
	if c.sets == nil || PurposesOf(p) == 0 {
		return members(nil)
	}
	return members(c.sets.granted[p-1])
}

// Refuses reports whether nothing may be collected from, or shown of, the
// recipient for p. It does not allocate.
func (c Consent) Refuses(recipient event.RecipientID, p Purpose) bool {
	return c.sets == nil || PurposesOf(p) == 0 || c.sets.against(recipient, p, c.OptIn) != 0
}

// answers returns what is recorded for the recipient.
func (c *consentSets) answers(recipient event.RecipientID) (a Answers) {
	for i := range numPurposes {
		if contains(c.denied[i], recipient) {
			a.Denied |= 1 << i
		}
		if contains(c.granted[i], recipient) {
			a.Allowed |= 1 << i
		}
	}
	return a
}

func members(b *roaring.Bitmap) iter.Seq[event.RecipientID] {
	return func(yield func(event.RecipientID) bool) {
		if b == nil {
			return
		}
		for id := range roaring.Values(b) {
			if !yield(event.RecipientID(id)) {
				return
			}
		}
	}
}

// packed is the form in which a recipient's answers are stored.
func (a Answers) packed() int { return int(a.Denied) | int(a.Allowed)<<numPurposes }

func unpacked(n int) Answers {
	return Answers{Denied: Purposes(n) & AllPurposes, Allowed: Purposes(n>>numPurposes) & AllPurposes}
}

const answeredRecipients = "SELECT org_id, answer, id FROM recipients INDEXED BY recipients_answered WHERE answer <> 0 ORDER BY org_id, answer, id"

// loadConsent fills the draft's sets. The index it reads is ordered by answer and
// holds answered recipients only.
func loadConsent(ctx context.Context, db *bun.DB, d *draft) error {
	rows, err := db.QueryContext(ctx, answeredRecipients)
	if err != nil {
		return fmt.Errorf("read preferences: %w", err)
	}
	defer rows.Close()
	var org, last event.OrgID
	var answer, lastAnswer int
	var batch []uint32
	flush := func() {
		if len(batch) == 0 || d.org(last) == nil {
			batch = batch[:0] // rows without their organisation are damage; Check says so
			return
		}
		sets, a := d.consentOf(last), unpacked(lastAnswer)
		for i := range numPurposes {
			if a.Denied>>i&1 != 0 {
				sets.denied[i].AddMany(batch)
			}
			if a.Allowed>>i&1 != 0 {
				sets.granted[i].AddMany(batch)
			}
		}
		batch = batch[:0]
	}
	for rows.Next() {
		var id uint32
		if err := rows.Scan(&org, &answer, &id); err != nil {
			return fmt.Errorf("read preferences: %w", err)
		}
		if org != last || answer != lastAnswer {
			flush()
			last, lastAnswer = org, answer
		}
		batch = append(batch, id)
	}
	flush()
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read preferences: %w", err)
	}
	return loadErased(ctx, db, d)
}
