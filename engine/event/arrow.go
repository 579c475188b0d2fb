package event

import (
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// FieldIDKey is the Arrow field metadata that carries a column's Iceberg field
// id into Parquet.
const FieldIDKey = "PARQUET:field_id"

// The columns, in schema order; column i has Iceberg field id i+1. Ids are never
// reused: a new column takes the next one.
const (
	colEventID = iota
	colOccurredAt
	colDelay
	colKind
	colEmailID
	colRecipientID
	colComponent
	colActor
	colReason
	colDevice
	colClient
	colOS
	colSource
	colUserAgent
	colNetwork
	numColumns
)

// Schema is the one schema of interactions at rest: Arrow, Parquet and Iceberg
// agree on it. Timestamps are microseconds without a zone, UTC by convention,
// since DuckDB's functions on zoned timestamps are far slower.
//
// delay is ReceivedAt - OccurredAt in microseconds, 0 for most events. Stored as
// two times they would take twice the room: neither Parquet nor zstd see that one
// column repeats another.
func Schema() *arrow.Schema {
	micros := &arrow.TimestampType{Unit: arrow.Microsecond}
	fields := [numColumns]arrow.Field{
		colEventID:     {Name: "event_id", Type: arrow.PrimitiveTypes.Int64},
		colOccurredAt:  {Name: "occurred_at", Type: micros},
		colDelay:       {Name: "delay", Type: arrow.PrimitiveTypes.Int64},
		colKind:        {Name: "kind", Type: arrow.BinaryTypes.String},
		colEmailID:     {Name: "email_id", Type: arrow.PrimitiveTypes.Int64},
		colRecipientID: {Name: "recipient_id", Type: arrow.PrimitiveTypes.Int64},
		colComponent:   {Name: "component", Type: arrow.PrimitiveTypes.Int32},
		colActor:       {Name: "actor", Type: arrow.BinaryTypes.String},
		colReason:      {Name: "reason", Type: arrow.BinaryTypes.String},
		colDevice:      {Name: "device", Type: arrow.BinaryTypes.String},
		colClient:      {Name: "client", Type: arrow.BinaryTypes.String},
		colOS:          {Name: "os", Type: arrow.BinaryTypes.String},
		colSource:      {Name: "source", Type: arrow.BinaryTypes.String},
		colUserAgent:   {Name: "user_agent", Type: arrow.BinaryTypes.String, Nullable: true},
		colNetwork:     {Name: "network", Type: arrow.BinaryTypes.String, Nullable: true},
	}
	for i := range fields {
		fields[i].Metadata = arrow.MetadataFrom(map[string]string{FieldIDKey: strconv.Itoa(i + 1)})
	}
	return arrow.NewSchema(fields[:], nil)
}

// Builder collects interactions as Arrow columns. It is not safe for concurrent
// use. Release it when done.
type Builder struct {
	rows                        *array.RecordBuilder
	eventID, email, recipient   *array.Int64Builder
	delay                       *array.Int64Builder
	component                   *array.Int32Builder
	occurredAt                  *array.TimestampBuilder
	kind, actor, reason, device *array.StringBuilder
	client, os, source          *array.StringBuilder
	userAgent, network          *array.StringBuilder
}

// NewBuilder returns an empty Builder of Schema that allocates from mem.
func NewBuilder(mem memory.Allocator) *Builder {
	r := array.NewRecordBuilder(mem, Schema())
	text := func(i int) *array.StringBuilder { return r.Field(i).(*array.StringBuilder) }
	long := func(i int) *array.Int64Builder { return r.Field(i).(*array.Int64Builder) }
	return &Builder{
		rows:       r,
		eventID:    long(colEventID),
		occurredAt: r.Field(colOccurredAt).(*array.TimestampBuilder),
		delay:      long(colDelay),
		kind:       text(colKind),
		email:      long(colEmailID),
		recipient:  long(colRecipientID),
		component:  r.Field(colComponent).(*array.Int32Builder),
		actor:      text(colActor),
		reason:     text(colReason),
		device:     text(colDevice),
		client:     text(colClient),
		os:         text(colOS),
		source:     text(colSource),
		userAgent:  text(colUserAgent),
		network:    text(colNetwork),
	}
}

// Reserve makes room for n more rows.
func (b *Builder) Reserve(n int) { b.rows.Reserve(n) }

// Len returns the number of rows added since the last Batch.
func (b *Builder) Len() int { return b.eventID.Len() }

// Add appends in under the event id given; it copies the texts.
func (b *Builder) Add(id int64, in *Interaction) {
	b.eventID.Append(id)
	b.occurredAt.Append(arrow.Timestamp(in.OccurredAt))
	b.delay.Append(int64(in.ReceivedAt - in.OccurredAt))
	b.kind.Append(in.Kind.String())
	b.email.Append(int64(in.Email))
	b.recipient.Append(int64(in.Recipient))
	b.component.Append(in.Component)
	b.actor.Append(in.Actor.String())
	b.reason.Append(in.Reason)
	b.device.Append(in.Device.String())
	b.client.Append(in.Client)
	b.os.Append(in.OS)
	b.source.Append(in.Source.String())
	appendOptional(b.userAgent, in.UserAgent)
	appendOptional(b.network, in.Network)
}

func appendOptional(b *array.StringBuilder, s string) {
	if s == "" {
		b.AppendNull()
		return
	}
	b.Append(s)
}

// Batch returns the rows added so far and starts anew. The caller releases it.
func (b *Builder) Batch() arrow.RecordBatch { return b.rows.NewRecordBatch() }

// Release frees what the Builder holds.
func (b *Builder) Release() { b.rows.Release() }
