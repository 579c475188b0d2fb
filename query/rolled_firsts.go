package query

import (
	"fmt"
	"slices"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// wait is how long somebody took, or was waited for: twice the time, and one more
// for who took it.
type wait int64

// firstKinds are what time_to_first has rows for.
var firstKinds = [3]event.Kind{event.Open, event.Click, event.Reply}

// firstRows are the rows of a question: they stay while nothing happens.
type firstRows struct {
	question string
	rows     [][]any
}

func (r *roller) firsts() error {
	email := event.EmailID(r.id("email"))
	if email == 0 {
		return errNoRollup // all pairs would have to be sorted
	}
	at, _ := r.args["now"].(time.Time)
	now, window := event.At(at), event.Micros(r.id("window"))*aDay
	// Nothing is counted; it is asked whether anything has changed.
	t, err := r.tally("firsts", rollup.Counting{Email: email, Pair: func(*rollup.Tally, event.EmailID, event.RecipientID, []rollup.Fact) {}})
	if err != nil {
		return err
	}
	question := fmt.Sprint(now, window)
	if known, ok := t.Memo.(*firstRows); ok && known.question == question {
		r.rows = known.rows
		return nil
	}
	var waits [3][]wait
	shapes := r.state.Shapes()
	err = r.state.Facts(email, func(_ event.RecipientID, facts []rollup.Fact) {
		start, firsts, ok := firstsOf(shapes, facts)
		if !ok {
			return
		}
		limit := min(max(now-start, 0), window)
		for i, first := range firsts {
			w := wait(2 * limit)
			if took := max(first-start, 0); first != never && took <= limit {
				w = wait(2*took + 1)
			}
			waits[i] = append(waits[i], w)
		}
	})
	if err != nil {
		return err
	}
	if n := int64(len(waits[0])); n > 0 {
		for i, list := range waits {
			seen := int64(0)
			for _, w := range list {
				seen += int64(w & 1)
			}
			row := []any{firstKinds[i].String(), n, n, seen, n - seen, nil, nil, nil}
			quantiles(row[5:], list)
			r.rows = append(r.rows, row)
		}
	}
	t.Memo = &firstRows{question, r.rows}
	return nil
}

// never is after all times.
const never = event.Micros(1<<63 - 1)

// firstsOf returns when waiting for a recipient began and when a person opened,
// clicked and replied first, unless they were sent nothing or it bounced.
func firstsOf(shapes []rollup.Shape, facts []rollup.Fact) (start event.Micros, firsts [3]event.Micros, ok bool) {
	sent, delivered := never, never
	firsts = [3]event.Micros{never, never, never}
	for _, f := range facts {
		s := &shapes[f.Shape]
		switch s.Kind {
		case event.Sent:
			sent = min(sent, f.At)
		case event.Delivered:
			delivered = min(delivered, f.At)
		case event.Bounced:
			return 0, firsts, false
		}
		if i := slices.Index(firstKinds[:], s.Kind); i >= 0 && s.Human() {
			firsts[i] = min(firsts[i], f.At)
		}
	}
	if start = sent; delivered != never {
		start = delivered
	}
	return start, firsts, sent != never
}

// quantiles puts the Kaplan-Meier quantiles of 0.5, 0.75 and 0.9 into to, in
// seconds.
func quantiles(to []any, list []wait) {
	slices.Sort(list)
	s := 1.0
	for from := 0; from < len(list); {
		end, seen := from, 0
		for ; end < len(list) && list[end]>>1 == list[from]>>1; end++ {
			seen += int(list[end] & 1)
		}
		s *= 1 - float64(seen)/float64(len(list)-from)
		for i, q := range [3]float64{0.5, 0.25, 0.1} {
			if to[i] == nil && s <= q+1e-9 {
				to[i] = float64(list[from]>>1) / 1e6
			}
		}
		from = end
	}
}
