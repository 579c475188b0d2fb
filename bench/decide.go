package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// DecideOptions configure Decide.
type DecideOptions struct {
	Setup
	Seed      uint64 // of who refuses; default 1
	People    int    // default 1,000,000, of whom a fifth refuses everything
	Decisions int    // default 5,000,000
}

const (
	changes  = 50 // of one preference each
	perEmail = 10_000
)

// Decide measures what the consent of one interaction costs: the question that is
// asked before each is recorded, how soon an answer obeys a change, and how much
// memory refusals take. It is the one measurement within a process, for no door
// shows it alone. The baseline is a map of who refuses behind a lock.
func Decide(ctx context.Context, o DecideOptions) (s Sheet, err error) {
	defaultTo(&o.Seed, 1)
	defaultTo(&o.People, 1_000_000)
	defaultTo(&o.Decisions, 5_000_000)
	if err := errors.Join(o.Setup.setDefaults(runtime.NumCPU()), within("people", o.People, 100, 10_000_000), within("decisions", o.Decisions, 1, 1_000_000_000)); err != nil {
		return s, err
	}
	say := o.progress()
	defer say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return s, err
	}
	defer remove()
	s = Sheet{Bench: "decide", Title: "Asking for consent, beside a map behind a lock"}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, err
	}
	if s.Machine, err = machineOf(dir); err != nil {
		return s, err
	}
	r, err := registry.Open(ctx, registry.Options{DSN: "sqlite://" + filepath.Join(dir, "registry.db"), BusyTimeout: time.Minute})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	d := decideBench{o: &o, sheet: &s, say: say, registry: r, random: rand.New(rand.NewPCG(o.Seed, 6))}
	return s, d.run(ctx)
}

// decideBench is one run of Decide.
type decideBench struct {
	o        *DecideOptions
	sheet    *Sheet
	say      progress
	registry *registry.Registry
	random   *rand.Rand
	org      event.OrgID
}

func (d *decideBench) run(ctx context.Context) error {
	made, err := d.registry.CreateOrg(ctx, registry.NewOrg{Name: org})
	if err != nil {
		return err
	}
	d.org = made.ID
	for from := 0; from < d.o.People; from += perEmail {
		d.say.step("registering person %s of %s", number(from), number(d.o.People))
		mail := registry.NewEmail{From: "a@bench.example", Wish: true}
		for i := from; i < min(from+perEmail, d.o.People); i++ {
			mail.Recipients = append(mail.Recipients, registry.NewRecipient{Address: fmt.Sprintf("d%d@bench.example", i+1)})
		}
		if _, err := d.registry.RegisterEmail(ctx, d.org, mail); err != nil {
			return err
		}
	}
	refused := d.random.Perm(d.o.People)[:d.o.People/5]
	d.sheet.set("people", fmt.Sprintf("%s, of whom %s refuse everything, drawn at random", number(d.o.People), number(len(refused))))
	if err := d.refuse(ctx, refused); err != nil {
		return err
	}
	if err := d.decide(refused); err != nil {
		return err
	}
	if err := d.change(ctx); err != nil {
		return err
	}
	s := d.sheet
	s.Ratio, s.RatioOf = s.value(decideTime, "map")/s.value(decideTime, "mailwake"), "the map's time over mailwake's, one decision"
	s.atMost("allocations of a decision", 0, s.value("allocations of a decision", "mailwake"), "")
	s.atMost("memory of a refusal", 4, s.value(refusalSize, "mailwake"), "B")
	return nil
}

const (
	decideTime  = "one decision"
	refusalSize = "memory of a refusal"
)

// heapAfter returns by how much fn lets the heap grow.
func heapAfter(fn func() error) (int64, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	err := fn()
	runtime.GC()
	runtime.GC() // what pools keep goes with the second one
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc), err //nolint:gosec // no heap is that large
}

func (d *decideBench) refuse(ctx context.Context, refused []int) error {
	const piece = 100_000
	took := time.Duration(0)
	grown, err := heapAfter(func() error {
		for len(refused) > 0 {
			n := min(piece, len(refused))
			d.say.step("refusing, %s left", number(len(refused)))
			all := make([]registry.PreferenceChange, n)
			for i, person := range refused[:n] {
				all[i] = denial(person, registry.Denied)
			}
			start := time.Now()
			if err := d.registry.SetPreferences(ctx, d.org, all, proof()); err != nil {
				return err
			}
			took += time.Since(start)
			refused = refused[n:]
		}
		return nil
	})
	d.sheet.add(refusalSize, "mailwake", float64(grown)/float64(d.o.People/5), "B")
	d.sheet.add("storing a refusal of many, with proof", "mailwake", float64(took.Nanoseconds())/float64(d.o.People/5), "ns")
	return err
}

func denial(person int, state registry.Preference) registry.PreferenceChange {
	return registry.PreferenceChange{Subject: registry.OfRecipient(event.RecipientID(person + 1)), Purposes: registry.AllPurposes, State: state}
}

func proof() registry.Proof { return registry.Proof{Source: "bench", Actor: registry.BySystem()} }

// decide asks for people drawn at random; the map has to say the same.
func (d *decideBench) decide(refused []int) error {
	d.say.step("deciding")
	var lock sync.RWMutex
	denied := map[event.RecipientID]struct{}{}
	grown, _ := heapAfter(func() error {
		for _, person := range refused {
			denied[event.RecipientID(person+1)] = struct{}{}
		}
		return nil
	})
	ids := make([]event.RecipientID, 1<<16)
	for i := range ids {
		ids[i] = event.RecipientID(1 + d.random.IntN(d.o.People))
	}
	ask := func(allowed func(event.RecipientID) bool) (yes int, each, mallocs float64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		for i := range d.o.Decisions {
			if allowed(ids[i%len(ids)]) {
				yes++
			}
		}
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		n := float64(d.o.Decisions)
		return yes, float64(took.Nanoseconds()) / n, float64(after.Mallocs-before.Mallocs) / n
	}
	own, ownTime, mallocs := ask(func(id event.RecipientID) bool { return d.registry.Decide(d.org, id, event.Open).Allow })
	other, mapTime, _ := ask(func(id event.RecipientID) bool {
		lock.RLock()
		_, no := denied[id]
		lock.RUnlock()
		return !no
	})
	if own != other {
		return fmt.Errorf("%d of %d were allowed, by the map %d", own, d.o.Decisions, other)
	}
	d.sheet.add(decideTime, "mailwake", ownTime, "ns")
	d.sheet.add(decideTime, "map", mapTime, "ns")
	d.sheet.add("allocations of a decision", "mailwake", float64(int(mallocs)), "")
	d.sheet.add(refusalSize, "map", float64(grown)/float64(len(refused)), "B")
	return nil
}

// change measures how long it takes until a single change is durable and obeyed.
func (d *decideBench) change(ctx context.Context) error {
	d.say.step("changing")
	took := make([]float64, changes)
	for i := range took {
		state := registry.Denied
		if i%2 == 1 {
			state = registry.Allowed
		}
		start := time.Now()
		if err := d.registry.SetPreferences(ctx, d.org, []registry.PreferenceChange{denial(0, state)}, proof()); err != nil {
			return err
		}
		if d.registry.Decide(d.org, 1, event.Open).Allow != (state == registry.Allowed) {
			return errors.New("a change is not obeyed")
		}
		took[i] = float64(time.Since(start).Nanoseconds())
	}
	d.sheet.add("one change, durable and obeyed, p50", "mailwake", median(took), "ns")
	return nil
}
