package wal

import (
	"io"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// codec makes a group the whole of a raft-wal entry.
type codec struct{}

func (codec) ID() uint64 { return codecID }

// Encode writes nothing: writer puts the group's bytes in place, which saves a
// copy of every group into a buffer that is new each time.
func (codec) Encode(*raft.Log, io.Writer) error { return nil }

func (codec) Decode(entry []byte, l *raft.Log) error {
	l.Data = append(l.Data[:0], entry...)
	return nil
}

// filer is raft-wal's, with our codec in the headers (raft-wal writes its own
// there whatever codec is set, and then refuses to open the log again) and with
// writers that know about groups.
type filer struct {
	*segment.Filer
	store *store
}

func (f *filer) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	info.Codec = codecID
	w, err := f.Filer.Create(info)
	if err != nil {
		return nil, err
	}
	return &writer{SegmentWriter: w, store: f.store}, nil
}

func (f *filer) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	info.Codec = codecID
	w, err := f.Filer.RecoverTail(info)
	if err != nil {
		return nil, err
	}
	return &writer{SegmentWriter: w, store: f.store, noted: w.LastIndex() > 0}, nil
}

// writer appends groups to the newest segment.
type writer struct {
	types.SegmentWriter
	store *store
	noted bool // the meta files say that this segment holds a group
}

// Append stores the group in store.entry. The first group of a segment is also
// noted in the meta files, so that the loss of the whole file is seen later: a
// segment without a group may be missing after a crash.
func (w *writer) Append(entries []types.LogEntry) error {
	entries[0].Data = w.store.entry
	if err := w.SegmentWriter.Append(entries); err != nil {
		return err
	}
	if w.noted {
		return nil
	}
	if err := w.store.meta.acknowledge(LSN(entries[0].Index)); err != nil {
		return err
	}
	w.noted = true
	return nil
}
