package query

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// twins are two DBs over one history: one has rollups.
type twins struct {
	*scene
	t             *testing.T
	r             *rand.Rand
	coming        []event.Interaction
	rows          map[string][]event.Interaction // of data files
	serial        int
	with, without *DB
}

func newTwins(t *testing.T, seed uint64) *twins {
	w := &twins{t: t, r: rand.New(rand.NewPCG(seed, 77)), rows: map[string][]event.Interaction{}}
	w.scene = &scene{world: newWorld(t), now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), people: map[event.RecipientID]registry.Recipient{},
		links: map[event.EmailID]int64{}, attached: map[event.EmailID]int64{}, sentTo: map[event.EmailID]int64{}}
	w.register(w.r)
	w.coming = randomEvents(w.r, 2500)
	for i := range w.coming {
		if w.coming[i].ID >= 0 && w.r.IntN(20) == 0 {
			w.coming[i].Email = 15
		}
	}
	if seed%2 == 1 { // nothing that others reported, so that more is kept from question to question
		w.coming = slices.DeleteFunc(w.coming, func(in event.Interaction) bool { return in.ID < 0 })
	}
	w.with, w.without = w.open(), w.world.open(func(o *Options) {
		o.Clock, o.RollupDir = func() time.Time { return w.now }, ""
	})
	return w
}

// step changes something that rollups depend on.
func (w *twins) step() string {
	o := w.world.org(1)
	switch w.r.IntN(15) {
	case 0, 1, 2:
		n := min(len(w.coming), w.r.IntN(150))
		w.world.add(1, w.coming[:n]...)
		w.coming = w.coming[n:]
		return "append"
	case 3:
		if w.r.IntN(4) == 0 {
			return w.foreign()
		}
		w.flush(w.r.IntN(len(o.tail) + 1))
		return "flush"
	case 4:
		gone := event.RecipientID(1 + w.r.IntN(40))
		w.compact(func(in event.Interaction) bool { return in.Recipient == gone })
		return "compact and erase"
	case 5:
		w.consent()
		return "consent"
	case 6:
		age := time.Duration(w.r.IntN(2)*(30+w.r.IntN(300))) * 24 * time.Hour
		w.world.setRules(func(r *Rules) { r.MaxAge = age })
		return "age limit"
	case 7:
		w.now = w.now.Add(time.Duration(w.r.IntN(3*24*60)) * time.Minute)
		return "time passes"
	case 8:
		return w.damage()
	case 9:
		n := event.RecipientID(len(o.recipients) + 1)
		o.recipients = append(o.recipients, registry.Recipient{ID: n, Address: fmt.Sprintf("p%d@Example%d.com", n, n%4)})
		return "a recipient becomes known"
	case 10:
		return w.changeEmail()
	case 11:
		runs := !w.with.runs.Load()
		w.with.runs.Store(runs)
		return fmt.Sprintf("Run runs is %v", runs)
	case 12:
		w.with.readyAll(w.t.Context())
		return "made ready"
	case 13:
		return w.begin()
	}
	if w.r.IntN(2) == 0 {
		if err := w.with.Forget(w.t.Context(), 1); err != nil {
			w.t.Fatal(err)
		}
		return "forget"
	}
	if err := w.with.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.with = w.open()
	return "restart"
}

// changeEmail changes an email, or registers one of which there are events already.
func (w *twins) changeEmail() string {
	o := w.world.org(1)
	e := o.emails[w.r.IntN(len(o.emails))]
	if unknown := event.EmailID(15); w.r.IntN(2) == 0 && !slices.ContainsFunc(o.emails, func(e registry.Email) bool { return e.ID == unknown }) {
		e = registry.Email{ID: unknown, CreatedAt: 1e15}
	}
	e.Template = []string{"", "news", "welcome"}[w.r.IntN(3)]
	e.Follow = []registry.FollowState{"on", "off"}[w.r.IntN(2)]
	o.emails = append(slices.Clip(o.emails), e)
	return "an email changes"
}

// fallsBack reports whether q is one that rollups may leave to events.
func fallsBack(q Request) bool {
	all := q.Params["email"] == ""
	return q.Params["by"] == "network" || q.Name == "time_to_first" && all ||
		q.Name == "email_timeline" && all && (q.Params["bucket"] == "hour" || q.Params["bucket"] == "minute")
}

// rolls reports whether q is answered from rollups.
func (w *twins) rolls(q Request) bool { return w.fromRollups(q) != nil }

