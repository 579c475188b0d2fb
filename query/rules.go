package query

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Rules say what may be shown of an organisation's data at one instant. They are
// asked for by every query, so that a change counts from the next one on.
type Rules struct {
	State   registry.OrgState
	PurgeAt event.Micros  // of a terminated organisation: when its data goes
	MaxAge  time.Duration // rows that occurred longer ago are not shown; 0: no limit
	Zone    string        // IANA name of the zone of reports; "" is UTC
	Emptied uint64        // changes whenever texts were removed from the Catalog: no copy of it stays
	Consent Consent
}

// Consent is what recipients allow to be shown of them.
type Consent struct {
	OptIn   bool   // only what was allowed is shown; otherwise all but what was refused
	Version uint64 // changes whenever anything in it changes
	// Denied and Granted yield who refuses and who allows interactions of a kind of
	// Purposes to be shown, in any order. Under OptIn, Granted is asked, otherwise
	// Denied; one that is not asked may be nil.
	Denied, Granted func(kind event.Kind) iter.Seq[event.RecipientID]
}

// Purposes are the kinds that need a recipient's consent. The others, which mail
// systems report, are shown of everybody.
func Purposes() [4]event.Kind {
	return [...]event.Kind{event.Open, event.Click, event.AttachmentView, event.Reply}
}

// readable refuses what Rules do not let anybody read.
func (r *Rules) readable() error {
	switch r.State {
	case registry.OrgEnabled:
		return nil
	case registry.OrgDisabled:
		return problem.New(409, "feature_disabled", "Following is switched off for this organisation; what was collected can be read again once it is enabled.")
	}
	return problem.New(409, "feature_disabled", "This organisation's subscription has ended; an administrator may export its data until it is purged.")
}

// exportable is readable for an administrator's export, which a terminated
// organisation grants until its data is purged.
func (r *Rules) exportable(now event.Micros) error {
	if r.State == registry.OrgTerminated && now < r.PurgeAt {
		return nil
	}
	return r.readable()
}

// ageStep is the grain of the age limit, so that answers change only so often.
const ageStep = event.Micros(time.Minute / time.Microsecond)

// oldest returns the time before which nothing is shown: at most a minute later
// than the age limit says, never earlier.
func (r *Rules) oldest(now event.Micros) event.Micros {
	if r.MaxAge == 0 {
		return 0
	}
	limit := now - event.Micros(r.MaxAge.Microseconds())
	return limit + ageStep - 1 - (limit+ageStep-1)%ageStep
}

// listing is a table of recipients with a mark per purpose, and what is in it.
// Queries join it; a change is one transaction, so that each sees all or none.
type listing struct {
	table string
	marks []uint8 // by recipient id, which are dense
	count int     // recipients with a mark
}

func newListing(table string) *listing { return &listing{table: table} }

// listingDDL follows the table's name.
const listingDDL = " (recipient_id BIGINT, opens BOOLEAN, clicks BOOLEAN, views BOOLEAN, replies BOOLEAN)"

// fewChanges is up to how many recipients are replaced one by one; beyond that
// the table is written anew, which costs about the same for 5 and for 50 % of them.
const fewChanges = 2000

// sync makes the table equal to what members yields.
func (l *listing) sync(ctx context.Context, s *store, members func(event.Kind) iter.Seq[event.RecipientID]) error {
	next := make([]uint8, len(l.marks))
	for i, kind := range Purposes() {
		for id := range members(kind) {
			if id < 0 || id > maxListed {
				return fmt.Errorf("consent of recipient %d: no such id", id)
			}
			if need := int(id) + 1; need > len(next) {
				next = append(next, make([]uint8, max(need-len(next), len(next)/4))...)
			}
			next[id] |= 1 << i
		}
	}
	var changed []int
	count := 0
	for id, mark := range next {
		if mark != 0 {
			count++
		}
		if id >= len(l.marks) && mark != 0 || id < len(l.marks) && mark != l.marks[id] {
			changed = append(changed, id)
		}
	}
	if len(changed) > 0 {
		if err := l.write(ctx, s, next, changed); err != nil {
			return fmt.Errorf("write %s: %w", l.table, err)
		}
	}
	l.marks, l.count = next, count
	return nil
}

// maxListed bounds the memory that ids out of range could ask for.
const maxListed = 1 << 32

// write replaces the changed recipients' marks, or all where these are many.
func (l *listing) write(ctx context.Context, s *store, next []uint8, changed []int) error {
	gone := ""
	if len(changed) <= fewChanges {
		ids := make([]string, len(changed))
		for i, id := range changed {
			ids[i] = strconv.Itoa(id)
		}
		gone = " WHERE recipient_id IN (" + strings.Join(ids, ", ") + ")"
	} else {
		changed = changed[:0]
		for id := range next {
			changed = append(changed, id)
		}
	}
	return s.inTransaction(ctx, func() error {
		if _, err := s.write.ExecContext(ctx, "DELETE FROM "+l.table+gone); err != nil {
			return err
		}
		return s.appendEach(l.table, func(add func(...any) error) error {
			for _, id := range changed {
				if m := next[id]; m == 0 {
					continue
				} else if err := add(int64(id), m&1 != 0, m&2 != 0, m&4 != 0, m&8 != 0); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// takeConsent brings the tables of consent up to what holds now.
func (s *store) takeConsent(ctx context.Context, c Consent) (err error) {
	if s.consented && s.consent == c.Version && s.optIn == c.OptIn {
		return nil
	}
	if c.OptIn {
		err = s.granted.sync(ctx, s, c.Granted)
	} else {
		err = s.denied.sync(ctx, s, c.Denied)
	}
	if err != nil {
		return errors.Join(err, s.reset())
	}
	s.consented, s.consent, s.optIn = true, c.Version, c.OptIn
	return nil
}
