//go:build !duckdb_arrow

package query

import (
	"context"
	"database/sql"
)

// DuckDB's Arrow interface is behind a build tag. The name below exists nowhere,
// so that a build without the tag ends with this one sentence.
var _ = build_mailwake_with_GOFLAGS_tags_duckdb_arrow_or_use_make_build

func collect(context.Context, *sql.Conn, string, question, int64) (*Result, error) {
	return nil, nil
}

func collectDirect(context.Context, *sql.Conn, string, question, int64) (*Result, error) {
	return nil, nil
}

func streamQuery(context.Context, *sql.Conn, string, resultWriter) error { return nil }

func newTotalsEngine(context.Context, workerSetup) (statementEngine, error) { return nil, nil }
