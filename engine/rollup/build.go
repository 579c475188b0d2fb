package rollup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"slices"

	"mailwake/engine/blob"
	"mailwake/engine/event"
)

const (
	magic = "mwrollup"
	// version of the format and of what is counted. A rollup of another version is
	// made anew.
	version = 3
	// blockBytes is the size from which a block ends: small enough that looking one
	// pair up decodes little, and large enough that the index is a hundredth.
	blockBytes = 2 << 10
	// PartPrefix begins the names of rollups that are being written.
	PartPrefix = ".part-"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrOrder says that events do not come in the order of email and recipient.
var ErrOrder = errors.New("events are not sorted by email and recipient")

// ErrRange says that an id is beyond what rollups can hold.
var ErrRange = errors.New("an id is out of the range of rollups")

// Builder writes the rollup of one data file.
type Builder struct {
	file  *blob.Draft
	out   *bufio.Writer
	at    uint64
	pairs section
	told  section // events that others reported

	block   writer
	last    key // of the block
	open    bool
	current key
	facts   []Fact // of current; their shapes are the file's
	rows    int64

	shapes  *shapes
	reports []report // shapes are the file's
	emails  []emailEntry
	seen    []uint64 // recipient and place in emails, packed
}

// report is an event that others reported, perhaps more than once.
type report struct {
	key
	id       int64
	received event.Micros
	Fact
}

// key orders pairs.
type key struct {
	email     event.EmailID
	recipient event.RecipientID
}

func (k key) less(l key) bool {
	return k.email < l.email || k.email == l.email && k.recipient < l.recipient
}

// emailEntry is an email that a file holds: when its first and last event
// occurred, what they are together, and whether some of them were reported by others.
type emailEntry struct {
	email    event.EmailID
	min, max event.Micros
	digest   uint64
	reported bool
}

// blockEntry is where a block is.
type blockEntry struct {
	first key
	at    uint64
	size  uint32
	sum   uint32
}

type section struct{ blocks []blockEntry }

// NewBuilder begins a rollup in dir.
func NewBuilder(dir string) (*Builder, error) {
	f, err := blob.NewDraft(dir, PartPrefix)
	if err != nil {
		return nil, fmt.Errorf("begin rollup: %w", err)
	}
	b := &Builder{file: f, out: bufio.NewWriterSize(f, 256<<10), at: uint64(len(magic)), shapes: newShapes()}
	_, err = b.out.WriteString(magic)
	return b, err
}

// Add counts an event. Events come sorted by email and recipient.
func (b *Builder) Add(e *Event) error {
	k := key{e.Email, e.Recipient}
	if k != b.current {
		if err := b.next(k); err != nil {
			return err
		}
	}
	b.rows++
	entry := &b.emails[len(b.emails)-1]
	entry.min, entry.max = min(entry.min, e.At), max(entry.max, e.At)
	fact := Fact{e.At, b.shapes.id(&e.Shape), e.Component}
	if fact.Shape == maxShapes {
		return ErrRange
	}
	entry.digest += e.digest(b.shapes.sums[fact.Shape])
	if e.ID < 0 {
		entry.reported = true
		b.reports = append(b.reports, report{k, e.ID, e.Received, fact})
		return nil
	}
	b.facts = append(b.facts, fact)
	return nil
}

// next begins the pair k.
func (b *Builder) next(k key) error {
	if k.less(b.current) {
		return ErrOrder
	}
	if k.email <= 0 || k.recipient <= 0 || k.recipient > maxRecipient {
		return ErrRange
	}
	if err := b.endPair(); err != nil {
		return err
	}
	if k.email != b.current.email {
		if len(b.emails) == math.MaxUint32 {
			return ErrRange
		}
		b.emails = append(b.emails, emailEntry{email: k.email, min: math.MaxInt64, max: math.MinInt64})
	}
	b.seen = append(b.seen, uint64(k.recipient)<<32|uint64(len(b.emails)-1))
	b.current, b.facts = k, b.facts[:0]
	return nil
}

func (b *Builder) endPair() error {
	if len(b.facts) == 0 {
		return nil
	}
	b.key(&b.pairs, b.current)
	b.block.count(uint64(len(b.facts)))
	for i := range b.facts {
		b.block.fact(&b.facts[i], b.facts[i].Shape)
	}
	return b.endBlock(&b.pairs, blockBytes)
}

// key writes k, in a block of s that it opens if there is none.
func (b *Builder) key(s *section, k key) {
	if !b.open {
		s.blocks = append(s.blocks, blockEntry{first: k})
		b.block, b.last, b.open = writer{buf: b.block.buf[:0]}, k, true
	}
	b.block.count(uint64(k.email - b.last.email))
	b.block.number(int64(k.recipient - b.last.recipient))
	b.last = k
}

// endBlock writes the block of s if it has least bytes.
func (b *Builder) endBlock(s *section, least int) error {
	if !b.open || len(b.block.buf) < least {
		return nil
	}
	b.open = false
	e := &s.blocks[len(s.blocks)-1]
	e.at, e.size, e.sum = b.at, uint32(len(b.block.buf)), crc32.Checksum(b.block.buf, castagnoli)
	return b.write(b.block.buf)
}

func (b *Builder) write(data []byte) error {
	b.at += uint64(len(data))
	_, err := b.out.Write(data)
	return err
}

// Held is about how many bytes of memory the Builder takes, which grow with the pairs
// and with the events that others reported.
func (b *Builder) Held() int {
	const report, email, block = 64, 40, 40
	return 8*cap(b.seen) + report*cap(b.reports) + email*cap(b.emails) + block*cap(b.pairs.blocks)
}

// Finish completes the rollup of the data file of that name and size, and gives it
// its place in the folder.
func (b *Builder) Finish(source Source) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write rollup: %w", errors.Join(err, b.Abort()))
		}
	}()
	if err := errors.Join(b.endPair(), b.endBlock(&b.pairs, 0), b.writeReports(), b.endBlock(&b.told, 0)); err != nil {
		return err
	}
	people, err := b.writeRecipients()
	if err != nil {
		return err
	}
	index := b.index(source, people)
	footer := binary.LittleEndian.AppendUint64(nil, b.at)
	footer = binary.LittleEndian.AppendUint32(footer, crc32.Checksum(index, castagnoli))
	footer = append(binary.LittleEndian.AppendUint32(footer, version), magic...)
	if err := errors.Join(b.write(index), b.write(footer), b.out.Flush(), b.file.Close()); err != nil {
		return err
	}
	return os.Rename(b.file.Name(), source.In(filepath.Dir(b.file.Name())))
}

