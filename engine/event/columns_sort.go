package event

import (
	"cmp"
	"slices"
	"time"
)

// sorted returns the places of the rows in the order of month, email, recipient,
// time of occurrence and id.
//
// Rows come nearly in the order of time, so a stable radix sort by the other
// keys leaves little: the rows of one email and recipient, a few mostly, are
// checked and sorted by comparison where they are not in order yet.
func (c *Columns) sorted() []int32 {
	order := make([]int32, c.Len())
	for i := range order {
		order[i] = int32(i) //nolint:gosec // a flush has far fewer rows
	}
	if len(order) == 0 {
		return order
	}
	spare := make([]int32, len(order))
	order, spare = radix(order, spare, c.recipient)
	c.rest()
	order, spare = radix(order, spare, c.email)
	c.rest()
	if months := c.months(); months != nil {
		order, _ = radix(order, spare, months)
	}
	byTime := func(a, b int32) int {
		return cmp.Or(cmp.Compare(c.occurred[a], c.occurred[b]), cmp.Compare(c.id[a], c.id[b]))
	}
	for from := 0; from < len(order); {
		first, to, inOrder := order[from], from+1, true
		for ; to < len(order) && c.together(first, order[to]); to++ {
			inOrder = inOrder && byTime(order[to-1], order[to]) <= 0
		}
		if !inOrder {
			slices.SortFunc(order[from:to], byTime)
		}
		from = to
	}
	c.rest()
	return order
}

// together reports rows that only time and id order. Rows of two months are never
// neighbours of one email and recipient by accident: the later month's times are
// larger, so treating them as one group keeps the months apart.
func (c *Columns) together(a, b int32) bool {
	return c.email[a] == c.email[b] && c.recipient[a] == c.recipient[b]
}

// months returns the month of each row, nil when all are of one.
func (c *Columns) months() []int64 {
	month := Micros(slices.Min(c.occurred)).Month()
	if Micros(slices.Max(c.occurred)).Month() == month {
		return nil
	}
	months := make([]int64, c.Len())
	from, to := monthStart(month), monthStart(month+1)
	for i, at := range c.occurred {
		if at < from || at >= to {
			month = Micros(at).Month()
			from, to = monthStart(month), monthStart(month+1)
		}
		months[i] = int64(month)
	}
	return months
}

// monthStart is the first microsecond of a month that Month numbers.
func monthStart(month int) int64 {
	return int64(At(time.Date(1970, time.Month(1+month), 1, 0, 0, 0, 0, time.UTC)))
}

// digit is the number of bits that radix sorts by at a time: its counters fit the
// first-level cache.
const digit = 11

// radix sorts places by values and keeps the order of equal ones. It returns the
// sorted slice and the other one.
func radix(places, spare []int32, values []int64) (sorted, other []int32) {
	least := slices.Min(values)
	span := uint64(slices.Max(values)) - uint64(least)
	for shift := 0; shift < 64 && span>>shift > 0; shift += digit {
		var starts [1 << digit]int32
		for _, p := range places {
			starts[(uint64(values[p])-uint64(least))>>shift&(1<<digit-1)]++
		}
		sum := int32(0)
		for i, n := range starts {
			starts[i] = sum
			sum += n
		}
		for _, p := range places {
			d := (uint64(values[p]) - uint64(least)) >> shift & (1<<digit - 1)
			spare[starts[d]] = p
			starts[d]++
		}
		places, spare = spare, places
	}
	return places, spare
}