// fromRollups answers q from rollups, nil if it has to read events.
func (w *twins) fromRollups(q Request) (rows []map[string]any) {
	s, err := w.with.store(1)
	if err != nil {
		w.t.Fatal(err)
	}
	asked, err := w.with.question(w.t.Context(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := s.leaseFor(w.t.Context(), (*Rules).readable, func(l *lease) (bool, error) {
		res, err := s.roll(w.t.Context(), l, &asked)
		if res != nil {
			rows = rowsOf(w.t, res, nil)
		}
		return true, err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	l.release()
	return rows
}

func (w *twins) flush(n int) {
	o := w.world.org(1)
	var rows []event.Interaction
	for _, e := range o.tail[:n] {
		rows = append(rows, e.in)
	}
	w.world.flush(1, n)
	if n > 0 {
		w.rows[o.files[len(o.files)-1]] = rows
	}
}

// compact replaces some files by one, without the rows of whom gone says, mostly with
// its rollup, which comes in before the file does, and perhaps damaged.
func (w *twins) compact(gone func(event.Interaction) bool) {
	defer w.prune()
	if w.r.IntN(3) == 0 {
		w.merged(gone)
		return
	}
	w.replace(func(dir string) string {
		before := slices.Clone(w.world.org(1).files)
		path := w.merged(gone)
		if path == "" || w.r.IntN(5) == 0 {
			return path
		}
		w.made(dir, path)
		switch w.r.IntN(4) {
		case 0:
			w.damage()
		case 1:
			after := w.world.org(1).files
			w.world.org(1).replace(slices.DeleteFunc(before, func(f string) bool { return !slices.Contains(after, f) }))
			res, err := w.with.KPI(w.t.Context(), w.question()) // as if only the old files had gone
			rowsOf(w.t, res, err)
			w.world.org(1).replace(after)
		}
		return path
	})
}

// merged replaces all or some files by one, which it returns. The files themselves
// are still there, until prune.
func (w *twins) merged(gone func(event.Interaction) bool) string {
	o := w.world.org(1)
	var rows []event.Interaction
	var kept []string
	for _, path := range o.files {
		if w.r.IntN(3) == 0 {
			kept = append(kept, path)
			continue
		}
		rows = append(rows, w.rows[path]...)
		delete(w.rows, path)
	}
	o.replace(kept)
	if rows = slices.DeleteFunc(rows, gone); len(rows) == 0 {
		return ""
	}
	w.serial++
	folders, err := w.world.folders(1)
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(folders[0], fmt.Sprintf("merged-%d.parquet", w.serial))
	if err := writeFile(path, rows); err != nil {
		w.t.Fatal(err)
	}
	w.rows[path] = rows
	o.replace(append(slices.Clip(o.files), path))
	return path
}

// prune removes files that are not in the table.
func (w *twins) prune() {
	o := w.world.org(1)
	folders, err := w.world.folders(1)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(folders[0], "*.parquet"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range all {
		if slices.Contains(o.files, path) {
			continue
		}
		if err := os.Remove(path); err != nil {
			w.t.Fatal(err)
		}
	}
}

// consent changes for a few, or the kind of it for all.
func (w *twins) consent() {
	rules := randomRules(w.r)
	if w.r.IntN(3) > 0 {
		before, _ := w.world.rules(1)
		lists := map[event.Kind][]event.RecipientID{}
		for _, kind := range Purposes() {
			members := before.Consent.Denied
			if before.Consent.OptIn {
				members = before.Consent.Granted
			}
			lists[kind] = append(slices.Collect(members(kind)), event.RecipientID(1+w.r.IntN(45)))
			if len(lists[kind]) > 5 {
				lists[kind] = lists[kind][2:]
			}
		}
		rules.Consent = consentOf(0, before.Consent.OptIn, lists)
	}
	w.serial++
	rules.Consent.Version = uint64(w.serial)
	w.world.setRules(func(r *Rules) { r.Consent = rules.Consent })
}

// damage harms a rollup while it may be open, or removes it.
func (w *twins) damage() string {
	paths := w.rollups()
	if len(paths) == 0 {
		return "no damage"
	}
	path := paths[w.r.IntN(len(paths))]
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	what := "removed"
	switch w.r.IntN(3) {
	case 0:
		what, data = "cut", data[:w.r.IntN(len(data))]
	case 1:
		what = "changed"
		data[w.r.IntN(len(data))] ^= 1 << w.r.IntN(8)
	default:
		if err := os.Remove(path); err != nil {
			w.t.Fatal(err)
		}
		return what
	}
	// In place, so that it is the very file that is open.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(data, 0)
		err = errors.Join(err, f.Truncate(int64(len(data))), f.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return what
}

// rollups returns what lies in the folder of rollups.
func (w *twins) rollups() (paths []string) {
	err := filepath.WalkDir(filepath.Join(w.world.root, "rollups"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return paths
}

// question is a random one of those that rollups serve.
func (w *twins) question() Request {
	q := Request{Org: 1, Persons: true, Params: map[string]string{}}
	q.Name = slices.Sorted(maps.Keys(rolledKPIs))[w.r.IntN(len(rolledKPIs))]
	maybe := func(name string, n int) {
		if w.r.IntN(2) == 0 {
			q.Params[name] = fmt.Sprint(1 + w.r.IntN(n))
		}
	}
	k, err := w.with.find(q.Name)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range k.Params {
		switch {
		case p.Name == "recipient":
			maybe(p.Name, 44)
		case p.Type == "id":
			maybe(p.Name, 15)
		case p.Name == "limit":
			maybe(p.Name, 20)
		case p.Type == "choice":
			q.Params[p.Name] = p.Choices[w.r.IntN(len(p.Choices))]
		case p.Type == "zone":
			q.Params[p.Name] = []string{"UTC", "organisation", "Europe/Berlin", "Australia/Lord_Howe"}[w.r.IntN(4)]
		case p.Type == "time" && w.r.IntN(2) == 0:
			q.Params[p.Name] = []string{"2026-03-01T00:00:00Z", "2026-09-01T12:00:00Z"}[w.r.IntN(2)]
		case p.Name == "window", p.Name == "weeks":
			maybe(p.Name, 60)
		case p.Name == "template" && w.r.IntN(2) == 0:
			q.Params[p.Name] = []string{"news", "welcome", "none"}[w.r.IntN(3)]
		}
	}
	return q
}
