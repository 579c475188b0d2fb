package registry

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"

	"mailwake/engine/problem"
)

//go:embed migrations/*.up.sql
var migrationFiles embed.FS

// migrateSchema applies the missing migrations, all or none: the transaction also
// covers the table that remembers them, and its lock keeps a second process out.
// It relies on db having one connection. Files must therefore not be named
// .tx.up.sql, which would begin a transaction of their own.
func migrateSchema(ctx context.Context, db *bun.DB) (err error) {
	known := migrate.NewMigrations()
	if err := known.Discover(migrationFiles); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	// Interrupting a statement would lose the connection, and with it the
	// transaction; the statements themselves are short.
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if err != nil {
			_, undo := db.ExecContext(ctx, "ROLLBACK")
			err = errors.Join(err, undo)
		}
	}()
	m := migrate.NewMigrator(db, known, migrate.WithMarkAppliedOnSuccess(true))
	if err := m.Init(ctx); err != nil {
		return err
	}
	unknown, err := m.MissingMigrations(ctx)
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		return tooNew(unknown, known)
	}
	if _, err := m.Migrate(ctx); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "COMMIT")
	return err
}

func tooNew(unknown migrate.MigrationSlice, known *migrate.Migrations) error {
	newest := unknown[0].Name
	for _, u := range unknown {
		newest = max(newest, u.Name)
	}
	sorted := known.Sorted()
	return problem.New(500, "registry_too_new",
		"The registry was written by a newer mailwake (schema %s, this one knows up to %s); use that version.",
		newest, sorted[len(sorted)-1].Name)
}

// schemaVersion returns the name of the newest applied migration.
func schemaVersion(ctx context.Context, db bun.IDB) (version string, err error) {
	err = db.NewRaw("SELECT max(name) FROM bun_migrations").Scan(ctx, &version)
	if err != nil {
		return "", fmt.Errorf("read schema version: %w", err)
	}
	return version, nil
}
