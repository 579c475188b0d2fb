package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// sectorSize is the unit that a disk writes whole or not at all.
const sectorSize = 512

// settleTail checks the newest segment and makes it end cleanly after its last
// whole group: what an unfinished write left is blanked, because raft-wal would
// leave it in place, append over it, and later take its remains for frames. With
// exact, groups after it are blanked too; otherwise damage that is not an
// unfinished write is a *CorruptError.
func (s *store) settleTail(info types.SegmentInfo, exact *LSN) (scanned, error) {
	acked := s.meta.current().Acked
	name := segment.FileName(info)
	f, err := s.files.OpenWriter(s.dir, name)
	if errors.Is(err, os.ErrNotExist) && acked < LSN(info.BaseIndex) {
		// A crash can come between the list of segments and the file.
		return scanned{last: LSN(info.BaseIndex) - 1}, nil
	}
	if err != nil {
		return scanned{}, s.missing(info, err)
	}
	sc := newScanner(f, s.path(info), info)
	damage, err := sc.whole(exact)
	if err == nil {
		err = sc.judge(damage, acked, exact != nil)
	}
	if err == nil {
		err = sc.settle(f, acked, exact != nil)
	}
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("close segment: %w", closeErr)
	}
	return sc.scanned, err
}

// whole walks the intact batches, at most up to group exact, and returns what
// ended the walk.
func (s *scanner) whole(exact *LSN) (damage *CorruptError, err error) {
	for exact == nil || s.last < *exact {
		if s.indexStart > 0 {
			return nil, nil // nothing follows an index
		}
		if err := s.next(); err != nil {
			if bad, ok := errors.AsType[*CorruptError](err); ok {
				return bad, nil
			}
			return nil, err
		}
	}
	return nil, nil
}

// judge returns damage unless it is the end of the log or an unfinished write.
func (s *scanner) judge(damage *CorruptError, acked LSN, exact bool) error {
	if damage == nil && s.last < acked {
		damage = &CorruptError{Segment: s.path, Offset: s.end, LSN: s.last + 1, Reason: "segment ends here"}
	}
	if damage == nil {
		return nil
	}
	if s.last < acked {
		damage.Reason += fmt.Sprintf(", but groups up to %d were acknowledged", acked)
		return damage
	}
	if exact {
		return nil
	}
	dirty, err := s.dirtyEnd()
	if err != nil || dirty <= s.end {
		return err
	}
	later, err := s.laterGroup(dirty)
	if err != nil {
		return err
	}
	if later > 0 {
		damage.Reason += fmt.Sprintf(", but an intact later group is at offset %d", later)
		return damage
	}
	finished, err := s.finished(dirty)
	if err == nil && finished {
		damage.Reason += ", but the write was finished"
		return damage
	}
	return err
}

// dirtyEnd returns the offset after the last byte of the file that is not zero,
// rounded up to 8.
func (s *scanner) dirtyEnd() (int64, error) {
	end := s.end
	for off := s.end; ; {
		b, err := s.w.at(off, s.w.step)
		if err != nil {
			return 0, err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			end = (off + int64(n) + 7) &^ 7
		}
		if len(b) < s.w.step {
			return end, nil
		}
		off += int64(len(b))
	}
}

// unsettledEnd returns the offset after the last byte that an unfinished write
// can have left on disk. What reads as zero may be so in memory only, when the
// fsync after an earlier blanking failed, so as much as one write is not trusted.
func (s *scanner) unsettledEnd() (int64, error) {
	end := s.end
	limit := s.end + maxEntry + 1<<20 // the index and the commit
	for off := s.end; off < limit; {
		b, err := s.w.at(off, s.w.step)
		if err != nil {
			return 0, err
		}
		end = off + int64(len(b))
		if len(b) < s.w.step {
			break
		}
		off = end
	}
	dirty, err := s.dirtyEnd()
	return max(dirty, min(end, limit)), err
}

