package retention

import (
	"slices"

	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// labels judges actors by their neighbours while rows pass by.
type labels struct {
	texts   *lake.Texts
	kinds   map[lake.Code]event.Kind
	actors  map[lake.Code]event.Actor
	byActor []lake.Code // of actors, by number
	hits    []classify.Hit
}

func newLabels(texts *lake.Texts) *labels {
	l := &labels{texts: texts, kinds: map[lake.Code]event.Kind{}, actors: map[lake.Code]event.Actor{}}
	for i, name := range event.Kinds() {
		l.kinds[texts.Code(name)] = event.Kind(i) //nolint:gosec // ten kinds
	}
	for i, name := range event.Actors() {
		l.actors[texts.Code(name)] = event.Actor(i) //nolint:gosec // six actors
		l.byActor = append(l.byActor, texts.Code(name))
	}
	return l
}

func (l *labels) codes() []lake.Code { return slices.Clone(l.byActor) }

// apply judges the rows [0, n) and returns how many it gave another label.
func (l *labels) apply(rows *lake.Rows, n int) (changed int64) {
	emails, recipients := rows.Longs[lake.EmailID], rows.Longs[lake.RecipientID]
	for from := 0; from < n; {
		to := from + 1
		for to < n && emails[to] == emails[from] && recipients[to] == recipients[from] {
			to++
		}
		// One alone has no neighbours.
		if to-from > 1 {
			changed += l.group(rows, from, to)
		}
		from = to
	}
	return changed
}

func (l *labels) group(rows *lake.Rows, from, to int) (changed int64) {
	l.hits = l.hits[:0]
	for i := from; i < to; i++ {
		l.hits = append(l.hits, classify.Hit{
			At: rows.Occurred(i), Kind: l.kinds[rows.Texts[lake.Kind][i]], Component: rows.Component[i],
			Network: l.texts.Value(rows.Texts[lake.Network][i]),
			Actor:   l.actors[rows.Texts[lake.Actor][i]], Reason: l.texts.Value(rows.Texts[lake.Reason][i]),
		})
	}
	if !classify.Reclassify(l.hits) {
		return 0
	}
	for i, h := range l.hits {
		actor, reason := l.byActor[h.Actor], l.texts.Code(h.Reason)
		if rows.Texts[lake.Actor][from+i] != actor || rows.Texts[lake.Reason][from+i] != reason {
			rows.Texts[lake.Actor][from+i], rows.Texts[lake.Reason][from+i] = actor, reason
			changed++
		}
	}
	return changed
}
