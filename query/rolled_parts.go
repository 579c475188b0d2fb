package query

import (
	"fmt"
	"slices"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// Numbers of the groups of links and attachments: how often and by how many.
const (
	partTotal = iota
	partHuman
	partMachine
	partUnique
	partByHuman
	partByMachine
	partWidth
)

func (r *roller) links() error {
	return r.parts(event.Click, func(e *knownEmail) []knownPart { return e.linkParts }, func(p *knownPart) []any { return []any{p.text} })
}

func (r *roller) attachments() error {
	return r.parts(event.AttachmentView, func(e *knownEmail) []knownPart { return e.attachedParts },
		func(p *knownPart) []any { return []any{p.text, p.mediaType, p.size, p.followed} })
}

// parts makes a row for each part of the email, or of the newest.
func (r *roller) parts(kind event.Kind, of func(*knownEmail) []knownPart, columns func(*knownPart) []any) error {
	known := r.store.known
	ids := []event.EmailID{event.EmailID(r.id("email"))}
	if ids[0] == 0 {
		ids = slices.Clone(known.ids)
		slices.Reverse(ids)
	}
	for _, id := range ids {
		e, ok := known.byID[id]
		if !ok || len(of(e)) == 0 {
			continue
		}
		sums, err := r.state.Email(id)
		if err != nil {
			return err
		}
		used, err := r.used(id, kind)
		if err != nil {
			return err
		}
		for _, p := range of(e) {
			if len(r.rows) == r.limit() {
				return nil
			}
			row := append(append([]any{int64(id), int64(p.ordinal)}, columns(&p)...), sums.Pairs, sums.Delivered)
			r.rows = append(r.rows, append(row, partRow(used.Of(int64(p.ordinal)), &sums, kind)...))
		}
	}
	return nil
}

// used counts by component.
func (r *roller) used(email event.EmailID, kind event.Kind) (*rollup.Tally, error) {
	return r.tally(fmt.Sprint("parts ", kind), rollup.Counting{Email: email, Width: partWidth,
		Pair: func(t *rollup.Tally, _ event.EmailID, _ event.RecipientID, facts []rollup.Fact) {
			shapes := r.state.Shapes()
			for _, f := range facts {
				s := &shapes[f.Shape]
				if s.Kind != kind {
					continue
				}
				g := t.Group(int64(f.Component))
				t.Add(g, partTotal, 1)
				t.Once(g, partUnique)
				if s.Human() {
					t.Add(g, partHuman, 1)
					t.Once(g, partByHuman)
					t.Span(g, f.At)
				} else if s.Machine() {
					t.Add(g, partMachine, 1)
					t.Once(g, partByMachine)
				}
			}
		}})
}

func partRow(g *rollup.Group, sums *rollup.Sums, kind event.Kind) []any {
	row := []any{int64(0), int64(0), int64(0), int64(0), int64(0), int64(0), nil, nil, nil, nil}
	if g == nil {
		g = &rollup.Group{Numbers: make([]int64, partWidth)}
	}
	for i, n := range g.Numbers {
		row[i] = n
	}
	row[6] = ratio(g.Numbers[partByHuman], sums.Delivered)
	purpose, _ := (&rollup.Shape{Kind: kind}).Purpose()
	row[7] = ratio(g.Numbers[partHuman], sums.Did[purpose].Human)
	if g.Numbers[partHuman] > 0 {
		row[8], row[9] = g.First, g.Last
	}
	return row
}

// ratio is NULL without denominator.
func ratio(a, b int64) any {
	if b == 0 {
		return nil
	}
	return float64(a) / float64(b)
}
