package lake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/blob"
)

// Finding is one thing that Verify found.
type Finding struct {
	Key    string // of the blob it is about, or the organisation's key prefix
	Detail string // what is wrong, or what was counted
	Damage bool   // data is lost, doubled or unreadable; otherwise information
}

// Verify checks everything that the organisation's current table consists of:
// metadata, the manifest lists and manifests of all snapshots, and, byte by
// byte, the data blobs of the current one. Manifests have no checksum: that they
// are what was written shows in that they agree with each other, with the
// snapshots' totals and with the footers of the data blobs, which have one.
// It changes nothing, and nothing else should change the table meanwhile. A blob that the store does not have and one
// that it cannot deliver now are told apart.
// The last finding is information: what was checked, and how many data blobs no
// snapshot refers to. An error says that checking came to an end early.
func (l *Lake) Verify(ctx context.Context, org string) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		v := &verifier{lake: l, ctx: ctx, org: org, yield: yield}
		if err := v.run(); err != nil && !errors.Is(err, errStop) {
			yield(Finding{}, fmt.Errorf("verify %s: %w", org, err))
		}
	}
}

// errStop ends a verification whose reader has seen enough.
var errStop = errors.New("stop")

type verifier struct {
	lake  *Lake
	ctx   context.Context //nolint:containedctx // lives for one Verify
	org   string
	yield func(Finding, error) bool
	table table.Metadata

	files, rows, bytes int64
	referenced         map[string]struct{} // keys of the data blobs of any snapshot
}

// damage reports what is wrong with key. A context that is done is no finding.
func (v *verifier) damage(key, detail string) error {
	if err := v.ctx.Err(); err != nil {
		return err
	}
	if !v.yield(Finding{Key: key, Detail: detail, Damage: true}, nil) {
		return errStop
	}
	return nil
}

// unreadable is the detail of an error of reading.
func unreadable(err error) string {
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		return corrupt.Detail
	case errors.Is(err, blob.ErrNotFound):
		return "missing"
	default:
		return "cannot be read: " + err.Error()
	}
}

func (v *verifier) run() error {
	if err := checkOrg(v.org); err != nil {
		return err
	}
	v.referenced = map[string]struct{}{}
	location, err := v.lake.metadataLocation(v.ctx, v.org)
	if err != nil {
		return err
	}
	key, err := keyOf(v.lake.opts.Store, location)
	if err != nil {
		return err
	}
	files := func(ctx context.Context) (iceio.IO, error) { return &fileIO{ctx: ctx, store: v.lake.opts.Store}, nil }
	tbl, err := table.NewFromLocation(v.ctx, table.Identifier{v.org, tableName}, location, files, nil)
	if err == nil {
		err = checkLayout(tbl.Metadata())
	}
	if err != nil {
		return v.damage(key, "table metadata "+unreadable(err))
	}
	v.table = tbl.Metadata()
	if err := v.snapshots(); err != nil {
		return err
	}
	return v.summary()
}

