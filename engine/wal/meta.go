package wal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

const (
	slotHeader = 24
	slotMagic  = "mwmeta1\n"

	// slotSpace is preallocated, so that Truncate can still note what it dropped
	// when the disk is full. It holds the names of some 200 segments.
	slotSpace = 64 << 10

	// maxSlot bounds what is read back when a length is damaged.
	maxSlot = 64 << 20
)

// meta keeps the list of segments for raft-wal, and how far the log is known to
// be acknowledged. It writes two small files in turn, each with a sequence number
// and a checksum, so a write that is cut off leaves the state before it:
//
//	0        8        12       16    24
//	+--------+--------+--------+-----+------
//	| magic  | crc32c | length | seq | JSON…
//	+--------+--------+--------+-----+------
//
// raft-wal's own store is bbolt, which costs two fsyncs a change, grows when it
// should shrink the log on a full disk, waits for ever on its file lock and
// panics or faults on a damaged file.
type meta struct {
	files *files
	dir   string

	mu struct {
		sync.Mutex
		slots [2]types.WritableFile
		seq   uint64
		doc   metaDoc
	}
}

type metaDoc struct {
	// Acked is a group that was acknowledged: it and all before it must be there.
	Acked LSN
	State types.PersistentState
}

// openMeta reads the newest slot. No valid slot means a new log, unless there are
// segments or two slots: at most one of them can be the victim of a crash.
func openMeta(vfs types.VFS, dir string) (_ *meta, err error) {
	m := &meta{files: newFiles(vfs), dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	names, err := m.files.ListDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list log folder: %w", err)
	}
	valid, damage := 0, error(nil)
	for i := range m.mu.slots {
		if !slices.Contains(names, slotName(i)) {
			continue
		}
		f, err := m.files.OpenWriter(dir, slotName(i))
		if err != nil {
			return nil, fmt.Errorf("open log meta file: %w", err)
		}
		m.mu.slots[i] = f
		seq, doc, err := readSlot(f, filepath.Join(dir, slotName(i)))
		if bad, ok := errors.AsType[*CorruptError](err); ok {
			damage = errors.Join(damage, bad)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read log meta file: %w", err)
		}
		if valid++; seq > m.mu.seq {
			m.mu.seq, m.mu.doc = seq, doc
		}
	}
	return m, m.plausible(names, valid, damage)
}

// plausible checks the state that was read against the files that are there.
func (m *meta) plausible(names []string, valid int, damage error) error {
	both := m.mu.slots[0] != nil && m.mu.slots[1] != nil
	newest := filepath.Join(m.dir, slotName(int(m.mu.seq&1)))
	for _, name := range names {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		var base, id uint64
		if n, err := fmt.Sscanf(name, "%020d-%016x.wal", &base, &id); err != nil || n != 2 {
			return &CorruptError{Segment: filepath.Join(m.dir, name), Reason: "name is not that of a segment"}
		}
		if valid == 0 && damage == nil {
			return &CorruptError{Segment: filepath.Join(m.dir, slotName(0)), Reason: "meta file is missing, but there is segment " + name}
		}
		if valid > 0 && id >= m.mu.doc.State.NextSegmentID {
			return errors.Join(&CorruptError{Segment: newest, Reason: "meta file is older than segment " + name}, damage)
		}
		both = true
	}
	if valid == 0 && both {
		return damage
	}
	next := uint64(0)
	for i, s := range m.mu.doc.State.Segments {
		sealed, last := !s.SealTime.IsZero(), i == len(m.mu.doc.State.Segments)-1
		if i > 0 && s.BaseIndex != next || sealed == last || s.MinIndex < s.BaseIndex || sealed && s.MaxIndex < s.MinIndex {
			return &CorruptError{Segment: newest, LSN: LSN(s.BaseIndex), Reason: "list of segments has a gap or overlap"}
		}
		next = s.MaxIndex + 1
	}
	return nil
}

func slotName(i int) string { return fmt.Sprintf("meta-%d", i) }

