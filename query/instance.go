package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/event"
)

// Columns of interactions in the order of event.Schema. The hot tables have
// enumerations where the files have text: a row is smaller and a filter faster.
// Queries see text in both, since casting all rows of the files to enumerations
// costs more than it saves (36 against 13 ms for a GROUP BY over 1 M rows).
const (
	allColumns = "event_id, occurred_at, received_at, kind, email_id, recipient_id, component, " +
		"actor, reason, device, client, os, source, user_agent, network"
	// Files have the delay instead, see event.Schema.
	fileColumns = "event_id, occurred_at, make_timestamp(epoch_us(occurred_at) + delay) AS received_at, kind, email_id, recipient_id, component, " +
		"actor, reason, device, client, os, source, user_agent, network"
	hotColumns = "event_id, occurred_at, received_at, kind::VARCHAR AS kind, email_id, recipient_id, component, " +
		"actor::VARCHAR AS actor, reason, device::VARCHAR AS device, client, os, source::VARCHAR AS source, user_agent, network"
	hotDDL = `(pos UBIGINT, event_id BIGINT, occurred_at TIMESTAMP, received_at TIMESTAMP, kind kind_t,
  email_id BIGINT, recipient_id BIGINT, component INTEGER, actor actor_t, reason VARCHAR, device device_t,
  client VARCHAR, os VARCHAR, source source_t, user_agent VARCHAR, network VARCHAR)`
	// nothing has the types of the other two branches and no row.
	nothing = `SELECT NULL::BIGINT AS event_id, NULL::TIMESTAMP AS occurred_at, NULL::TIMESTAMP AS received_at,
  NULL::VARCHAR AS kind, NULL::BIGINT AS email_id, NULL::BIGINT AS recipient_id, NULL::INTEGER AS component,
  NULL::VARCHAR AS actor, NULL::VARCHAR AS reason, NULL::VARCHAR AS device, NULL::VARCHAR AS client,
  NULL::VARCHAR AS os, NULL::VARCHAR AS source, NULL::VARCHAR AS user_agent, NULL::VARCHAR AS network WHERE false`
)

// openInstance opens an in-memory DuckDB with the tables of one organisation,
// locked to its folders.
func openInstance(ctx context.Context, o *Options, org event.OrgID) (db *sql.DB, err error) {
	folders, err := o.Folders(org)
	if err != nil {
		return nil, fmt.Errorf("folders of organisation %d: %w", org, err)
	}
	if db, err = openDuck(o.Threads, o.MemoryLimit); err != nil {
		return nil, err
	}
	opened := db // a return of an error sets db to nil
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	db.SetMaxIdleConns(o.Concurrency + 1)
	for _, statement := range []string{
		"CREATE TYPE kind_t AS ENUM (" + literals(event.Kinds()) + ")",
		"CREATE TYPE actor_t AS ENUM (" + literals(event.Actors()) + ")",
		"CREATE TYPE device_t AS ENUM (" + literals(event.Devices()) + ")",
		"CREATE TYPE source_t AS ENUM (" + literals(event.Sources()) + ")",
		`CREATE TABLE catalog_emails (email_id BIGINT, sender VARCHAR, subject VARCHAR, template VARCHAR, created_at TIMESTAMP, links BIGINT,
		  follow_state VARCHAR, attachments BIGINT, recipients BIGINT)`,
		"CREATE TABLE catalog_recipients (recipient_id BIGINT, address VARCHAR, name VARCHAR, person VARCHAR)",
		"CREATE TABLE catalog_links (email_id BIGINT, component INTEGER, url VARCHAR)",
		"CREATE TABLE catalog_attachments (email_id BIGINT, component INTEGER, name VARCHAR, media_type VARCHAR, size BIGINT, followed BOOLEAN)",
		"CREATE TABLE consent_denied" + listingDDL,
		"CREATE TABLE consent_granted" + listingDDL,
		"SET temp_directory = " + literal(o.spillDir(org)),
		"SET max_temp_directory_size = " + literal(spillLimit),
		"SET allowed_directories = [" + literals(folders) + "]",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("prepare instance: %w", err)
		}
	}
	return db, nil
}

// openDuck opens an empty in-memory DuckDB that loads nothing, tells errors with
// their position, keeps what it has read of a Parquet file's footer, and takes UTC for
// the zone of times that have none.
func openDuck(threads int, memory int64) (*sql.DB, error) {
	settings := url.Values{
		"threads":                      {strconv.Itoa(threads)},
		"memory_limit":                 {strconv.FormatInt(memory, 10) + "B"},
		"errors_as_json":               {"true"},
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
		"allow_community_extensions":   {"false"},
		"allow_unsigned_extensions":    {"false"},
		"allow_persistent_secrets":     {"false"},
		"arrow_lossless_conversion":    {"false"},
		"produce_arrow_string_view":    {"false"},
		"ieee_floating_point_ops":      {"true"},
		// A checkpoint of tables in memory frees what was deleted from them, which is next to
		// nothing here, and keeps the one who appends waiting: by default 80 ms every 124,000 rows.
		"checkpoint_threshold": {"256MiB"},
	}
	var connector *duckdb.Connector
	err := politely(func() (err error) { // DuckDB starts its threads here
		connector, err = duckdb.NewConnector("?"+settings.Encode(), nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	db := sql.OpenDB(connector)
	for _, statement := range []string{
		"SET GLOBAL TimeZone = 'UTC'",
		"SET GLOBAL parquet_metadata_cache = true", // a data file never changes; within the memory limit
	} {
		if _, err := db.Exec(statement); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare DuckDB: %w", err), db.Close())
		}
	}
	return db, nil
}
