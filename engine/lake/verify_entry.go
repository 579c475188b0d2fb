package lake

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"strconv"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// counts are files and rows of a manifest by status.
type counts struct {
	files, rows [iceberg.EntryStatusDELETED + 1]int64
}

// add counts e, unless its status is none: then the count is found to be short.
func (c *counts) add(e iceberg.ManifestEntry) {
	if s := e.Status(); s >= 0 && s <= iceberg.EntryStatusDELETED {
		c.files[s]++
		c.rows[s] += e.DataFile().Count()
	}
}

// countsOf is what the manifest list says of mf.
func countsOf(mf iceberg.ManifestFile) (c counts) {
	for status, n := range map[iceberg.ManifestEntryStatus][2]int64{
		iceberg.EntryStatusADDED:    {int64(mf.AddedDataFiles()), mf.AddedRows()},
		iceberg.EntryStatusEXISTING: {int64(mf.ExistingDataFiles()), mf.ExistingRows()},
		iceberg.EntryStatusDELETED:  {int64(mf.DeletedDataFiles()), mf.DeletedRows()},
	} {
		c.files[status], c.rows[status] = n[0], n[1]
	}
	return c
}

func (c counts) String() string {
	return fmt.Sprintf("%d files added, %d kept, %d removed (%d, %d, %d rows)",
		c.files[iceberg.EntryStatusADDED], c.files[iceberg.EntryStatusEXISTING], c.files[iceberg.EntryStatusDELETED],
		c.rows[iceberg.EntryStatusADDED], c.rows[iceberg.EntryStatusEXISTING], c.rows[iceberg.EntryStatusDELETED])
}

// checkTotals compares a manifest list with the totals of its snapshot.
func checkTotals(snap *table.Snapshot, manifests []iceberg.ManifestFile) error {
	if snap.Summary == nil {
		return &CorruptError{snap.ManifestList, "belongs to a snapshot without totals"}
	}
	var files, rows int64
	for _, mf := range manifests {
		if mf.ManifestContent() != iceberg.ManifestContentData {
			continue
		}
		files += int64(mf.AddedDataFiles()) + int64(mf.ExistingDataFiles())
		rows += mf.AddedRows() + mf.ExistingRows()
	}
	for property, got := range map[string]int64{"total-data-files": files, "total-records": rows} {
		if want := snap.Summary.Properties[property]; want != strconv.FormatInt(got, 10) {
			return &CorruptError{snap.ManifestList, fmt.Sprintf("has %d, the snapshot says %s %s", got, property, want)}
		}
	}
	return nil
}

// difference names a field in which a manifest's entry differs from what the data
// file itself says; empty if there is none.
func difference(got, want iceberg.DataFile) string {
	sizes := func(name string, a, b map[int]int64) string {
		if maps.Equal(a, b) {
			return ""
		}
		return name
	}
	bounds := func(name string, a, b map[int][]byte) string {
		if maps.EqualFunc(a, b, bytes.Equal) {
			return ""
		}
		return name
	}
	plain := func(name string, a, b any) string {
		if reflect.DeepEqual(a, b) {
			return ""
		}
		return name
	}
	for _, field := range []string{
		plain("content", got.ContentType(), want.ContentType()),
		plain("format", got.FileFormat(), want.FileFormat()),
		plain("row count", got.Count(), want.Count()),
		plain("size", got.FileSizeBytes(), want.FileSizeBytes()),
		sizes("column size", got.ColumnSizes(), want.ColumnSizes()),
		sizes("value count", got.ValueCounts(), want.ValueCounts()),
		sizes("null count", got.NullValueCounts(), want.NullValueCounts()),
		sizes("NaN count", got.NaNValueCounts(), want.NaNValueCounts()),
		bounds("lower bound", got.LowerBoundValues(), want.LowerBoundValues()),
		bounds("upper bound", got.UpperBoundValues(), want.UpperBoundValues()),
		plain("split offset", got.SplitOffsets(), want.SplitOffsets()),
		plain("sort order", got.SortOrderID(), want.SortOrderID()),
		plain("partition", len(got.Partition()), len(want.Partition())),
	} {
		if field != "" {
			return field
		}
	}
	return ""
}
