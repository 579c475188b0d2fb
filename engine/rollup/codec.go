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

func (r *reader) fixed() uint64 {
	if len(r.buf) < 8 {
		r.bad, r.buf = true, nil
		return 0
	}
	n := binary.LittleEndian.Uint64(r.buf)
	r.buf = r.buf[8:]
	return n
}

func (r *reader) at() event.Micros {
	r.time += event.Micros(r.number())
	return r.time
}

// fact encodes an event of a known email and recipient; code is its shape's number
// in the file.
func (w *writer) fact(f *Fact, code uint32) {
	w.count(uint64(code)<<1 | bit(f.Component != 0))
	if f.Component != 0 {
		w.number(int64(f.Component))
	}
	w.at(f.At)
}

// fact decodes one whose shape has a number in ids.
func (r *reader) fact(f *Fact, ids []uint32) {
	code := r.count()
	f.Component = 0
	if code&1 != 0 {
		f.Component = int32(r.number())
	}
	if code >>= 1; code >= uint64(len(ids)) {
		r.bad, r.buf = true, nil
		return
	}
	f.Shape = ids[code]
	f.At = r.at()
}

// facts appends what a pair has.
func (r *reader) facts(to []Fact, ids []uint32) []Fact {
	n := r.count()
	if n > uint64(len(r.buf)) {
		r.bad, r.buf = true, nil
		return to
	}
	for range n {
		to = append(to, Fact{})
		r.fact(&to[len(to)-1], ids)
	}
	return to
}

func (w *writer) text(s string) {
	w.count(uint64(len(s)))
	w.buf = append(w.buf, s...)
}

func (r *reader) text() string {
	n := r.count()
	if n > uint64(len(r.buf)) {
		r.bad, r.buf = true, nil
		return ""
	}
	s := string(r.buf[:n])
	r.buf = r.buf[n:]
	return s
}

func (w *writer) shape(s *Shape) {
	w.count(uint64(s.Kind)<<8 | uint64(s.Actor))
	for _, text := range []string{s.Device, s.Client, s.OS, s.Reason} {
		w.text(text)
	}
}

func (r *reader) shape() (s Shape) {
	labels := r.count()
	s.Kind, s.Actor = event.Kind(labels>>8), event.Actor(labels&0xff)
	for _, text := range []*string{&s.Device, &s.Client, &s.OS, &s.Reason} {
		*text = r.text()
	}
	return s
}

// report encodes an event that others reported.
func (w *writer) report(t *report, code uint32) {
	w.number(t.id)
	w.number(int64(t.received - t.At))
	w.fact(&t.Fact, code)
}

func (r *reader) report(t *report, ids []uint32) {
	t.id = r.number()
	delay := r.number()
	r.fact(&t.Fact, ids)
	t.received = t.At + event.Micros(delay)
}
