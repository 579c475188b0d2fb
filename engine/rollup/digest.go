package rollup

import (
	"hash/fnv"

	"mailwake/engine/event"
)

// A digest stands for what is counted of some events, in whatever order and however
// they are spread over files: it is the sum of the digests of all of them. A merge
// that leaves nothing out and changes nothing leaves each email's digest as it was.

// sum is the part of a digest that the shape makes. It is the same in every process.
func (s *Shape) sum() uint64 {
	w := &writer{}
	w.shape(s)
	h := fnv.New64a()
	_, _ = h.Write(w.buf)
	return mix(h.Sum64())
}

// digest is that of one event of an email; shape is its shape's sum.
func (e *Event) digest(shape uint64) uint64 {
	d := mix(shape ^ uint64(e.Recipient)) //nolint:gosec // any bits do
	d = mix(d ^ uint64(e.At))             //nolint:gosec // likewise
	d = mix(d ^ uint64(e.Component))      //nolint:gosec // likewise
	if e.ID < 0 {
		d = mix(mix(d^uint64(e.ID)) ^ uint64(e.Received)) //nolint:gosec // likewise
	}
	return d
}

// mix maps each number to another one, of which every bit depends on every bit.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sumOf is the digest of all events of the files.
func sumOf(files []*File) (sum uint64) {
	for _, f := range files {
		sum += f.digest
	}
	return sum
}

// different returns the emails of which before and after do not hold the same.
func different(before, after []*File) map[event.EmailID]struct{} {
	digests := map[event.EmailID]uint64{}
	for _, f := range after {
		for i := range f.emails {
			digests[f.emails[i].email] += f.emails[i].digest
		}
	}
	for _, f := range before {
		for i := range f.emails {
			digests[f.emails[i].email] -= f.emails[i].digest
		}
	}
	emails := map[event.EmailID]struct{}{}
	for email, d := range digests {
		if d != 0 {
			emails[email] = struct{}{}
		}
	}
	return emails
}