// Abort removes what was written. After Finish it does nothing.
func (b *Builder) Abort() error {
	_ = b.file.Close()
	if err := os.Remove(b.file.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (b *Builder) writeReports() error {
	for i := range b.reports {
		b.key(&b.told, b.reports[i].key)
		b.block.report(&b.reports[i], b.reports[i].Shape)
		if err := b.endBlock(&b.told, blockBytes); err != nil {
			return err
		}
	}
	return nil
}

// writeRecipients writes, per recipient, the emails that hold them.
func (b *Builder) writeRecipients() (people section, err error) {
	slices.Sort(b.seen)
	for from := 0; from < len(b.seen); {
		id := b.seen[from] >> 32
		to := from
		for to < len(b.seen) && b.seen[to]>>32 == id {
			to++
		}
		b.key(&people, key{recipient: event.RecipientID(id)})
		b.block.count(uint64(to - from))
		before := event.EmailID(0)
		for _, packed := range b.seen[from:to] {
			email := b.emails[uint32(packed)].email
			b.block.count(uint64(email - before))
			before = email
		}
		if err := b.endBlock(&people, blockBytes); err != nil {
			return people, err
		}
		from = to
	}
	return people, b.endBlock(&people, 0)
}

func (b *Builder) index(source Source, people section) []byte {
	w := &writer{}
	w.text(filepath.Base(source.Path))
	w.number(source.Bytes)
	w.number(b.rows)
	w.count(uint64(len(b.shapes.list)))
	for i := range b.shapes.list {
		w.shape(&b.shapes.list[i])
	}
	for _, s := range []section{b.pairs, b.told, people} {
		w.count(uint64(len(s.blocks)))
		var last blockEntry
		for _, e := range s.blocks {
			w.count(uint64(e.first.email - last.first.email))
			w.number(int64(e.first.recipient - last.first.recipient))
			w.count(e.at - last.at)
			w.count(uint64(e.size))
			w.count(uint64(e.sum))
			last = e
		}
	}
	w.count(uint64(len(b.emails)))
	before := event.EmailID(0)
	for _, e := range b.emails {
		w.count(uint64(e.email-before)<<1 | bit(e.reported))
		w.at(e.min)
		w.count(uint64(e.max - e.min))
		w.buf = binary.LittleEndian.AppendUint64(w.buf, e.digest)
		before = e.email
	}
	return w.buf
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
