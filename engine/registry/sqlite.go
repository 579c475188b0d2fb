package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailwake/engine/problem"
)

// readers is the number of connections that read at the same time; feeds and
// lookups are short, so a few are enough and each costs a page cache.
const readers = 4

// sqlitePath returns the file that dsn names.
func sqlitePath(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	// The parse error would repeat the DSN, which may hold a password.
	if err != nil || u.Scheme != "sqlite" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(u.Path) {
		return "", problem.New(400, "registry_dsn", "The registry's address must look like sqlite:///absolute/path/registry.db.")
	}
	return filepath.Clean(u.Path), nil
}

// createPrivate makes sure that the file exists and only its owner can read it;
// SQLite gives its side files the same mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// openSQLite opens a pool on path. The writer's transactions take the write lock
// at once, so that none fails half-way because another one began to write.
func openSQLite(path string, busy time.Duration, writer bool) (*bun.DB, error) {
	q := url.Values{
		"_busy_timeout": {strconv.FormatInt(busy.Milliseconds(), 10)},
		"_foreign_keys": {"on"},
		"_synchronous":  {"full"},
		"_dqs":          {"0"},
		"_defensive":    {"1"},
		"_error_rc":     {"1"},
		"mode":          {"rw"},
	}
	if writer {
		q.Set("_txlock", "immediate")
		// What is deleted or replaced is overwritten: see scrub.
		q.Set("_pragma", "secure_delete(on)")
	} else {
		q.Set("_query_only", "on")
	}
	connector, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	size := readers
	if writer {
		size = 1
	}
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return bun.NewDB(pool, sqlitedialect.New()), nil
}

// prepare makes path's database a registry: write-ahead log on, schema up to date.
// While another process opens or closes the same file, SQLite refuses the switch
// to the log, and sometimes the first transaction, without asking the busy
// handler; so both are tried again for as long as a change would wait.
func prepare(ctx context.Context, db *bun.DB, patience time.Duration) error {
	const pause = 5 * time.Millisecond // an opening takes about as long
	for deadline := time.Now().Add(patience); ; {
		err := useWAL(ctx, db)
		if err == nil {
			err = migrateSchema(ctx, db)
		}
		if code := sqliteCode(err) & 0xff; code != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// useWAL turns the write-ahead log on; the file remembers it.
func useWAL(ctx context.Context, db *bun.DB) error {
	var mode string
	if err := db.NewRaw("PRAGMA journal_mode = wal").Scan(ctx, &mode); err != nil {
		return fmt.Errorf("turn write-ahead log on: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("turn write-ahead log on: the file system leaves it at %s", mode)
	}
	return nil
}

// storeError wraps err with the act and turns what a caller can act on into a
// problem. SQLite's messages name tables and columns, never values.
func storeError(act string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*problem.Error](err); ok {
		return err
	}
	wrapped := fmt.Errorf("%s: %w", act, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return wrapped
	}
	switch code := sqliteCode(err); code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return busy().Because(wrapped)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return problem.New(500, "registry_corrupt", "The registry's file is damaged or is not a registry; restore it from a backup.").Because(wrapped)
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return problem.New(503, "registry_unavailable", "The registry cannot be written; see to its disk and permissions.").Because(wrapped)
	}
	return wrapped
}

// sqliteCode returns SQLite's extended result code, or 0 when err is not SQLite's.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

func isDuplicate(err error) bool { return sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_UNIQUE }
