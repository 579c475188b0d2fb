package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
)

const (
	headerLen     = 32
	formatVersion = 1
	formatMagic   = "mwg"

	// maxRecords keeps a record's ordinal within its group in 16 bits, so that
	// (LSN, ordinal) packs into one int64 with 48 bits left for the LSN.
	maxRecords = 1<<16 - 1

	// maxGroupBytes bounds what one fsync carries. At 8 MiB an fsync already runs
	// at the disk's sequential speed, so a larger group only adds latency and
	// memory; raft-wal itself would take 64 MiB.
	maxGroupBytes = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Frame appends one record to dst in the log's framing and returns the result.
// rec may be empty.
func Frame(dst, rec []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(rec)))
	return append(dst, rec...)
}

// Frames yields the records in b with their ordinals from 0, without copying.
// Frames that come from the log are always whole; on bytes that are not, it stops
// at the first frame that is not whole.
func Frames(b []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for i := 0; len(b) > 0; i++ {
			rec, rest, ok := cutFrame(b)
			if !ok || !yield(i, rec) {
				return
			}
			b = rest
		}
	}
}

func cutFrame(b []byte) (rec, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end:end], b[end:], true
}

// checkFrames refuses bytes that are not exactly n whole frames: once stored they
// could not be told from damage.
func checkFrames(frames []byte, n int) error {
	if n <= 0 {
		return errors.New("append of no records")
	}
	if n > maxRecords || len(frames) > maxGroupBytes {
		return fmt.Errorf("%w: %d records in %d bytes, at most %d in %d", ErrTooLarge, n, len(frames), maxRecords, maxGroupBytes)
	}
	if got, ok := countFrames(frames); !ok || got != n {
		return fmt.Errorf("append: bytes are not %d whole frames", n)
	}
	return nil
}

func countFrames(b []byte) (n int, ok bool) {
	for ; len(b) > 0; n++ {
		if _, b, ok = cutFrame(b); !ok {
			return n, false
		}
	}
	return n, true
}

// seal fills in the header of a group whose frames start at headerLen.
func seal(group []byte, lsn LSN, records int, writtenMicros int64) {
	group[0] = formatVersion
	copy(group[1:4], formatMagic)
	binary.LittleEndian.PutUint64(group[8:], uint64(lsn))
	binary.LittleEndian.PutUint64(group[16:], uint64(writtenMicros))
	binary.LittleEndian.PutUint32(group[24:], uint32(len(group)-headerLen))
	binary.LittleEndian.PutUint32(group[28:], uint32(records))
	binary.LittleEndian.PutUint32(group[4:], groupSum(group))
}

func groupSum(group []byte) uint32 {
	sum := crc32.Checksum(group[:4], castagnoli)
	return crc32.Update(sum, castagnoli, group[8:])
}

// header is the fixed part of a group.
type header struct {
	lsn     LSN
	written int64
	length  int
	records int
}

// readHeader decodes the header at the start of b; ok is false when b does not
// start like a group.
func readHeader(b []byte) (h header, ok bool) {
	if len(b) < headerLen || b[0] != formatVersion || string(b[1:4]) != formatMagic {
		return h, false
	}
	return header{
		lsn:     LSN(binary.LittleEndian.Uint64(b[8:])),
		written: int64(binary.LittleEndian.Uint64(b[16:])),
		length:  int(binary.LittleEndian.Uint32(b[24:])),
		records: int(binary.LittleEndian.Uint32(b[28:])),
	}, true
}

// parse returns header and frames of an entry that must be group lsn, or the
// reason why it is not.
func parse(entry []byte, lsn LSN) (header, []byte, string) {
	h, ok := readHeader(entry)
	switch {
	case !ok:
		return h, nil, "entry does not start with a group header of version 1"
	case h.length != len(entry)-headerLen:
		return h, nil, fmt.Sprintf("group says it has %d bytes of frames, entry has %d", h.length, len(entry)-headerLen)
	case groupSum(entry) != binary.LittleEndian.Uint32(entry[4:]):
		return h, nil, "checksum of the group does not match"
	case h.lsn != lsn:
		return h, nil, fmt.Sprintf("group is number %d", h.lsn)
	}
	if n, ok := countFrames(entry[headerLen:]); !ok || n != h.records {
		return h, nil, fmt.Sprintf("group does not hold the %d records it names", h.records)
	}
	return h, entry[headerLen:], ""
}
