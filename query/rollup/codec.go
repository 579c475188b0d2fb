package rollup

import (
	"encoding/binary"

	"mailwake/engine/event"
)

// writer encodes numbers as varints, times as differences.
type writer struct {
	buf  []byte
	time event.Micros // the last time written
}

func (w *writer) count(n uint64) { w.buf = binary.AppendUvarint(w.buf, n) }
func (w *writer) number(n int64) { w.buf = binary.AppendVarint(w.buf, n) }

func (w *writer) at(t event.Micros) {
	w.number(int64(t - w.time))
	w.time = t
}

// reader decodes what writer encoded. Bytes that no writer made set bad; what is
// read from then on means nothing.
type reader struct {
	buf  []byte
	time event.Micros
	bad  bool
}

func (r *reader) count() uint64 {
	n, size := binary.Uvarint(r.buf)
	if size <= 0 {
		r.bad, r.buf = true, nil
		return 0
	}
	r.buf = r.buf[size:]
	return n
}

func (r *reader) number() int64 {
	n, size := binary.Varint(r.buf)
	if size <= 0 {
		r.bad, r.buf = true, nil
		return 0
	}
	r.buf = r.buf[size:]
	return n
}

func (r *reader) at() event.Micros {
	r.time += event.Micros(r.number())
	return r.time
}

// counts lists the pair's counts, the most frequent ones first.
func (p *Pair) counts() [6 + 3*purposes]*uint32 {
	return [...]*uint32{
		&p.Sends, &p.Did[0].Total, &p.Did[0].Human, &p.Did[0].Machine, &p.Deliveries, &p.Did[1].Total, &p.Did[1].Human,
		&p.Did[1].Machine, &p.Did[3].Total, &p.Did[3].Human, &p.Did[2].Total, &p.Did[2].Human, &p.Bounces,
		&p.Did[2].Machine, &p.Did[3].Machine, &p.Unsubscriptions, &p.Complaints, &p.Others,
	}
}

// pair encodes p: a bit per count that is not 0, these counts, and the times that
// go with them.
func (w *writer) pair(p *Pair) {
	var mask uint64
	counts := p.counts()
	for i, n := range counts {
		if *n > 0 {
			mask |= 1 << i
		}
	}
	w.count(mask)
	for _, n := range counts {
		if *n > 0 {
			w.count(uint64(*n))
		}
	}
	if p.Sends > 0 {
		w.at(p.FirstSent)
	}
	if p.Deliveries > 0 {
		w.at(p.FirstDelivered)
	}
	for i := range p.Did {
		d := &p.Did[i]
		if d.Total == 0 {
			continue
		}
		w.at(d.First)
		w.count(uint64(d.Last - d.First))
		if d.Human > 0 {
			w.count(uint64(d.FirstHuman - d.First))
			w.count(uint64(d.Last - d.LastHuman))
		}
	}
}

func (r *reader) pair(p *Pair) {
	*p = Pair{}
	mask := r.count()
	for i, n := range p.counts() {
		if mask&(1<<i) != 0 {
			*n = uint32(r.count())
		}
	}
	if p.Sends > 0 {
		p.FirstSent = r.at()
	}
	if p.Deliveries > 0 {
		p.FirstDelivered = r.at()
	}
	for i := range p.Did {
		d := &p.Did[i]
		if d.Total == 0 {
			continue
		}
		d.First = r.at()
		d.Last = d.First + event.Micros(r.count())
		if d.Human > 0 {
			d.FirstHuman = d.First + event.Micros(r.count())
			d.LastHuman = d.Last - event.Micros(r.count())
		}
	}
}

// event encodes an event without its email.
func (w *writer) event(e *Event) {
	w.number(e.ID)
	w.at(e.At)
	w.number(int64(e.Received - e.At))
	w.count(uint64(e.Kind)<<8 | uint64(e.Actor))
}

func (r *reader) event(e *Event) {
	e.ID = r.number()
	e.At = r.at()
	e.Received = e.At + event.Micros(r.number())
	labels := r.count()
	e.Kind, e.Actor = event.Kind(labels>>8), event.Actor(labels&0xff)
}