func readSlot(r io.ReaderAt, name string) (seq uint64, doc metaDoc, err error) {
	head := make([]byte, slotHeader)
	if n, err := r.ReadAt(head, 0); n < slotHeader {
		if errors.Is(err, io.EOF) {
			return 0, doc, &CorruptError{Segment: name, Offset: int64(n), Reason: "meta file is too short"}
		}
		return 0, doc, err
	}
	length := binary.LittleEndian.Uint32(head[12:])
	if string(head[:8]) != slotMagic || length > maxSlot {
		return 0, doc, &CorruptError{Segment: name, Reason: "not a meta file of this version"}
	}
	body, err := io.ReadAll(io.NewSectionReader(r, slotHeader, int64(length)))
	if err != nil {
		return 0, doc, err
	}
	sum := crc32.Update(crc32.Checksum(head[12:], castagnoli), castagnoli, body)
	if sum != binary.LittleEndian.Uint32(head[8:]) {
		return 0, doc, &CorruptError{Segment: name, Offset: slotHeader, Reason: "checksum of the meta file does not match"}
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return 0, doc, &CorruptError{Segment: name, Offset: slotHeader, Reason: "meta file cannot be decoded", Err: err}
	}
	return binary.LittleEndian.Uint64(head[16:]), doc, nil
}

// current returns what is on disk. The caller may change the copy.
func (m *meta) current() metaDoc {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc := m.mu.doc
	doc.State.Segments = slices.Clone(doc.State.Segments)
	return doc
}

// note raises the acknowledged group; the next commit, whatever its reason, makes
// that durable.
func (m *meta) note(lsn LSN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.doc.Acked = lsn
}

// acknowledge makes durable that lsn is acknowledged and nothing after it.
func (m *meta) acknowledge(lsn LSN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc := m.mu.doc
	doc.Acked = lsn
	return m.commitLocked(doc)
}

// Load implements types.MetaStore.
func (m *meta) Load(string) (types.PersistentState, error) { return m.current().State, nil }

// CommitState implements types.MetaStore. Segment ids never go back, also when
// raft-wal has given one out for a file that it could not create.
func (m *meta) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.NextSegmentID = max(s.NextSegmentID, m.mu.doc.State.NextSegmentID)
	s.Segments = slices.Clone(s.Segments)
	for i := range s.Segments {
		s.Segments[i].Codec = codecID
	}
	return m.commitLocked(metaDoc{Acked: m.mu.doc.Acked, State: s})
}

func (m *meta) commitLocked(doc metaDoc) error {
	seq := m.mu.seq + 1
	body, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode log meta: %w", err)
	}
	slot := make([]byte, slotHeader, slotHeader+len(body))
	copy(slot, slotMagic)
	binary.LittleEndian.PutUint32(slot[12:], uint32(len(body)))
	binary.LittleEndian.PutUint64(slot[16:], seq)
	slot = append(slot, body...)
	binary.LittleEndian.PutUint32(slot[8:], crc32.Checksum(slot[12:], castagnoli))

	f := &m.mu.slots[seq&1]
	if *f == nil {
		if *f, err = m.create(slotName(int(seq & 1))); err != nil {
			return fmt.Errorf("create log meta file: %w", err)
		}
	}
	if _, err := (*f).WriteAt(slot, 0); err != nil {
		return fmt.Errorf("write log meta file: %w", err)
	}
	if err := (*f).Sync(); err != nil {
		return fmt.Errorf("write log meta file: %w", err)
	}
	m.mu.seq, m.mu.doc = seq, doc
	return nil
}

// create makes a slot, or takes over one that a full disk left without space.
func (m *meta) create(name string) (types.WritableFile, error) {
	names, err := m.files.ListDir(m.dir)
	if err != nil {
		return nil, err
	}
	if slices.Contains(names, name) {
		return m.files.OpenWriter(m.dir, name)
	}
	return m.files.Create(m.dir, name, slotSpace)
}

// GetStable and SetStable belong to types.MetaStore for raft's own use.
func (m *meta) GetStable([]byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetStable is not supported, see GetStable.
func (m *meta) SetStable(_, _ []byte) error { return errors.ErrUnsupported }

// Close closes the slots.
func (m *meta) Close() error { return m.files.closeAll() }
