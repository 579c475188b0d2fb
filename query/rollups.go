package query

import (
	"context"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sync/singleflight"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// rollups are what a store keeps so that KPIs need not read events: a rollup per
// data file, on disk, and the state over them and the tail, in memory. The holder
// of the store's turn may use them.
//
//	dir/<data file>.rollup   made with the data file, or when a View first has it; removed when none has
type rollups struct {
	dir    string              // "" keeps none
	make   *singleflight.Group // rollups on their way; anybody may use it
	open   map[string]*rollup.File
	state  *rollup.State                    // nil: to be made anew
	to     event.Position                   // tail rows before it are in state
	ahead  map[event.EmailID]event.Position // of these emails, those before are
	holds  uint64                           // View.Content of what state stands on
	swept  bool                             // nothing is left of earlier processes
	coming int                              // see DB.Incoming
	long   bool                             // it was said that the tail is too long
	most   waits
}

const (
	// maxHotPairs and maxHotEvents bound the memory of a tail that does not get into
	// files, at 600 (1,600 where files have much of a pair) and 30 bytes each, 80 while
	// tallies have not counted them. Beyond, KPIs read events.
	maxHotPairs  = 500_000
	maxHotEvents = 10_000_000
	// rollupTries is how often damage is mended within one query.
	rollupTries = 3
)

// waits are up to how large data files without rollups may be, and how many events
// those of a new state, for a query to do it with the turn. Run does what takes
// longer, without. tail is how many rows of the tail a query counts while Run does, and
// Run before it lets others go first, and absorb how many pairs that absorbs then.
type waits struct {
	makeBytes, loadRows int64
	tail, absorb        int
}

// someTenths of a second are what queries wait for, and some milliseconds for Run.
var someTenths = waits{4 << 20, 500_000, 10_000, 200}

// errNoRollup says that KPIs must read events for now.
var errNoRollup = errors.New("no rollup")

// errBehind is an errNoRollup that is over once Run has done its work.
var errBehind = fmt.Errorf("%w: they are on their way", errNoRollup)

// errMoreTail is an errBehind for which the tail has to be counted.
var errMoreTail = fmt.Errorf("%w: the tail is being counted", errBehind)

// errLongTail is an errNoRollup that somebody should hear of.
var errLongTail = fmt.Errorf("%w: the tail has more than %d pairs of email and recipient, or %d events", errNoRollup, maxHotPairs, maxHotEvents)

// wanted is what the state must be good for.
type wanted struct {
	flushed taking
	email   event.EmailID // only what concerns this one; 0: all
	tail    int           // rows of the tail that are counted at once, unless only of email
}

// rolled runs ask on the state, brought up to view. Rollups that are missing or
// found damaged are made anew. errNoRollup, or what kept them from being used.
func (s *store) rolled(ctx context.Context, view View, rules *Rules, w wanted, ask func(*rollup.State) error) error {
	for try := 1; ; try++ {
		err := s.follow(ctx, view, rules, w)
		if err == nil {
			err = ask(s.rollups.state)
		}
		if failed := s.zonesFailed(); failed != nil {
			return errors.Join(err, failed)
		}
		var bad *rollup.FileError
		lost := errors.Is(err, rollup.ErrLost)
		if lost {
			s.rollups.state = nil
		}
		if !lost && !errors.As(err, &bad) || try == rollupTries || ctx.Err() != nil {
			return err
		}
		if bad != nil {
			if err := s.rollups.discard(bad.File); err != nil {
				return err
			}
		}
	}
}

// taking says what becomes of files that only have what was in the tail, of which the
// state counts everything already.
type taking int

const (
	takeAll   taking = iota // they are taken in
	takeNone                // the state stays on the tail that they were; Run takes them in
	takeBegin               // they are adopted; absorbing the tail that they were comes later
)

// follow brings the state up to view.
func (s *store) follow(ctx context.Context, view View, rules *Rules, w wanted) (err error) {
	r := &s.rollups
	if r.dir == "" {
		return errNoRollup
	}
	b := s.basis(view, rules)
	same := r.follows(view, b)
	stays := same && w.flushed == takeNone
	if stays {
		b.Files, b.Tail = r.state.Files(), r.state.Basis().Tail
	} else if err := s.findFiles(ctx, view, &b); err != nil {
		return err
	}
	defer func() {
		if err != nil && !errors.Is(err, errNoRollup) {
			r.state = nil
		}
	}()
	if !stays && same && r.state.Adopt(b) && w.flushed == takeAll {
		if _, err := r.state.Absorb(math.MaxInt); err != nil {
			return err
		}
	}
	kept, err := r.state.Refresh(b)
	if err != nil {
		return err
	}
	if !kept {
		r.to, r.ahead = b.Tail, map[event.EmailID]event.Position{}
	}
	if !stays {
		r.holds = view.Content()
		if err := r.closeOthers(b.Files); err != nil {
			return err
		}
	}
	err = r.addTail(view, w.tail)
	if errors.Is(err, errMoreTail) && w.email != 0 {
		err = r.addOf(view, w.email)
	}
	return err
}

// findFiles finds the rollups that the state is to stand on, and begins one if there
// is none.
func (s *store) findFiles(ctx context.Context, view View, b *rollup.Basis) (err error) {
	if b.Files, err = s.filesOf(ctx, view.Files()); err != nil {
		return err
	}
	r := &s.rollups
	if r.state != nil {
		return nil
	}
	var rows int64
	for _, f := range b.Files {
		rows += f.Rows
	}
	if rows > r.most.loadRows {
		return errBehind
	}
	r.state = rollup.NewState()
	return nil
}

// follows reports whether all that view has beyond the state is appended rows, wherever
// the tail begins now.
func (r *rollups) follows(view View, b rollup.Basis) bool {
	return r.state != nil && r.holds == view.Content() && b.Tail <= r.to && b.Oldest == r.state.Basis().Oldest
}

// basis is what a state over view stands on, but for the files.
func (s *store) basis(view View, rules *Rules) rollup.Basis {
	b := rollup.Basis{Consent: rollup.Consent{OptIn: rules.Consent.OptIn, Marks: s.denied.marks}, Oldest: rules.oldest(event.At(s.opts.Clock()))}
	if b.Consent.OptIn {
		b.Consent.Marks = s.granted.marks
	}
	b.Tail, _ = view.Tail()
	return b
}

// addTail counts new rows of the tail, up to so many.
func (r *rollups) addTail(view View, most int) error {
	_, to := view.Tail()
	if r.to >= to {
		return nil
	}
	n := 0
	for pos, in := range view.Rows(r.to) {
		if pos >= to {
			break
		}
		if n == most {
			return errMoreTail
		}
		if n++; pos >= r.ahead[in.Email] {
			if err := r.add(in); err != nil {
				return err
			}
		}
		r.to = pos + 1
	}
	r.to = to
	clear(r.ahead)
	return nil
}

// addOf counts the rows of one email that the tail has beyond those that are counted
// of all.
func (r *rollups) addOf(view View, email event.EmailID) error {
	_, to := view.Tail()
	for pos, in := range view.RowsOf(email, max(r.to, r.ahead[email])) {
		if pos >= to {
			break
		}
		if err := r.add(in); err != nil {
			return err
		}
		r.ahead[email] = pos + 1
	}
	r.ahead[email] = to
	return nil
}

func (r *rollups) add(in *event.Interaction) error {
	if r.state.HotPairs() > maxHotPairs || r.state.HotEvents() > maxHotEvents {
		return errLongTail
	}
	return r.state.Add(&rollup.Event{Email: in.Email, Recipient: in.Recipient, ID: in.ID, At: in.OccurredAt, Received: in.ReceivedAt,
		Component: in.Component, Shape: rollup.Shape{Kind: in.Kind, Actor: in.Actor, Device: in.Device.String(),
			Client: clean(in.Client), OS: clean(in.OS), Reason: clean(in.Reason)}})
}
