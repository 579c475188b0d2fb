package bench

import (
	"math/rand/v2"
	"time"

	"mailwake/engine/event"
)

// Codes of the columns that are coded by dictionary; they count from 0.
const noCode = -1

// dayMicros is a day in the unit of events.
const dayMicros = int64(24 * time.Hour / time.Microsecond)

// rows collects events column by column, as Arrow wants them. An agent or an
// actor of noCode is not said.
type rows struct {
	at, email, recipient []int64
	component            []int32
	kind, agent, actor   []int8
}

func (r *rows) len() int { return len(r.at) }

func (r *rows) reset() {
	r.at, r.email, r.recipient = r.at[:0], r.email[:0], r.recipient[:0]
	r.component = r.component[:0]
	r.kind, r.agent, r.actor = r.kind[:0], r.agent[:0], r.actor[:0]
}

func (r *rows) add(kind event.Kind, at int64, m *mail, recipient int64, component int32, agent, actor int8) {
	r.at, r.email, r.recipient = append(r.at, at), append(r.email, int64(m.id)), append(r.recipient, recipient)
	r.component = append(r.component, component)
	r.kind = append(r.kind, int8(kind))
	r.agent, r.actor = append(r.agent, agent), append(r.actor, actor)
}

// maker makes the events of a plan, full batches at a time.
type maker struct {
	plan  *worldPlan
	batch int
	rows  rows
	left  int64
	flush func(*rows) bool
	done  bool
}

// make calls flush with batches of so many rows, the last one shorter, until all
// events are made or flush returns false. flush must not keep the rows.
func (p *worldPlan) make(batch int, flush func(*rows) bool) {
	m := maker{plan: p, batch: batch, left: p.Events, flush: flush}
	p.days(func(day int, live []mail) bool {
		for i := range live {
			// Each email's day has numbers of its own, so that nothing depends on order.
			pcg := rand.NewPCG(p.Seed^uint64(live[i].id)<<20, uint64(day)) //nolint:gosec // both are positive
			if age := day - live[i].day; age == 0 {
				m.sent(&live[i], rand.New(pcg))
				m.opens(&live[i], rand.New(pcg), 0)
			} else {
				m.opens(&live[i], rand.New(pcg), age)
			}
			if m.done {
				return false
			}
		}
		return true
	})
	if !m.done && m.rows.len() > 0 {
		flush(&m.rows)
	}
}

// add counts an event and hands a full batch on.
func (m *maker) add(kind event.Kind, at int64, mail *mail, recipient int64, component int32, agent, actor int8) {
	if m.done {
		return
	}
	m.rows.add(kind, at, mail, recipient, component, agent, actor)
	m.left--
	if m.rows.len() == m.batch || m.left == 0 {
		m.done = !m.flush(&m.rows) || m.left == 0
		m.rows.reset()
	}
}

// sent makes what happens to each copy at once: it is sent, delivered or bounces;
// a prefetcher opens one in six, a gateway opens and tries all links and files of one in 25.
func (m *maker) sent(mail *mail, random *rand.Rand) {
	start := worldStart.UnixMicro() + int64(mail.day)*dayMicros + mail.at
	for i := 0; i < mail.size && !m.done; i++ {
		person := mail.recipient(i, m.plan.People)
		at := start + int64(i)*200 // 5,000 copies a second
		dice := random.Uint64()
		m.add(event.Sent, at, mail, person, 0, noCode, noCode)
		at += int64(dice >> 44) // up to a second
		if dice&1023 < 20 {
			m.add(event.Bounced, at, mail, person, 0, noCode, noCode)
			continue
		}
		if dice&1023 < 700 { // many systems do not report a delivery
			m.add(event.Delivered, at, mail, person, 0, noCode, noCode)
		}
		if dice>>10&1023 < 170 {
			m.add(event.Open, at+int64(dice>>36), mail, person, 0, prefetchers.pick(dice>>20), noCode)
		}
		if dice>>20&1023 < 41 {
			agent := scanners.pick(dice >> 30)
			m.add(event.Open, at+1000, mail, person, 0, agent, actorScanner)
			for link := range int32(maxLinks) {
				m.add(event.Click, at+2000+int64(link)*900, mail, person, link+1, agent, actorScanner)
			}
			for file := range len(worldFiles) {
				m.add(event.AttachmentView, at+5000+int64(file)*900, mail, person, int32(file)+1, agent, actorScanner) //nolint:gosec // two files
			}
		}
	}
}

// opens makes what people do on one day of an email's life. Three in ten never
// react; those who do mostly use the same client.
func (m *maker) opens(mail *mail, random *rand.Rand, age int) {
	today := worldStart.UnixMicro() + int64(mail.day+age)*dayMicros
	count := float64(mail.size) * 0.55 * opensOn[age]
	n := int(count)
	if random.Float64() < count-float64(n) {
		n++
	}
	for ; n > 0 && !m.done; n-- {
		dice := random.Uint64()
		i := int(uint64(mail.size) * (dice & 0xffff) / 0x10000 * 7 / 10) //nolint:gosec // below mail.size
		person := mail.recipient(i, m.plan.People)
		at := today + hourOf(dice>>16) + int64(dice>>32)%int64(time.Hour/time.Microsecond)
		if age == 0 {
			at = max(at, today+mail.at+int64(i)*200+int64(dice>>40))
		}
		agent := readers.of(person, dice>>50)
		m.add(event.Open, at, mail, person, 0, agent, noCode)
		what := random.Uint64()
		if what&1023 < 130 {
			m.add(event.Click, at+int64(what>>40), mail, person, int32(what>>20&3%maxLinks)+1, browsers.of(person, what>>50), noCode)
		}
		switch what >> 10 & 1023 {
		case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14:
			m.add(event.AttachmentView, at+int64(what>>38), mail, person, int32(what>>24)&1+1, browsers.of(person, what>>50), noCode) //nolint:gosec // one bit
		case 15, 16, 17, 18, 19, 20, 21, 22:
			m.add(event.Reply, at+int64(what>>34), mail, person, 0, noCode, actorHuman)
		case 23, 24:
			m.add(event.Unsubscribed, at+int64(what>>40), mail, person, 0, noCode, noCode)
		case 25:
			m.add(event.Complained, at+int64(what>>40), mail, person, 0, noCode, noCode)
		}
	}
}

// hourOf spreads what people do over the day: most from 7 to 22 o'clock, UTC.
func hourOf(dice uint64) int64 {
	hour := dice & 15
	if hour < 15 {
		hour += 7
	} else {
		hour = dice >> 4 & 7
	}
	return int64(hour) * int64(time.Hour/time.Microsecond)
}
