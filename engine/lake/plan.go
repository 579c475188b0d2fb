package lake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"time"

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

	// Bounds of recipient_id: no other recipient's rows are in the file.
	MinRecipient, MaxRecipient event.RecipientID
	Rules                      int          // version of the rules applied by an Encoder's caller; 0: as flushed
	Agents                     event.Micros // no row older than this day has a user agent; 0: none has

	data iceberg.DataFile // set by Write
}

// traitsInName finds what the name of a Receiver's file says about it: version of
// rules, and day of the oldest user agent.
var traitsInName = regexp.MustCompile(`-r(\d{1,4})-a(\d{8}|0)-[0-9a-f]{32}\.parquet$`)

const dayFormat = "20060102"

// dayOf is the start of the day of at, UTC; 0 stays 0.
func dayOf(at event.Micros) event.Micros {
	const day = 24 * 60 * 60 * 1_000_000
	return at - ((at%day)+day)%day
}

// traits is the part of f's name that traitsInName finds.
func (f *File) traits() string {
	agents := "0"
	if f.Agents != 0 {
		agents = f.Agents.Time().Format(dayFormat)
	}
	return fmt.Sprintf("-r%d-a%s", f.Rules, agents)
}

// readTraits sets what f's name says.
func (f *File) readTraits() error {
	f.Agents = dayOf(f.MinTime)
	m := traitsInName.FindStringSubmatch(path.Base(f.Path))
	if m == nil {
		return nil
	}
	var err error
	if f.Rules, err = strconv.Atoi(m[1]); err != nil {
		return fmt.Errorf("name of data file %s: %w", f.Path, err)
	}
	if m[2] == "0" {
		f.Agents = 0
		return nil
	}
	day, err := time.Parse(dayFormat, m[2])
	if err != nil {
		return fmt.Errorf("name of data file %s: %w", f.Path, err)
	}
	f.Agents = event.At(day)
	return nil
}

// recipients are the bounds of recipient_id; everything when there are none.
func recipients(df iceberg.DataFile) (from, to event.RecipientID) {
	low, okLow := micros(df.LowerBoundValues()[fieldRecipientID])
	high, okHigh := micros(df.UpperBoundValues()[fieldRecipientID])
	if !okLow || !okHigh {
		return 0, math.MaxInt64
	}
	return event.RecipientID(low), event.RecipientID(high)
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
		manifests, err := manifestsOf(io, head)
		if err != nil {
			yield(nil, fmt.Errorf("read manifest list %s: %w", head.ManifestList, err))
			return
		}
		for _, m := range manifests {
			if m.ManifestContent() != iceberg.ManifestContentData {
				yield(nil, fmt.Errorf("manifest %s: %w", m.FilePath(), errDeleteFiles))
				return
			}
			entries, err := entriesOf(io, m)
			if err != nil {
				yield(nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err))
				return
			}
			for _, e := range entries {
				if e.Status() != iceberg.EntryStatusDELETED && !yield(e.DataFile(), nil) {
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
	f.MinRecipient, f.MaxRecipient = recipients(df)
	return f, f.readTraits()
}

// micros decodes a bound as Iceberg serialises a timestamp or a long.
func micros(b []byte) (event.Micros, bool) {
	if len(b) != 8 {
		return 0, false
	}
	return event.Micros(binary.LittleEndian.Uint64(b)), true //nolint:gosec // two's complement by definition
}
