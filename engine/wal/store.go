package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// codecID marks segments whose entries are groups: "mailwake" in ASCII. The
// format within is told by the group's own version byte.
const codecID = 0x656b61776c69616d

// store is one life of a raft-wal log: from an Open to an error of its writer.
type store struct {
	dir   string
	files *files
	meta  *meta
	raft  *raftwal.WAL
	entry []byte // the group being appended, for writer
	log   raft.Log
	logs  [1]*raft.Log
}

// inventory is what a scan of the segments found.
type inventory struct {
	first, last LSN
	sizes       []uint32 // frame bytes of groups first..last
}

// openStore checks the segments and opens them. With exact, which is the last
// acknowledged group of a log that is being reopened, only the newest segment is
// checked, and every group after exact is blanked.
func openStore(o *Options, m *meta, exact *LSN) (_ *store, inv inventory, err error) {
	s := &store{dir: o.Dir, files: newFiles(o.VFS), meta: m}
	s.logs[0] = &s.log
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	state := m.current().State
	if inv, err = s.inspect(&state, exact); err != nil {
		return nil, inv, err
	}
	s.nextTail(&state, inv, o)
	m.note(inv.last)
	// Committed even if nothing changed: a slot whose fsync failed may look fine
	// now and be gone after the next loss of power.
	if err := m.CommitState(state); err != nil {
		return nil, inv, err
	}
	s.raft, err = raftwal.Open(o.Dir,
		raftwal.WithMetaStore(m),
		raftwal.WithSegmentFiler(&filer{segment.NewFiler(o.Dir, s.files), s}),
		raftwal.WithCodec(codec{}),
		raftwal.WithSegmentSize(o.SegmentBytes),
		raftwal.WithLogger(hclog.NewNullLogger()))
	if err != nil {
		return nil, inv, fmt.Errorf("open log in %s: %w", o.Dir, err)
	}
	_ = s.files.remove() // Truncate tries again, and tells
	return s, inv, nil
}

// inspect scans the segments. It settles the newest one and marks it as sealed in
// state if its last write did that: raft-wal would refuse to append to it for
// ever when it was stopped before it had started the next one.
func (s *store) inspect(state *types.PersistentState, exact *LSN) (inv inventory, err error) {
	for i := range state.Segments {
		info := &state.Segments[i]
		var found scanned
		switch sealed := !info.SealTime.IsZero(); {
		case sealed && exact != nil:
			found.last = LSN(info.MaxIndex)
		case sealed:
			found, err = s.scanSealed(*info, LSN(info.MaxIndex))
		default:
			found, err = s.settleTail(*info, exact)
		}
		if err != nil {
			return inv, err
		}
		if inv.first == 0 && found.last >= LSN(info.MinIndex) {
			inv.first = LSN(info.MinIndex)
		}
		inv.last = max(inv.last, found.last)
		if skip := int(info.MinIndex - info.BaseIndex); skip < len(found.sizes) {
			inv.sizes = append(inv.sizes, found.sizes[skip:]...)
		}
		if found.indexStart > 0 && info.SealTime.IsZero() {
			info.SealTime, info.MaxIndex, info.IndexStart = time.Now(), uint64(found.last), uint64(found.indexStart)
		}
	}
	if inv.first == 0 {
		inv.last = 0
	}
	return inv, nil
}

// nextTail lists a new segment when there is none to append to, or when an empty
// log must start at a higher number; an empty segment that starts higher yet is
// kept, since the numbers before it were given out. raft-wal creates the file.
func (s *store) nextTail(state *types.PersistentState, inv inventory, o *Options) {
	base := uint64(max(inv.last+1, o.Next))
	if n := len(state.Segments); n > 0 && state.Segments[n-1].SealTime.IsZero() {
		if inv.last > 0 {
			return
		}
		if tail := state.Segments[n-1].BaseIndex; tail >= base {
			o.Next = LSN(tail)
			return
		}
		state.Segments = state.Segments[:n-1]
	}
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: base, MinIndex: base,
		SizeLimit: uint32(o.SegmentBytes), Codec: codecID, CreateTime: time.Now(),
	})
	state.NextSegmentID++
}

// append stores one group with one fsync.
func (s *store) append(lsn LSN, entry []byte) error {
	s.entry = entry
	s.log.Index = uint64(lsn)
	err := s.raft.StoreLogs(s.logs[:])
	s.entry = nil
	return err
}

// read returns group lsn, which must be there. frames share entry's memory.
func (s *store) read(lsn LSN, entry *raft.Log) (h header, frames []byte, err error) {
	reason := ""
	err = s.raft.GetLog(uint64(lsn), entry)
	if err == nil {
		if h, frames, reason = parse(entry.Data, lsn); reason == "" {
			return h, frames, nil
		}
	}
	return h, nil, s.diagnose(lsn, reason, err)
}

// diagnose finds the place of the damage that made a read fail.
func (s *store) diagnose(lsn LSN, reason string, cause error) error {
	segments := s.meta.current().State.Segments
	i := sort.Search(len(segments), func(i int) bool { return LSN(segments[i].BaseIndex) > lsn }) - 1
	if i < 0 {
		return fmt.Errorf("group is in no segment: %w", cause)
	}
	_, err := s.scanSealed(segments[i], lsn)
	if err == nil && cause != nil && !errors.Is(cause, types.ErrCorrupt) && !errors.Is(cause, io.EOF) {
		return cause
	}
	if err == nil {
		err = &CorruptError{Segment: s.path(segments[i]), LSN: lsn, Reason: "index of the segment is wrong: " + reason, Err: cause}
	}
	return err
}

// truncate drops groups first..upTo. Segments that held nothing else are left to
// files.remove.
func (s *store) truncate(first, upTo LSN) error {
	return s.raft.DeleteRange(uint64(first), uint64(upTo))
}

// close closes all files. raft-wal's goroutine may outlive it by a moment but
// touches nothing any more: it sees that the log is closed and returns.
func (s *store) close() error {
	var err error
	if s.raft != nil {
		err = s.raft.Close()
	}
	return errors.Join(err, s.files.closeAll())
}

func (s *store) path(info types.SegmentInfo) string {
	return filepath.Join(s.dir, segment.FileName(info))
}

// missing turns the absence of a segment file into a CorruptError.
func (s *store) missing(info types.SegmentInfo, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &CorruptError{Segment: s.path(info), LSN: LSN(info.MinIndex), Reason: "segment file is missing", Err: err}
	}
	return fmt.Errorf("open segment: %w", err)
}
