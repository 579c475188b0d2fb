//go:build duckdb_arrow

package query

import (
	"context"
	"database/sql"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/util"
	"github.com/duckdb/duckdb-go/v2"
	"github.com/duckdb/duckdb-go/v2/mapping"

	"mailwake/engine/problem"
)

// collectDirect is collect for a text without parameters. DuckDB plans a prepared
// statement when it is prepared and again when it runs; a text that is run as it
// is, once, which is most of what a KPI over a small tail costs (7 against 12 ms).
func collectDirect(ctx context.Context, conn *sql.Conn, text string, q question, maxBytes int64) (*Result, error) {
	out := &collector{result: new(Result), limit: q.limit, maxBytes: maxBytes}
	err := conn.Raw(func(c any) error {
		handle, err := connectionOf(c)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { mapping.Interrupt(handle) })
		defer stop()
		if err := ctx.Err(); err != nil {
			return err // before the interrupt could reach the query
		}
		var result mapping.Result
		defer mapping.DestroyResult(&result)
		if mapping.Query(handle, text, &result) == mapping.StateError {
			return &duckdb.Error{Msg: mapping.ResultError(&result)}
		}
		return streamChunks(ctx, &result, out)
	})
	if err != nil {
		out.result.Close()
		return nil, err
	}
	return out.result, nil
}

// collector keeps a result in memory.
type collector struct {
	result   *Result
	limit    int
	bytes    int64
	maxBytes int64
}

func (c *collector) begin(int) {}

func (c *collector) schema(s *arrow.Schema) error {
	c.result.schema = s
	return nil
}

func (c *collector) batch(b arrow.RecordBatch) (more bool, err error) {
	if room := int64(c.limit - c.result.rows); b.NumRows() > room {
		c.result.truncated = true
		if room > 0 {
			c.result.add(b.NewSlice(0, room))
		}
		return false, nil
	}
	b.Retain()
	c.result.add(b)
	if c.bytes += util.TotalRecordSize(b); c.bytes > c.maxBytes {
		return false, problem.New(413, "result_too_large", "The result is larger than %d MiB; ask for fewer rows or columns.", c.maxBytes>>20)
	}
	return true, nil
}
