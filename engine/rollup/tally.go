package rollup

import (
	"errors"
	"math"

	"mailwake/engine/event"
)

// Counting says what a Tally counts of a pair: Pair calls its methods for what may
// be shown of one email and recipient. It may depend on nothing else, or what a
// pair counted for could not be taken back.
type Counting struct {
	Email event.EmailID // only of this one; 0: of all
	Width int           // numbers of a group
	// Edition changes when Pair may count what it counted before in another way.
	Edition int
	// Moves says that a pair with more events may leave a group that its person was
	// counted in.
	Moves bool
	Pair  func(t *Tally, email event.EmailID, r event.RecipientID, facts []Fact)
}

// Tally is what is counted of pairs, by groups: so many numbers, when something
// happened first and last, and of how many people there is anything. It is made of
// all pairs once, and then follows the pairs that change.
type Tally struct {
	Counting
	places map[int64]int32
	groups []Group
	// Memo is whatever somebody made of the groups. It goes when they change.
	Memo  any
	sign  int64
	pair  uint32 // numbers pairs that are counted
	upTo  int    // entries of hot.touched that are in it
	skews int    // as they were when it was made
	asked uint64 // when last

	bytes int  // about what it takes
	most  int  // of them
	large bool // too much
	moved bool // a person may be in a group no more

	entered []int // groups that the last pair's person was counted in
}

// Group is a group of a Tally. First and Last are set where Span was called.
type Group struct {
	Key         int64
	Numbers     []int64
	People      int64
	First, Last event.Micros

	pair   []uint32 // the pair that a number was counted once of last, plus one for people
	marked []uint64 // recipients in it, unless the Tally is of one email
}

// ErrTooLarge says that a Tally would need too much memory.
var ErrTooLarge = errors.New("too much to count")

// Group returns the place of a group.
func (t *Tally) Group(k int64) int {
	i, ok := t.places[k]
	if !ok {
		i = int32(len(t.groups))
		t.places[k] = i
		t.bytes += 150 + 12*t.Width
		t.groups = append(t.groups, Group{Key: k, Numbers: make([]int64, t.Width), pair: make([]uint32, t.Width+1), First: math.MaxInt64, Last: never})
	}
	return int(i)
}

// Add adds n to a number of a group.
func (t *Tally) Add(group, number int, n int64) { t.groups[group].Numbers[number] += t.sign * n }

// Once adds 1 to a number of a group, however often it is called for a pair.
func (t *Tally) Once(group, number int) {
	g := &t.groups[group]
	if g.pair[number] != t.pair {
		g.pair[number] = t.pair
		g.Numbers[number] += t.sign
	}
}

// Person counts the recipient in a group, who counts once.
func (t *Tally) Person(group int, r event.RecipientID) {
	g := &t.groups[group]
	if g.pair[t.Width] == t.pair {
		return
	}
	g.pair[t.Width] = t.pair
	if t.Moves {
		t.entered = append(t.entered, group)
	}
	if t.Email != 0 {
		g.People += t.sign
		return
	}
	// One that is taken back comes back with more, or forget is called.
	if t.sign < 0 {
		return
	}
	word, bit := int(r>>6), uint64(1)<<(r&63)
	if grow := max(word+1-len(g.marked), 0); grow > 0 {
		grow = max(grow, len(g.marked)/4)
		if t.bytes += 8 * grow; t.bytes > t.most {
			t.large = true
			return
		}
		g.marked = append(g.marked, make([]uint64, grow)...)
	}
	if g.marked[word]&bit == 0 {
		g.marked[word] |= bit
		g.People++
	}
}

// Span says that something happened in a group.
func (t *Tally) Span(group int, at event.Micros) {
	g := &t.groups[group]
	g.First, g.Last = min(g.First, at), max(g.Last, at)
}

// Groups returns the groups, in no order. Some may have nothing in them. They are
// the caller's until the State is used again.
func (t *Tally) Groups() []Group { return t.groups }

// Of returns a group, nil if there is none.
func (t *Tally) Of(k int64) *Group {
	if i, ok := t.places[k]; ok {
		return &t.groups[i]
	}
	return nil
}

// count counts a pair, or takes it back.
func (t *Tally) count(sign int64, k key, facts []Fact) {
	if len(facts) == 0 || t.Email != 0 && t.Email != k.email {
		return
	}
	if t.pair++; t.pair == 0 { // numbers begin anew
		t.pair = 1
		for i := range t.groups {
			clear(t.groups[i].pair)
		}
	}
	t.sign, t.entered, t.Memo = sign, t.entered[:0], nil
	t.Counting.Pair(t, k.email, k.recipient, facts)
}

// forget takes a recipient out of all groups; the pairs come back.
func (t *Tally) forget(r event.RecipientID) {
	t.Memo = nil
	word, bit := int(r>>6), uint64(1)<<(r&63)
	for i := range t.groups {
		if g := &t.groups[i]; word < len(g.marked) && g.marked[word]&bit != 0 {
			g.marked[word] &^= bit
			g.People--
		}
	}
}
