package lake

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/event"
)

const (
	tableName = "interactions"
	// Iceberg field ids of the columns that the layout depends on.
	fieldOccurredAt  = 2
	fieldEmailID     = 5
	fieldRecipientID = 6
	// monthField is the id of the only partition field.
	monthField = 1000
)

// icebergSchema is event.Schema as Iceberg has it, field ids included.
func icebergSchema() (*iceberg.Schema, error) {
	s, err := table.ArrowSchemaToIceberg(event.Schema(), false, nil)
	if err != nil {
		return nil, fmt.Errorf("iceberg schema: %w", err)
	}
	return s, nil
}

// tableProperties are the properties of a new table. Bounds in manifests
// outlive the rows they were taken from until manifests are rewritten, so a
// column has none unless it is listed here. recipient_id has them although it
// stands for a person: it is a pseudonym without meaning outside the registry,
// and its bounds are how the files of one person are found for erasure.
func tableProperties() iceberg.Properties {
	p := iceberg.Properties{
		table.PropertyFormatVersion:               "2",
		table.WriteDeleteModeKey:                  table.WriteModeCopyOnWrite,
		table.WriteDeleteIsolationLevelKey:        "snapshot",
		table.WriteUpdateIsolationLevelKey:        "snapshot",
		table.CommitNumRetriesKey:                 "20",
		table.CommitMinRetryWaitMsKey:             "10",
		table.CommitMaxRetryWaitMsKey:             "500",
		table.CommitTotalRetryTimeoutMsKey:        "60000",
		table.MetadataDeleteAfterCommitEnabledKey: "true",
		// Readers and committers elsewhere may still be reading the metadata of a
		// few commits ago.
		table.MetadataPreviousVersionsMaxKey: "20",
		// gzip has a checksum: a changed digit of a mark would lose or double events.
		table.MetadataCompressionKey:     table.MetadataCompressionCodecGzip,
		table.ManifestMergeEnabledKey:    "true",
		table.ParquetCompressionKey:      "zstd",
		table.DefaultWriteMetricsModeKey: "counts",
	}
	const column = "write.metadata.metrics.column."
	for _, c := range []string{"event_id", "occurred_at", "delay", "email_id", "recipient_id", "component"} {
		p[column+c] = "full"
	}
	for _, c := range []string{"kind", "actor", "reason", "device", "client", "os", "source", "user_agent", "network"} {
		p[column+c] = "none"
	}
	return p
}

// createTable makes namespace and table unless they are there.
func (l *Lake) createTable(ctx context.Context, id table.Identifier, location string) error {
	schema, err := icebergSchema()
	if err != nil {
		return err
	}
	spec := iceberg.NewPartitionSpec(iceberg.PartitionField{
		SourceIDs: []int{fieldOccurredAt}, FieldID: monthField, Name: "occurred_at_month", Transform: iceberg.MonthTransform{},
	})
	var fields []table.SortField
	for _, f := range []int{fieldEmailID, fieldRecipientID, fieldOccurredAt} {
		fields = append(fields, table.SortField{
			SourceIDs: []int{f}, Transform: iceberg.IdentityTransform{}, Direction: table.SortASC, NullOrder: table.NullsFirst,
		})
	}
	order, err := table.NewSortOrder(1, fields)
	if err != nil {
		return fmt.Errorf("sort order: %w", err)
	}
	if err := l.catalog.CreateNamespace(ctx, catalog.NamespaceFromIdent(id), nil); err != nil && !errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return fmt.Errorf("create namespace: %w", err)
	}
	_, err = l.catalog.CreateTable(ctx, id, schema, catalog.WithLocation(location),
		catalog.WithPartitionSpec(&spec), catalog.WithSortOrder(order), catalog.WithProperties(tableProperties()))
	if err != nil && !errors.Is(err, catalog.ErrTableAlreadyExists) {
		return fmt.Errorf("create table: %w", err)
	}
	return nil
}

// checkLayout refuses a table that this program did not make.
func checkLayout(m table.Metadata) error {
	want, err := icebergSchema()
	if err != nil {
		return err
	}
	if !want.Equals(m.CurrentSchema()) {
		return fmt.Errorf("table has another schema: %s", m.CurrentSchema())
	}
	spec := m.PartitionSpec()
	if f := spec.FieldsBySourceID(fieldOccurredAt); spec.NumFields() != 1 || len(f) != 1 || f[0].Transform != (iceberg.MonthTransform{}) {
		return fmt.Errorf("table is not partitioned by the month of occurred_at: %s", spec)
	}
	return nil
}

const (
	markPrefix   = "mailwake.mark."   // + node: the node's mark, a decimal
	commitPrefix = "mailwake.commit." // + node: id of the commit that set the mark
	commitID     = "mailwake.commit"  // the same id in the summary of the snapshot
)

// markOf returns the mark of node, 0 when it has none.
func markOf(m table.Metadata, node string) (uint64, error) {
	text, ok := m.Properties()[markPrefix+node]
	if !ok {
		return 0, nil
	}
	mark, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("mark of node %s: %w", node, err)
	}
	return mark, nil
}
