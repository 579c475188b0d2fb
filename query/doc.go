// Package query answers questions about one organisation's interactions: KPIs,
// which are SQL files of this package with bound parameters, and SELECT
// statements of analysts. DuckDB runs both, KPIs in this process, statements in
// workers: processes of this program that are confined, hold one organisation's
// rows as far as a role may see them, and can be killed. A gate lets only such
// statements through whose every part is on a list.
//
//	DB.SQL ─ workers ─ feeder ═ socket ═▶ worker: gate ─ store ─ DuckDB
//	   ▲                                    │
//	   └──── Result ◀═ Arrow IPC ═══════════┘
//
// It has three types to know: DB, which holds one in-memory DuckDB instance per
// organisation; KPI, an entry of the catalogue; and Result, Arrow record batches
// that write themselves as JSON, NDJSON, CSV, Arrow, Parquet or a text table.
//
// A query reads one View: the Parquet files of a pinned table snapshot, and the
// tail of events that no file holds yet. Tail rows are copied once into hot
// segments, in-memory tables with a column pos for the place in the log:
//
//	View ─ Files() ───────────────────────────▶ read_parquet([...])          ┐
//	     └ Tail() = [from, to), Rows(next) ──▶ hot_7, hot_8 ── from ≤ pos < to ┴ UNION ALL = interactions
//	Catalog ─ …Since(last id) ────────────────▶ emails, recipients, links
//
// The invariant: a query sees each event exactly once, whatever other queries
// and flushes do meanwhile, because files and the range of pos come from the
// same View and are fixed in the text of the query. No statement changes what
// another one reads. Segments only grow at their end; when the start of the tail
// moves, a new one begins, and one that is wholly before it is dropped as soon
// as no running query reads it.
//
// Instances are locked: no file outside the organisation's own folders can be
// read, nothing can be loaded, and no setting can be changed.
package query
