package retention

import (
	"bytes"
	"context"
	"iter"
	"os"
	"slices"
	"time"

	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/query"
)

// fact is one event that was appended, known by its id.
type fact struct {
	in     event.Interaction
	marker string // its Client, which no other event has
	node   *node
	// inFiles: a flush took it to the table, or it was seen there.
	inFiles bool
	// mayBeFlushed: an erasure moved what was buffered, or failed at it.
	mayBeFlushed bool
	mayGo        bool // some maintenance may have left it out
	gone         bool // it was, and stays out
	mayNull      bool // some maintenance may have nulled its user agent
	nulled       bool
}

// model is what was promised.
type model struct {
	facts    map[int64]*fact // by id
	refusals map[event.RecipientID]registry.Refusal
	changes  uint64 // of refusals
	policy   registry.Policy
}

// registryOf answers the Keeper with the model's refusals and policy.
type registryOf struct{ w *world }

func (r registryOf) Snapshot() *registry.Snapshot { return r.w.reg.Snapshot() }

func (r registryOf) ErasedRecipients(org event.OrgID) []event.RecipientID {
	return r.w.reg.ErasedRecipients(org)
}

func (r registryOf) Refusals(context.Context, event.OrgID) iter.Seq2[registry.Refusal, error] {
	return func(yield func(registry.Refusal, error) bool) {
		for _, refusal := range r.w.model.refusals {
			if !yield(refusal, nil) {
				return
			}
		}
	}
}

// fates says what maintenance at now may do to f, and what it must have done when
// it succeeds.
func (m *model) fates(f *fact, erased []event.RecipientID, now time.Time) (mayGo, mustGo, mayNull, mustNull bool) {
	at := func(days int) event.Micros { return event.At(now.Add(-time.Duration(days) * 24 * time.Hour)) }
	if max := m.policy.MaxAgeDays; max > 0 {
		mayGo, mustGo = f.in.OccurredAt < at(max), f.in.OccurredAt < at(max+1)
	}
	if r, ok := m.refusals[f.in.Recipient]; ok && r.Purposes.Has(registry.PurposeOf(f.in.Kind)) {
		strike := m.policy.OnWithdrawal == registry.WithdrawalPurges || r.Since <= at(m.policy.HideDays)
		if f.in.ReceivedAt > r.Since || strike {
			mayGo, mustGo = true, true
		}
	}
	if slices.Contains(erased, f.in.Recipient) {
		mayGo, mustGo = true, true
	}
	return mayGo, mustGo, f.in.OccurredAt < at(30), f.in.OccurredAt < at(34)
}

// maintained notes a run of the Keeper, before it (done false) or after it worked.
func (w *world) maintained(done bool) {
	erased, erasing := w.reg.ErasedRecipients(w.org), len(w.erasures()) > 0
	for _, f := range w.model.facts {
		f.mayBeFlushed = f.mayBeFlushed || erasing && f.node == w.nodes[0]
		mayGo, mustGo, mayNull, mustNull := w.model.fates(f, erased, w.now)
		f.mayGo, f.mayNull = f.mayGo || mayGo, f.mayNull || mayNull
		if done && f.inFiles {
			f.gone, f.nulled = f.gone || mustGo, f.nulled || mustNull
		}
	}
}

// check compares a View of n with the model, and returns all that it has.
func (w *world) check(n *node) (rows []event.Interaction) {
	v, err := n.eng.View(context.Background(), w.org)
	if err != nil {
		w.t.Errorf("view on node %d: %v", n.id, err)
		return nil
	}
	defer v.Close()
	w.tally.views++
	seen := map[int64]bool{}
	rows = w.content(v)
	for _, in := range rows {
		w.see(n, in, true, seen)
	}
	for _, in := range v.Rows(0) {
		w.see(n, *in, false, seen)
		one := *in
		one.Org = 0
		rows = append(rows, one)
	}
	for id, f := range w.model.facts {
		if seen[id] || f.gone || f.node != n && !f.inFiles {
			continue
		}
		if !f.mayGo || !f.inFiles && !f.mayBeFlushed {
			w.t.Errorf("event %d of node %d is lost", id, f.node.id)
			continue
		}
		f.gone = true
	}
	return rows
}

// see holds one row of a View against the model.
func (w *world) see(n *node, in event.Interaction, inFile bool, seen map[int64]bool) {
	f := w.model.facts[in.ID]
	if f == nil || seen[in.ID] {
		w.t.Errorf("event %d shows twice, or was never appended: %+v", in.ID, in)
		return
	}
	seen[in.ID] = true
	switch {
	case !inFile && (f.inFiles || f.node != n):
		w.t.Errorf("event %d is in the tail of node %d", in.ID, n.id)
	case f.gone && inFile:
		w.t.Errorf("event %d is back: %+v", in.ID, in)
	}
	f.inFiles = f.inFiles || inFile
	want := f.in
	want.Org, in.Org = 0, 0
	if in.UserAgent == "" && f.mayNull && inFile {
		want.UserAgent, f.nulled = "", true
	} else if f.nulled && inFile && want.UserAgent != "" {
		w.t.Errorf("event %d has its user agent still, or again", in.ID)
	}
	if in.Actor != want.Actor && in.Actor == w.judged(f) && inFile {
		want.Actor, want.Reason = in.Actor, in.Reason
	}
	if in != want {
		w.t.Errorf("event shows as\n%+v, want\n%+v", in, want)
	}
}

// judged is the actor of f when all its neighbours are looked at.
func (w *world) judged(f *fact) event.Actor {
	var group []event.Interaction
	for _, o := range w.model.facts {
		if o.in.Email == f.in.Email && o.in.Recipient == f.in.Recipient {
			group = append(group, o.in)
		}
	}
	slices.SortFunc(group, order)
	judge(group)
	i := slices.IndexFunc(group, func(e event.Interaction) bool { return e.ID == f.in.ID })
	if group[i].Actor == event.Scanner && f.in.Actor != event.Scanner {
		if r := group[i].Reason; r != classify.ReasonBurst && r != classify.ReasonManyNetworks && r != classify.ReasonGatewayAtDelivery {
			w.t.Errorf("judged a scanner for %q", r)
		}
	}
	return group[i].Actor
}

// content reads the files of a View.
func (w *world) content(v query.View) (out []event.Interaction) {
	for _, path := range v.Files() {
		data, err := os.ReadFile(path)
		known, ok := w.parsed[path]
		if !ok || !bytes.Equal(data, known.data) {
			known.data = data
			if err == nil {
				known.rows, err = readParquet(path)
			}
			w.parsed[path] = known
		}
		if err != nil {
			w.t.Errorf("a file of a view: %v", err)
		}
		out = append(out, known.rows...)
	}
	return out
}