// snapshots checks the manifests of all snapshots and the data of the current.
func (v *verifier) snapshots() error {
	files := &fileIO{ctx: v.ctx, store: v.lake.opts.Store}
	checked := map[string]struct{}{}
	for _, snap := range v.table.Snapshots() {
		current := v.table.CurrentSnapshot().SnapshotID == snap.SnapshotID
		manifests, err := manifestsOf(files, &snap)
		if err == nil {
			err = checkTotals(&snap, manifests)
		}
		if err != nil {
			if err := v.damage(v.key(snap.ManifestList), "manifest list "+unreadable(err)); err != nil {
				return err
			}
			continue
		}
		live := map[string]struct{}{}
		for _, mf := range manifests {
			_, before := checked[mf.FilePath()]
			checked[mf.FilePath()] = struct{}{}
			if before && !current {
				continue
			}
			// Snapshots share manifests; the current one's are read for its data.
			if err := v.manifest(files, mf, current, live); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) key(location string) string {
	key, err := keyOf(v.lake.opts.Store, location)
	if err != nil {
		return location
	}
	return key
}

// manifest reads one manifest and, if it belongs to the current snapshot, the
// data it names.
func (v *verifier) manifest(files iceio.IO, mf iceberg.ManifestFile, current bool, live map[string]struct{}) error {
	if mf.ManifestContent() != iceberg.ManifestContentData {
		return v.damage(v.key(mf.FilePath()), errDeleteFiles.Error())
	}
	entries, err := entriesOf(files, mf)
	if err != nil {
		return v.damage(v.key(mf.FilePath()), "manifest "+unreadable(err))
	}
	var counted counts
	for _, e := range entries {
		if counted.add(e); e.Status() == iceberg.EntryStatusDELETED {
			continue
		}
		key := v.key(e.DataFile().FilePath())
		v.referenced[key] = struct{}{}
		if !current {
			continue
		}
		if _, twice := live[key]; twice {
			if err := v.damage(key, "listed twice: other engines count its rows twice"); err != nil {
				return err
			}
			continue
		}
		live[key] = struct{}{}
		if err := v.data(e.DataFile()); err != nil {
			return err
		}
	}
	if want := countsOf(mf); counted != want {
		return v.damage(v.key(mf.FilePath()), fmt.Sprintf("manifest has %s, its list says %s", counted, want))
	}
	return nil
}

// data checks one data blob: its bytes, its footer, and what the manifest says
// about it.
func (v *verifier) data(df iceberg.DataFile) error {
	f, err := fileOf(v.lake.opts.Store, df)
	if err != nil {
		return v.damage(v.key(df.FilePath()), err.Error())
	}
	if err := checkBlob(v.ctx, v.lake.opts.Store, f); err != nil {
		return v.damage(f.Path, unreadable(err))
	}
	footer, err := footerOf(v.ctx, v.lake.opts.Store, f)
	if err != nil {
		return v.damage(f.Path, "Parquet footer "+unreadable(err))
	}
	if rows := footer.GetNumRows(); rows != f.Rows {
		return v.damage(f.Path, fmt.Sprintf("holds %d rows, manifest says %d", rows, f.Rows))
	}
	want, err := entryOf(v.table, df.FilePath(), f.Bytes, footer)
	if err != nil {
		return v.damage(f.Path, "Parquet footer: "+err.Error())
	}
	if field := difference(df, want); field != "" {
		return v.damage(f.Path, "manifest has another "+field+" than the file")
	}
	v.files++
	v.rows += f.Rows
	v.bytes += f.Bytes
	return nil
}

func (v *verifier) summary() error {
	var orphans, bytes int64
	prefix := v.lake.tableKey(v.org) + "/data/"
	for info, err := range v.lake.opts.Store.List(v.ctx, prefix) {
		if err != nil {
			return err
		}
		if _, ok := v.referenced[info.Key]; !ok {
			orphans++
			bytes += info.Size
		}
	}
	detail := fmt.Sprintf("%d data blobs intact with %d rows, %d bytes; %d data blobs (%d bytes) in no snapshot", v.files, v.rows, v.bytes, orphans, bytes)
	if !v.yield(Finding{Key: prefix, Detail: detail}, nil) {
		return errStop
	}
	return nil
}

// metadataLocation asks the catalog alone, so that damaged metadata has a name.
func (l *Lake) metadataLocation(ctx context.Context, org string) (string, error) {
	var location string
	row := l.db.QueryRowContext(ctx, `SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?`, l.catalog.Name(), org, tableName)
	if err := row.Scan(&location); err != nil {
		return "", fmt.Errorf("find the table in the catalog: %w", err)
	}
	return location, nil
}

const (
	parquetMagic = "PAR1"
	parquetTail  = 8 // length of the footer, magic
)

// footerOf reads the footer of a Parquet blob.
func footerOf(ctx context.Context, s blob.Store, f File) (*metadata.FileMetaData, error) {
	if f.Bytes < parquetTail {
		return nil, &CorruptError{f.Path, fmt.Sprintf("%d bytes are no Parquet file", f.Bytes)}
	}
	tail, err := readRange(ctx, s, f.Path, f.Bytes-parquetTail, parquetTail)
	if err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if string(tail[4:]) != parquetMagic || n > f.Bytes-parquetTail {
		return nil, &CorruptError{f.Path, "is not that of a Parquet file"}
	}
	footer, err := readRange(ctx, s, f.Path, f.Bytes-parquetTail-n, n)
	if err != nil {
		return nil, err
	}
	m, err := metadata.NewFileMetaData(footer, nil)
	if err != nil {
		return nil, &CorruptError{f.Path, "does not parse: " + err.Error()}
	}
	return m, nil
}

// readRange reads exactly n bytes.
func readRange(ctx context.Context, s blob.Store, key string, off, n int64) ([]byte, error) {
	body, err := s.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	data := make([]byte, n)
	_, err = io.ReadFull(body, data)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	return data, nil
}
