//go:build duckdb_arrow

package query

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/util"
	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/problem"
)

// collect runs text and takes its whole result, at most q.limit rows of it. The
// result is held in memory, so that neither View nor connection outlives the
// query, however slow its reader is.
func collect(ctx context.Context, conn *sql.Conn, text string, q question, maxBytes int64) (res *Result, err error) {
	err = conn.Raw(func(c any) error {
		res, err = collectArrow(ctx, c.(driver.Conn), text, q, maxBytes)
		return err
	})
	return res, err
}

func collectArrow(ctx context.Context, conn driver.Conn, text string, q question, maxBytes int64) (res *Result, err error) {
	a, err := duckdb.NewArrowFromConn(conn)
	if err != nil {
		return nil, fmt.Errorf("open Arrow interface: %w", err)
	}
	reader, err := a.QueryContext(ctx, text, q.args...)
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	got := &Result{schema: reader.Schema()}
	defer func() {
		if err != nil {
			got.Close()
		}
	}()
	var bytes int64
	for reader.Next() {
		batch := reader.RecordBatch()
		if room := int64(q.limit - got.rows); batch.NumRows() > room {
			got.truncated = true
			if room > 0 {
				got.add(batch.NewSlice(0, room))
			}
			return got, nil
		}
		batch.Retain()
		got.add(batch)
		if bytes += util.TotalRecordSize(batch); bytes > maxBytes {
			return nil, problem.New(413, "result_too_large", "The result is larger than %d MiB; ask for fewer rows or columns.", maxBytes>>20)
		}
	}
	if err := reader.Err(); err != nil {
		return nil, err
	}
	return got, nil
}
