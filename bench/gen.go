package bench

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"mailwake/engine/event"
)

// World says which events a Generated stream holds. The same World gives the same
// events, on any machine.
type World struct {
	Seed   uint64
	Events int64
	People int // recipients, numbered from 1; 0 is what suits Events
}

const (
	worldDays = 365 // over which emails are sent
	liveDays  = 14  // an email is opened for so long
	// eventsPerSend is about how many events one recipient of one email causes, by
	// the chances below; a test holds it to what is generated.
	eventsPerSend = 2.6
	maxEmailSize  = 1_000_000
	maxLinks      = 3
	maxPeople     = 1_000_000
)

// worldStart is a Monday at midnight, UTC.
var worldStart = time.Date(2025, 6, 30, 0, 0, 0, 0, time.UTC)

// opensOn is the part of its opens that an email gets on each day after its own:
// half on the first, and then about half of what is left.
var opensOn = func() (share [liveDays]float64) {
	left := 1.0
	for day := range share {
		share[day] = left * 0.52
		left -= share[day]
	}
	share[liveDays-1] += left
	return share
}()

// mail is one email of a World: whom it goes to and when.
type mail struct {
	id     event.EmailID
	day    int   // of sending, since worldStart
	at     int64 // microseconds into that day
	size   int   // recipients
	first  int   // of them
	stride int   // to the next one, modulo the people
}

// worldPlan is what follows from a World before any event is made.
type worldPlan struct {
	World
	mails []mail // by day, then id
}

// plan draws emails until their events suffice: sizes follow a power law from 1 to
// 1,000,000, so that most are small and a few are most of the traffic.
func (w World) plan() (*worldPlan, error) {
	if w.People == 0 {
		w.People = int(min(max(w.Events/100, 100), maxPeople))
	}
	if w.Events < 1 || w.Events > 1e9 || w.People < 10 || w.People > maxPeople {
		return nil, errors.New("generate: events must be 1 to 10^9, people 10 to 1,000,000")
	}
	random := rand.New(rand.NewPCG(w.Seed, 0))
	largest := min(maxEmailSize, w.People)
	var sizes []int
	// The largest email there can be is there once; the rest is drawn.
	sends := int64(float64(w.Events)/eventsPerSend*1.15) + 10
	if int64(largest) < sends/2 {
		sizes, sends = append(sizes, largest), sends-int64(largest)
	}
	for sends > 0 {
		size := powerLaw(random, min(largest, int(sends/8+1)))
		sizes, sends = append(sizes, size), sends-int64(size)
	}
	random.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	p := &worldPlan{World: w}
	for i, size := range sizes {
		m := mail{id: event.EmailID(i + 1), day: i * worldDays / len(sizes), size: size}
		m.at = int64(7+random.IntN(11))*int64(time.Hour/time.Microsecond) + random.Int64N(int64(time.Hour/time.Microsecond))
		m.first, m.stride = random.IntN(w.People), coprime(random, w.People)
		p.mails = append(p.mails, m)
	}
	return p, nil
}

// powerLaw draws from 1 to most, with a mean of some hundreds at a most of a million.
func powerLaw(random *rand.Rand, most int) int {
	const exponent = 0.75 // of the chance to be larger
	u := 1 - random.Float64()
	return min(int(math.Pow(u, -1/exponent)*4)-3, most)
}

// coprime draws a step that reaches all people before it comes back to one.
func coprime(random *rand.Rand, people int) int {
	for {
		step := 1 + random.IntN(people-1)
		a, b := step, people
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return step
		}
	}
}

func (m *mail) recipient(i, people int) int64 {
	return int64((uint64(m.first)+uint64(i)*uint64(m.stride))%uint64(people)) + 1 //nolint:gosec // none is negative
}

// days yields, for each day, the emails that live on it.
func (p *worldPlan) days(yield func(day int, live []mail) bool) {
	from, to := 0, 0
	for day := range worldDays + liveDays {
		for to < len(p.mails) && p.mails[to].day <= day {
			to++
		}
		for from < to && p.mails[from].day <= day-liveDays {
			from++
		}
		if !yield(day, p.mails[from:to]) {
			return
		}
	}
}
