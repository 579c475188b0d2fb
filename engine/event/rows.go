package event

import (
	"encoding/binary"
	"iter"
)

// Rows are events of one organisation in the codec of the log, to be appended
// together. Texts are most of a row and many events share theirs, so they are
// written once: a row whose texts an earlier one has is
//
//	version u8 = 2, then as AppendRow up to component | back uvarint
//
// and has the texts of the back-th last row before it that has its own. Both are in
// one group of the log, where a Decoder reads them.
type Rows struct {
	org  OrgID
	data []byte
	ends []uint32 // of each row in data
	own  int      // rows with texts of their own
}

// NewRows returns empty Rows.
func NewRows(org OrgID) *Rows { return &Rows{org: org} }

// Texts stand for the texts of events that share them, within one Rows. The zero
// value is of texts that no row has yet.
type Texts struct{ own int }

// Grow makes room for n more events that share their texts with others.
func (r *Rows) Grow(n int) {
	const typical = 32 // bytes of a row without texts
	if need := len(r.data) + n*typical; need > cap(r.data) {
		r.data = append(make([]byte, 0, max(need, 2*cap(r.data))), r.data...)
	}
	if need := len(r.ends) + n; need > cap(r.ends) {
		r.ends = append(make([]uint32, 0, max(need, 2*cap(r.ends))), r.ends...)
	}
}

// Add appends an event and sets its Org. The texts of in count if texts is the zero
// value, and are then what texts stands for. It fails as in.Check does, and then
// adds nothing.
func (r *Rows) Add(in *Interaction, texts *Texts) error {
	in.Org = r.org
	if err := in.Check(); err != nil {
		return err
	}
	if texts.own == 0 {
		r.data = AppendRow(r.data, in)
		r.own++
		texts.own = r.own
	} else {
		r.data = appendFixed(r.data, backRow, in)
		r.data = binary.AppendUvarint(r.data, uint64(r.own-texts.own+1)) //nolint:gosec // texts are of a row before
	}
	r.ends = append(r.ends, uint32(len(r.data))) //nolint:gosec // a group of the log is smaller
	return nil
}

// Len returns the number of events.
func (r *Rows) Len() int { return len(r.ends) }

// Org returns the organisation of all events.
func (r *Rows) Org() OrgID { return r.org }

// All yields the rows as they go into the log.
func (r *Rows) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		start := uint32(0)
		for _, end := range r.ends {
			if !yield(r.data[start:end:end]) {
				return
			}
			start = end
		}
	}
}
