package retention

import (
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// Counts says what a rewrite did to rows.
type Counts struct {
	Read         int64 `json:"rows_read"`
	Written      int64 `json:"rows_written"`
	Aged         int64 `json:"rows_aged"`                    // left out: past the greatest age
	Refused      int64 `json:"rows_refused"`                 // left out: their recipient refuses
	WhileRefused int64 `json:"rows_collected_while_refused"` // left out: should never have been collected
	Erased       int64 `json:"rows_erased"`
	Agents       int64 `json:"user_agents_nulled"`
	Relabelled   int64 `json:"rows_relabelled"`
}

func (c *Counts) add(o Counts) {
	c.Read, c.Written, c.Aged, c.Refused = c.Read+o.Read, c.Written+o.Written, c.Aged+o.Aged, c.Refused+o.Refused
	c.WhileRefused, c.Erased = c.WhileRefused+o.WhileRefused, c.Erased+o.Erased
	c.Agents, c.Relabelled = c.Agents+o.Agents, c.Relabelled+o.Relabelled
}

// cull decides which rows a rewrite leaves out.
type cull struct {
	policy *Policy // what it is made of
	at     time.Time

	before  event.Micros // rows that occurred earlier go; 0: none does
	agents  event.Micros // user agents of rows that occurred earlier go
	marked  []uint64     // bit set of the recipients in refused
	refused map[event.RecipientID]standing
}

// standing is what is known of one recipient.
type standing struct {
	erased   bool
	purposes registry.Purposes
	since    event.Micros
	strike   bool // rows from before since go as well
}

// cull returns the decision at now.
func (p *Policy) cull(now time.Time) *cull {
	c := &cull{policy: p, at: now, agents: event.At(now) - days(agentDays), refused: map[event.RecipientID]standing{}}
	if before, limited := p.oldest(now); limited {
		c.before = before
	}
	for _, r := range p.Refusals {
		c.put(r.Recipient, standing{purposes: r.Purposes, since: r.Since})
	}
	for _, r := range p.striking(now) {
		c.put(r.Recipient, standing{purposes: r.Purposes, since: r.Since, strike: true})
	}
	for _, r := range p.Erased {
		c.put(r, standing{erased: true})
	}
	return c
}

func (c *cull) put(r event.RecipientID, s standing) {
	for int(r/64) >= len(c.marked) {
		c.marked = append(c.marked, 0)
	}
	c.marked[r/64] |= 1 << (r % 64)
	c.refused[r] = s
}

func (c *cull) has(r int64) bool {
	i := r / 64
	return i >= 0 && i < int64(len(c.marked)) && c.marked[i]>>(r%64)&1 != 0
}

func (c *cull) holds(r event.RecipientID) bool { return c.has(int64(r)) }

// overlaps reports whether f can hold rows of any of the recipients.
func (c *cull) overlaps(f *lake.File) bool {
	for r := f.MinRecipient; r <= f.MaxRecipient && int(r/64) < len(c.marked); r++ {
		if c.marked[r/64] == 0 {
			r |= 63
			continue
		}
		if c.has(int64(r)) {
			return true
		}
	}
	return false
}

// kinds maps the codes of kinds to their purposes.
type kinds struct {
	texts *lake.Texts
	known map[lake.Code]registry.Purpose
}

func newKinds(texts *lake.Texts) *kinds {
	k := &kinds{texts: texts, known: map[lake.Code]registry.Purpose{}}
	for i, name := range event.Kinds() {
		k.known[texts.Code(name)] = registry.PurposeOf(event.Kind(i)) //nolint:gosec // ten kinds
	}
	return k
}

// verdict is what becomes of a row.
type verdict uint8

const (
	keep verdict = iota
	aged
	refused
	whileRefused
	erased
)

// of decides about row i, whatever its age.
func (c *cull) of(rows *lake.Rows, i int, k *kinds) verdict {
	r := rows.Longs[lake.RecipientID][i]
	if !c.has(r) {
		return keep
	}
	s := c.refused[event.RecipientID(r)]
	switch {
	case s.erased:
		return erased
	case !s.purposes.Has(k.known[rows.Texts[lake.Kind][i]]):
		return keep
	case rows.Received(i) > s.since:
		return whileRefused
	case s.strike:
		return refused
	}
	return keep
}

// apply leaves out the rows of rows[:n] that c strikes out, nulls old user agents,
// and returns how many rows stay. Rows from n on are not touched.
func (c *cull) apply(rows *lake.Rows, n int, k *kinds, counts *Counts) int {
	times, agents := rows.Longs[lake.OccurredAt], rows.Texts[lake.UserAgent]
	kept, from := 0, 0 // rows [from, i) stay and belong at kept
	for i := range n {
		if agents[i] != 0 && event.Micros(times[i]) < c.agents {
			agents[i] = 0
			counts.Agents++
		}
		v := keep
		if len(c.marked) > 0 {
			v = c.of(rows, i, k)
		}
		if v != erased && event.Micros(times[i]) < c.before {
			v = aged
		}
		if v == keep {
			continue
		}
		counts.note(v)
		if kept != from {
			rows.Move(kept, from, i)
		}
		kept += i - from
		from = i + 1
	}
	if kept != from {
		rows.Move(kept, from, n)
	}
	return kept + n - from
}

func (c *Counts) note(v verdict) {
	switch v {
	case aged:
		c.Aged++
	case refused:
		c.Refused++
	case whileRefused:
		c.WhileRefused++
	case erased:
		c.Erased++
	}
}
