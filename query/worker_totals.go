//go:build duckdb_arrow

package query

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/duckdb/duckdb-go/v2"
)

// totalsEngine answers over the tables of the aggregate surface. They were made
// elsewhere: no file, no row of a person and no id of one is in this process.
type totalsEngine struct{ duck *sql.DB }

func newTotalsEngine(ctx context.Context, setup workerSetup) (*totalsEngine, error) {
	duck, err := openDuck(setup.Threads, setup.Memory)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{
		"SET temp_directory = " + literal(setup.Dir+"/org-spill"),
		"SET max_temp_directory_size = " + literal(spillLimit),
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if _, err := duck.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare instance: %w", err), duck.Close())
		}
	}
	return &totalsEngine{duck: duck}, nil
}

func (e *totalsEngine) surface() surface { return totalTables }

func (e *totalsEngine) take(ctx context.Context, o *workerOrder) error {
	for _, t := range o.Tables {
		if err := e.replace(ctx, t); err != nil {
			return fmt.Errorf("take table %s: %w", t.Name, err)
		}
	}
	return nil
}

// replace puts a table in place of the one of its name. The batches are in C's
// memory, and the view over them is read once, by INSERT, which is the only use of
// it that DuckDB gets right.
func (e *totalsEngine) replace(ctx context.Context, t workerTable) (err error) {
	conn, err := e.duck.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	reader, err := ipc.NewReader(bytes.NewReader(t.IPC), ipc.WithAllocator(mallocator.NewMallocator()))
	if err != nil {
		return err
	}
	defer reader.Release()
	var release func()
	err = conn.Raw(func(c any) error {
		a, err := duckdb.NewArrowFromConn(c.(driver.Conn))
		if err != nil {
			return err
		}
		release, err = a.RegisterView(reader, "catalog_arriving")
		return err
	})
	if err != nil {
		return err
	}
	defer release()
	_, err = conn.ExecContext(ctx, "CREATE OR REPLACE TABLE "+t.Name+" AS SELECT * FROM catalog_arriving")
	return err
}

func (e *totalsEngine) answer(ctx context.Context, q question, out resultWriter) error {
	return runStatement(ctx, e.duck, "", q, out)
}
