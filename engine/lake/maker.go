package lake

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"

	"github.com/google/uuid"

	"mailwake/engine/blob"
)

// Place is where data files are made that a Receiver takes: in Dir, with names that
// begin with Prefix.
type Place struct{ Dir, Prefix string }

// Made is a data file that is complete and durable, but no blob yet.
type Made struct {
	Local string // where it lies
	Name  string // that of its blob, without the folder
	About
	Bytes int64
	Sum   string
}

// Maker makes files at a Place of the bytes that an Encoder makes. It may be in
// another process than the Receiver, which then has nothing to do with the bytes.
// It is a Sink, and not safe for concurrent use.
type Maker struct {
	place Place
	each  func(context.Context, Made) error

	draft  *blob.Draft // nil between files
	buffer *bufio.Writer
	sum    hash.Hash
	size   int64
}

// NewMaker returns a Maker that calls each for every file. The caller calls Close.
func NewMaker(p Place, each func(context.Context, Made) error) *Maker {
	return &Maker{place: p, each: each}
}

// Write implements Sink.
func (m *Maker) Write(p []byte) (n int, err error) {
	if m.draft == nil {
		if m.draft, err = blob.NewDraft(m.place.Dir, m.place.Prefix); err != nil {
			return 0, err
		}
		m.buffer, m.sum, m.size = bufio.NewWriterSize(m.draft, 256<<10), sha256.New(), 0
	}
	_, _ = m.sum.Write(p)
	m.size += int64(len(p))
	return m.buffer.Write(p)
}

// End implements Sink.
func (m *Maker) End(ctx context.Context, about About) error {
	if m.draft == nil {
		return fmt.Errorf("%w: a file without bytes", ErrBatch)
	}
	draft := m.draft
	m.draft = nil
	if err := errors.Join(m.buffer.Flush(), draft.Sync(), draft.Close()); err != nil {
		return fmt.Errorf("write data file: %w", errors.Join(err, os.Remove(draft.Name())))
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("name data file: %w", err)
	}
	f := File{Rules: about.Rules, Agents: dayOf(about.Agents)}
	sum := sumOf(m.sum)
	return m.each(ctx, Made{Local: draft.Name(), Name: id.String() + f.traits() + "-" + sum + dataSuffix, About: about, Bytes: m.size, Sum: sum})
}

// Close gives up a file that has not ended.
func (m *Maker) Close() error {
	if m.draft == nil {
		return nil
	}
	draft := m.draft
	m.draft = nil
	return errors.Join(draft.Close(), os.Remove(draft.Name()))
}
