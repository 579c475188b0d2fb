package query

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/util"

	"mailwake/engine/problem"
)

// resultWriter takes a result as it is made.
type resultWriter interface {
	begin(prefix int) // bytes of our own in front of the statement
	schema(*arrow.Schema) error
	// batch takes a batch, which it does not keep, and says whether more are wanted.
	batch(arrow.RecordBatch) (more bool, err error)
}

// ipcWriter sends a result as an Arrow IPC stream in frames.
type ipcWriter struct {
	to       io.Writer
	limit    int
	maxBytes int64

	question  question
	prefix    int
	ipc       *ipc.Writer
	rows      int
	bytes     int64
	truncated bool
}

func (w *ipcWriter) begin(prefix int) { w.prefix = prefix }

func (w *ipcWriter) schema(s *arrow.Schema) error {
	w.ipc = ipc.NewWriter(frameWriter{w.to}, ipc.WithSchema(s))
	return nil
}

func (w *ipcWriter) batch(b arrow.RecordBatch) (more bool, err error) {
	if room := int64(w.limit - w.rows); b.NumRows() > room {
		w.truncated = true
		if room == 0 {
			return false, nil
		}
		b = b.NewSlice(0, room)
		defer b.Release()
	}
	if w.bytes += util.TotalRecordSize(b); w.bytes > w.maxBytes {
		return false, problem.New(413, "result_too_large", "The result is larger than %d MiB; ask for fewer rows or columns.", w.maxBytes>>20)
	}
	w.rows += int(b.NumRows())
	if err := w.ipc.Write(b); err != nil {
		return false, fmt.Errorf("send result: %w", err)
	}
	return !w.truncated, nil
}

// close ends the stream; a result without rows has a schema all the same.
func (w *ipcWriter) close() error {
	if w.ipc == nil {
		return nil
	}
	if err := w.ipc.Close(); err != nil {
		return fmt.Errorf("send result: %w", err)
	}
	return nil
}
