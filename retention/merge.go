package retention

import (
	"context"
	"errors"
	"io"

	"mailwake/engine/lake"
)

// maxTexts is the size of all different texts at which those no longer in use are
// forgotten: user agents are whatever senders of requests make them.
const maxTexts = 16 << 20

// rowGroup is the number of rows written at a time; tests make it small.
var rowGroup = lake.RowGroupRows

// merger merges sorted files into sorted files, row group by row group. Rows move
// as runs of columns: from the input with the smallest row, up to where the next
// input's first row comes.
type merger struct {
	texts  *lake.Texts
	inputs []*input // a heap by the next row
	out    *lake.Encoder
	rows   lake.Rows // to be written
	labels *labels
	kinds  *kinds
	cull   *cull
	counts Counts
	roll   *roller
	told   func(rows int64) error // how many rows are done
	group  int                    // rows of a row group
}

type input struct {
	reader *lake.Reader
	rows   lake.Rows
	at     int // next row
}

// run moves all rows.
func (m *merger) run(ctx context.Context) error {
	for i := len(m.inputs) - 1; i >= 0; i-- {
		if err := m.fill(i); err != nil {
			return err
		}
	}
	for i := len(m.inputs)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	for len(m.inputs) > 0 {
		top := m.inputs[0]
		n := min(m.run1(top), m.group-m.rows.Len())
		m.rows.Append(&top.rows, top.at, top.at+n)
		m.counts.Read += int64(n)
		top.at += n
		if top.at == top.rows.Len() {
			if err := m.fill(0); err != nil {
				return err
			}
		}
		m.down(0)
		if m.rows.Len() == m.group {
			if err := m.flush(ctx, m.groupStart()); err != nil {
				return err
			}
		}
	}
	return m.flush(ctx, m.rows.Len())
}

// fill reads the next rows of input i, and takes it out when there are none. The
// last input takes its place in the heap, which the caller puts in order.
func (m *merger) fill(i int) error {
	in := m.inputs[i]
	in.at = 0
	for {
		err := in.reader.Next(&in.rows)
		if errors.Is(err, io.EOF) {
			last := len(m.inputs) - 1
			m.inputs[i] = m.inputs[last]
			m.inputs[last] = nil
			m.inputs = m.inputs[:last]
			return in.reader.Close()
		}
		if err != nil || in.rows.Len() > 0 {
			return err
		}
	}
}

func (m *merger) less(a, b *input) bool { return a.rows.Less(a.at, &b.rows, b.at) }

// down restores the heap after input i has moved on.
func (m *merger) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.inputs) {
			return
		}
		if child+1 < len(m.inputs) && m.less(m.inputs[child+1], m.inputs[child]) {
			child++
		}
		if !m.less(m.inputs[child], m.inputs[i]) {
			return
		}
		m.inputs[i], m.inputs[child] = m.inputs[child], m.inputs[i]
		i = child
	}
}

// run1 is the number of rows of the first input that come before all other inputs.
func (m *merger) run1(top *input) int {
	n := top.rows.Len() - top.at
	if len(m.inputs) == 1 {
		return n
	}
	second := m.inputs[1]
	if len(m.inputs) > 2 && m.less(m.inputs[2], second) {
		second = m.inputs[2]
	}
	// Runs are short mostly: steps that double, then halves.
	before := func(i int) bool { return !second.rows.Less(second.at, &top.rows, top.at+i) }
	low, step := 1, 1 // rows [0, low) come before second
	for low < n && before(low) {
		next := min(low+step, n)
		for next > low && !before(next-1) {
			next = low + (next-low)/2
		}
		if next == low {
			break
		}
		low, step = next, step*2
	}
	return low
}

// groupStart is where the last recipient of the last email begins: its rows may go
// on in the inputs. A single recipient with a whole row group is cut.
func (m *merger) groupStart() int {
	emails, recipients := m.rows.Longs[lake.EmailID], m.rows.Longs[lake.RecipientID]
	i := len(emails) - 1
	for i > 0 && emails[i-1] == emails[i] && recipients[i-1] == recipients[i] {
		i--
	}
	if i == 0 {
		return len(emails)
	}
	return i
}

// flush judges the first n rows, leaves out what has to go, and writes the rest.
func (m *merger) flush(ctx context.Context, n int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.counts.Relabelled += m.labels.apply(&m.rows, n)
	kept := m.cull.apply(&m.rows, n, m.kinds, &m.counts)
	rest := m.rows.Len() - n
	var after lake.Rows
	after.Append(&m.rows, n, n+rest)
	m.rows.Truncate(kept)
	m.roll.add(&m.rows) // first, since a file may end with them
	if err := m.out.Write(ctx, &m.rows); err != nil {
		return err
	}
	m.counts.Written += int64(kept)
	if err := m.told(m.counts.Read); err != nil {
		return err
	}
	m.rows.Truncate(0)
	m.rows.Append(&after, 0, rest)
	if m.texts.Bytes() > maxTexts {
		all := []*lake.Rows{&m.rows}
		for _, in := range m.inputs {
			all = append(all, &in.rows)
		}
		m.texts.Keep(m.pinned(), all...)
	}
	return nil
}

// pinned are the codes that the merger itself knows.
func (m *merger) pinned() []lake.Code {
	codes := m.labels.codes()
	for code := range m.kinds.known {
		codes = append(codes, code)
	}
	return codes
}
