package retention

import (
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/rollup"
)

// roller makes the rollups of the files of a merge while their rows pass by. One
// that it cannot make is missing, and made by whoever wants it, who says then what
// is wrong.
type roller struct {
	dir    string // "": makes none
	most   int    // bytes of memory from which on a rollup is given up
	texts  *lake.Texts
	labels *labels
	now    *rollup.Builder // of the file being made
	failed bool
}

// rollupMemory keeps a merge below 512 MB: enough for some 15 million pairs of email
// and recipient in a file, or for two million events that others reported.
const rollupMemory = 160 << 20

// unknownKind is counted for kinds that have no number here.
const unknownKind = 255

// add counts rows of the file being made.
func (r *roller) add(rows *lake.Rows) {
	if r.dir == "" || r.failed || rows.Len() == 0 {
		return
	}
	var err error
	if r.now == nil {
		r.now, err = rollup.NewBuilder(r.dir)
	}
	for i := 0; err == nil && i < rows.Len(); i++ {
		e := r.event(rows, i)
		err = r.now.Add(&e)
	}
	r.failed = err != nil || r.now.Held() > r.most
}

func (r *roller) event(rows *lake.Rows, i int) rollup.Event {
	text := func(column int) string { return r.texts.Value(rows.Texts[column][i]) }
	kind, known := r.labels.kinds[rows.Texts[lake.Kind][i]]
	if !known {
		kind = unknownKind
	}
	return rollup.Event{
		Email: event.EmailID(rows.Longs[lake.EmailID][i]), Recipient: event.RecipientID(rows.Longs[lake.RecipientID][i]),
		ID: rows.Longs[lake.EventID][i], At: rows.Occurred(i), Received: rows.Received(i), Component: rows.Component[i],
		Shape: rollup.Shape{Kind: kind, Actor: r.labels.actors[rows.Texts[lake.Actor][i]],
			Device: text(lake.Device), Client: text(lake.Client), OS: text(lake.OS), Reason: text(lake.Reason)},
	}
}

// end gives the rollup of m its place.
func (r *roller) end(m *lake.Made) {
	if r.now != nil && !r.failed {
		_ = r.now.Finish(rollup.Source{Path: m.Name, Bytes: m.Bytes}) // as above
	}
	r.close()
	r.failed = false
}

// close gives up a rollup that has not ended.
func (r *roller) close() {
	if r.now != nil {
		_ = r.now.Abort() // who looks through the folder next removes it
		r.now = nil
	}
}