// laterGroup looks between the damage and dirty for a group that can only have
// been written after the damaged one was acknowledged, and returns its offset or 0.
func (s *scanner) laterGroup(dirty int64) (int64, error) {
	from := max(s.end, fileHeader)
	if h, ok, err := s.plausible(from); err != nil {
		return 0, err
	} else if ok && h.lsn == s.last+1 {
		// The damaged group's own bytes are not searched: a record may hold
		// anything, also something that looks like a group.
		from += frameHeader + padded(headerLen+h.length)
	}
	for pos := from; pos < dirty; pos += 8 {
		h, ok, err := s.plausible(pos)
		if err != nil {
			return 0, err
		}
		// Every group between this one and the damage takes a frame at least.
		room := LSN(dirty-s.end) / (headerLen + 2*frameHeader)
		if !ok || h.lsn <= s.last+1 || h.lsn > s.last+1+room {
			continue
		}
		body, err := s.w.at(pos+frameHeader, headerLen+h.length)
		if err != nil {
			return 0, err
		}
		if _, _, reason := parse(body, h.lsn); reason == "" {
			return pos, nil
		}
	}
	return 0, nil
}

// plausible reads the headers of frame and group at pos; ok says that they are
// those of an entry and agree on its length.
func (s *scanner) plausible(pos int64) (h header, ok bool, err error) {
	b, err := s.w.at(pos, frameHeader+headerLen)
	if err != nil || len(b) < frameHeader+headerLen || b[0] != segment.FrameEntry {
		return h, false, err
	}
	typ, length, err := s.frame(pos)
	if err != nil || typ != segment.FrameEntry || length > maxEntry {
		return h, false, nil // an error here is the answer: not a frame
	}
	h, ok = readHeader(b[frameHeader:])
	return h, ok && h.length == int(length)-headerLen, nil
}

// finished reports whether the bytes from s.end to dirty are a batch of which no
// part is missing, so that what is wrong with it is not that the write was cut
// off. All it relies on is that an aligned word was written or is still zero.
func (s *scanner) finished(dirty int64) (bool, error) {
	start := max(s.end, fileHeader)
	frame, err := s.word(start)
	if err != nil || frame == [8]byte{} {
		return false, err
	}
	lengths, err := s.word(start + frameHeader + headerLen - 8)
	if err != nil || lengths == [8]byte{} {
		return false, err
	}
	h, ok, err := s.plausible(start)
	if err != nil || !ok {
		return true, err // all words of both headers are there, and they disagree
	}
	end := start + frameHeader + padded(headerLen+h.length)
	index := 4 * (len(s.offsets) + 1)
	if typ, arg, err := s.frame(end); err == nil && typ == segment.FrameIndex && int(arg) == index {
		end += frameHeader + padded(index)
	}
	if end += frameHeader; dirty < end { // the commit comes last
		return false, nil
	}
	blank, err := s.blankSector(end)
	return !blank, err
}

// blankSector reports whether a sector of the batch that ends at end is missing.
func (s *scanner) blankSector(end int64) (bool, error) {
	for pos := s.end; pos < end; {
		next := min(end, (pos/sectorSize+1)*sectorSize)
		b, err := s.w.at(pos, int(next-pos))
		if err != nil {
			return false, err
		}
		if len(bytes.TrimRight(b, "\x00")) == 0 {
			return true, nil
		}
		pos = next
	}
	return false, nil
}

func (s *scanner) word(pos int64) (w [8]byte, err error) {
	b, err := s.w.at(pos, len(w))
	copy(w[:], b)
	return w, err
}

// settle blanks everything after the last whole batch, and writes that batch once
// more unless it is known to be durable: after a failed fsync or a killed process
// it may be in memory only, and the kernel may believe that it is not.
func (s *scanner) settle(f types.WritableFile, acked LSN, exact bool) error {
	dirty, err := s.unsettledEnd()
	if err != nil {
		return err
	}
	changed := false
	if last := s.last; last >= LSN(s.info.BaseIndex) && last > acked && !exact {
		b, err := s.w.at(s.batch, int(s.end-s.batch))
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(b, s.batch); err != nil {
			return fmt.Errorf("settle last group: %w", err)
		}
		changed = true
	}
	zeros := make([]byte, min(windowStep, max(0, dirty-s.end)))
	for pos := s.end; pos < dirty; pos += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), dirty-pos)], pos); err != nil {
			return fmt.Errorf("blank unfinished write: %w", err)
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return f.Sync()
}
