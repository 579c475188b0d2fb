package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// The parts of raft-wal's segment format (version 0) that a scan needs: a file
// header, then frames of an 8-byte header and a payload padded to 8 bytes. A
// batch is what one fsync made durable: an entry, in a segment's last batch the
// index, and a commit frame with the checksum of the batch. The first batch
// includes the file header.
const (
	segmentMagic = 0x58eb6b0d
	fileHeader   = 32
	frameHeader  = 8
	maxEntry     = headerLen + maxGroupBytes
)

func padded(n int) int64 { return int64(n+7) &^ 7 }

// scanned is what a scan found in one segment.
type scanned struct {
	last       LSN      // last whole group, BaseIndex-1 if none
	sizes      []uint32 // frame bytes of the groups from BaseIndex on
	end        int64    // where the next batch would start
	batch      int64    // where the last whole batch starts
	indexStart int64    // offset of the index if the last batch has one
}

// scanner walks the batches of one segment file.
type scanner struct {
	scanned
	w       window
	path    string
	info    types.SegmentInfo
	offsets []uint32
}

func newScanner(r io.ReaderAt, path string, info types.SegmentInfo) *scanner {
	step := min(windowStep, max(int(info.SizeLimit), sectorSize))
	return &scanner{w: window{r: r, step: step}, path: path, info: info, scanned: scanned{last: LSN(info.BaseIndex) - 1}}
}

// scanSealed checks a segment up to group through, which must be there.
func (s *store) scanSealed(info types.SegmentInfo, through LSN) (scanned, error) {
	r, err := s.files.OpenReader(s.dir, segment.FileName(info))
	if err != nil {
		return scanned{}, s.missing(info, err)
	}
	defer r.Close()
	sc := newScanner(r, s.path(info), info)
	for sc.last < through {
		if err := sc.next(); err != nil {
			return scanned{}, err
		}
	}
	if sealed := !info.SealTime.IsZero(); sealed && uint64(through) == info.MaxIndex && uint64(sc.indexStart) != info.IndexStart {
		return scanned{}, sc.corrupt(int64(info.IndexStart), "index of the segment is not where the meta file says")
	}
	return sc.scanned, nil
}

// next reads and checks one batch. A *CorruptError leaves the scanner where it was.
func (s *scanner) next() error {
	pos := s.end
	if pos == 0 {
		if err := s.fileHeader(); err != nil {
			return err
		}
		pos = fileHeader
	}
	start := pos
	size, err := s.entry(pos)
	if err != nil {
		return err
	}
	offsets := append(s.offsets, uint32(pos))
	pos += frameHeader + padded(headerLen+size)
	typ, arg, err := s.frame(pos)
	if err != nil {
		return err
	}
	indexStart := int64(0)
	if typ == segment.FrameIndex {
		if err := s.index(pos, int(arg), offsets); err != nil {
			return err
		}
		indexStart = pos + frameHeader
		pos += frameHeader + padded(int(arg))
		if typ, arg, err = s.frame(pos); err != nil {
			return err
		}
	}
	if typ != segment.FrameCommit {
		return s.corrupt(pos, fmt.Sprintf("frame of type %d instead of a commit", typ))
	}
	all, err := s.w.at(s.end, int(pos-s.end))
	if err != nil {
		return err
	}
	if crc32.Checksum(all, castagnoli) != arg {
		return s.corrupt(start, "checksum of the commit after the group does not match")
	}
	s.offsets, s.sizes = offsets, append(s.sizes, uint32(size))
	s.batch, s.end, s.indexStart = s.end, pos+frameHeader, indexStart
	s.last++
	return nil
}

func (s *scanner) fileHeader() error {
	b, err := s.w.at(0, fileHeader)
	if err != nil {
		return err
	}
	want := make([]byte, fileHeader)
	binary.LittleEndian.PutUint64(want, segmentMagic)
	binary.LittleEndian.PutUint64(want[8:], s.info.BaseIndex)
	binary.LittleEndian.PutUint64(want[16:], s.info.ID)
	binary.LittleEndian.PutUint64(want[24:], codecID)
	if string(b) != string(want) {
		return s.corrupt(0, "file header is not that of this segment")
	}
	return nil
}

// entry checks the group at pos and returns the size of its frames.
func (s *scanner) entry(pos int64) (int, error) {
	typ, length, err := s.frame(pos)
	if err != nil {
		return 0, err
	}
	if typ != segment.FrameEntry || length < headerLen || length > maxEntry {
		return 0, s.corrupt(pos, fmt.Sprintf("frame of type %d and %d bytes instead of a group", typ, length))
	}
	body, err := s.w.at(pos+frameHeader, int(length))
	if err != nil {
		return 0, err
	}
	if len(body) < int(length) {
		return 0, s.corrupt(pos, "file ends within the group")
	}
	if _, _, reason := parse(body, s.last+1); reason != "" {
		return 0, s.corrupt(pos, reason)
	}
	return int(length) - headerLen, nil
}

// index checks that the index lists where the groups start.
func (s *scanner) index(pos int64, length int, offsets []uint32) error {
	if length != 4*len(offsets) {
		return s.corrupt(pos, fmt.Sprintf("index of %d bytes for %d groups", length, len(offsets)))
	}
	b, err := s.w.at(pos+frameHeader, length)
	if err != nil {
		return err
	}
	for i, want := range offsets {
		if len(b) < 4*i+4 || binary.LittleEndian.Uint32(b[4*i:]) != want {
			return s.corrupt(pos+frameHeader+int64(4*i), "index does not match the groups")
		}
	}
	return nil
}

// frame returns type and length (or checksum) of the frame header at pos.
func (s *scanner) frame(pos int64) (typ uint8, arg uint32, err error) {
	b, err := s.w.at(pos, frameHeader)
	if err != nil {
		return 0, 0, err
	}
	if len(b) < frameHeader {
		return 0, 0, s.corrupt(pos, "file ends before the group")
	}
	if b[1]|b[2]|b[3] != 0 {
		return 0, 0, s.corrupt(pos, "frame header has unknown bits")
	}
	return b[0], binary.LittleEndian.Uint32(b[4:]), nil
}

// corrupt names pos, and the group that the scan was about to read.
func (s *scanner) corrupt(pos int64, reason string) error {
	return &CorruptError{Segment: s.path, Offset: pos, LSN: s.last + 1, Reason: reason}
}

// window reads a file in large steps.
type window struct {
	r    io.ReaderAt
	step int
	off  int64
	buf  []byte
}

// windowStep is large enough to make the calls disappear beside the checksum and
// small enough not to matter in memory.
const windowStep = 256 << 10

// at returns the n bytes at off, fewer at the end of the file. They are valid
// until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		if size := max(n, w.step); cap(w.buf) < size {
			w.buf = make([]byte, size)
		}
		got, err := w.r.ReadAt(w.buf[:cap(w.buf)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read segment at %d: %w", off, err)
		}
		w.off, w.buf = off, w.buf[:got]
	}
	b := w.buf[off-w.off:]
	return b[:min(n, len(b))], nil
}
