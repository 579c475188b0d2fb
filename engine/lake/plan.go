package lake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"regexp"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/blob"
	"mailwake/engine/event"
)

// File is one data file of a table, or on its way into one. Only Files that
// came from Write can be added, only those of a Snapshot removed.
type File struct {
	Path    string       // blob key
	Rows    int64        // at least 1
	Bytes   int64        // of the blob
	MinTime event.Micros // of occurred_at; both in the same month, UTC
	MaxTime event.Micros
	Sum     string // first 128 bits of the blob's SHA-256, hex; empty if unknown

	data iceberg.DataFile // set by Write
}

// sumInName finds the checksum in the name of a data blob.
var sumInName = regexp.MustCompile(`-([0-9a-f]{32})\.parquet$`)

// plan lists the data files of tbl's current snapshot from its manifests. It
// reads manifests rather than planning a scan, which would split large files
// into several tasks and cost ten times the memory.
func plan(ctx context.Context, s blob.Store, tbl *table.Table) ([]File, error) {
	files := []File{}
	seen := map[string]struct{}{}
	for df, err := range dataFiles(ctx, tbl) {
		if err != nil {
			return nil, fmt.Errorf("plan snapshot: %w", err)
		}
		f, err := fileOf(s, df)
		if err != nil {
			return nil, fmt.Errorf("plan snapshot: %w", err)
		}
		// Listed twice is a damage that Verify reports; its rows count once.
		if _, twice := seen[f.Path]; !twice {
			seen[f.Path] = struct{}{}
			files = append(files, f)
		}
	}
	return files, nil
}

// dataFiles yields the live entries of tbl's current snapshot. An error ends it.
func dataFiles(ctx context.Context, tbl *table.Table) func(yield func(iceberg.DataFile, error) bool) {
	return func(yield func(iceberg.DataFile, error) bool) {
		head := tbl.CurrentSnapshot()
		if head == nil {
			return
		}
		io, err := tbl.FS(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		manifests, err := head.Manifests(io)
		if err != nil {
			yield(nil, fmt.Errorf("read manifest list %s: %w", head.ManifestList, err))
			return
		}
		for _, m := range manifests {
			if m.ManifestContent() != iceberg.ManifestContentData {
				yield(nil, fmt.Errorf("manifest %s: %w", m.FilePath(), errDeleteFiles))
				return
			}
			for e, err := range m.Entries(io, true) {
				if err != nil {
					yield(nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err))
					return
				}
				if !yield(e.DataFile(), nil) {
					return
				}
			}
		}
	}
}

// errDeleteFiles: rows hidden by delete files would show in every query that
// reads the data files alone.
var errDeleteFiles = errors.New("table has delete files (merge on read), which mailwake neither writes nor reads")

// fileOf translates a manifest's entry.
func fileOf(s blob.Store, df iceberg.DataFile) (File, error) {
	key, err := keyOf(s, df.FilePath())
	if err != nil {
		return File{}, err
	}
	from, okFrom := micros(df.LowerBoundValues()[fieldOccurredAt])
	to, okTo := micros(df.UpperBoundValues()[fieldOccurredAt])
	if !okFrom || !okTo {
		return File{}, fmt.Errorf("data file %s has no bounds of occurred_at", key)
	}
	f := File{Path: key, Rows: df.Count(), Bytes: df.FileSizeBytes(), MinTime: from, MaxTime: to}
	if m := sumInName.FindStringSubmatch(path.Base(key)); m != nil {
		f.Sum = m[1]
	}
	return f, nil
}

// micros decodes a bound as Iceberg serialises a timestamp.
func micros(b []byte) (event.Micros, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return event.Micros(binary.LittleEndian.Uint64(b)), true //nolint:gosec // two's complement by definition
}
