//go:build duckdb_arrow

package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// rollupColumns are what rollups count of a data file, in the order of eventFeed. A
// kind that is unknown here is counted as such.
const rollupColumns = `email_id, recipient_id, event_id, epoch_us(occurred_at), epoch_us(occurred_at) + delay,
CAST(coalesce(enum_code(TRY_CAST(kind AS kind_t)), 255) AS INTEGER), CAST(coalesce(enum_code(TRY_CAST(actor AS actor_t)), 0) AS INTEGER),
component, device, client, os, reason`

// makeRollup makes the rollup of a data file in dir. Data files are sorted as rollups need
// it; one that is not is sorted first.
func makeRollup(ctx context.Context, duck *sql.DB, source rollup.Source, dir string) error {
	text := "SELECT " + rollupColumns + " FROM read_parquet([" + literal(source.Path) + "])"
	err := tryRollup(ctx, duck, source, dir, text)
	if errors.Is(err, rollup.ErrOrder) {
		err = tryRollup(ctx, duck, source, dir, text+" ORDER BY email_id, recipient_id")
	}
	return err
}

func tryRollup(ctx context.Context, duck *sql.DB, source rollup.Source, dir, text string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := rollup.NewBuilder(dir)
	if err != nil {
		return err
	}
	if err := readEvents(ctx, duck, text, b.Add); err != nil {
		return errors.Join(err, b.Abort())
	}
	return b.Finish(source)
}

func readEvents(ctx context.Context, duck *sql.DB, text string, each func(*rollup.Event) error) (err error) {
	conn, err := duck.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return streamQuery(ctx, conn, text, eventFeed{each})
}

// eventFeed hands out the rows of a result with rollupColumns.
type eventFeed struct{ each func(*rollup.Event) error }

func (f eventFeed) begin(int) {}

func (f eventFeed) schema(*arrow.Schema) error { return nil }

func (f eventFeed) batch(b arrow.RecordBatch) (more bool, err error) {
	var longs [5][]int64
	for i := range longs {
		longs[i] = b.Column(i).(*array.Int64).Int64Values()
	}
	var numbers [3][]int32
	for i := range numbers {
		numbers[i] = b.Column(len(longs) + i).(*array.Int32).Int32Values()
	}
	var texts [4]*array.String
	for i := range texts {
		texts[i] = b.Column(len(longs) + len(numbers) + i).(*array.String)
	}
	for i := range int(b.NumRows()) {
		err := f.each(&rollup.Event{
			Email: event.EmailID(longs[0][i]), Recipient: event.RecipientID(longs[1][i]), ID: longs[2][i],
			At: event.Micros(longs[3][i]), Received: event.Micros(longs[4][i]), Component: numbers[2][i],
			Shape: rollup.Shape{Kind: event.Kind(numbers[0][i]), Actor: event.Actor(numbers[1][i]),
				Device: texts[0].Value(i), Client: texts[1].Value(i), OS: texts[2].Value(i), Reason: texts[3].Value(i)},
		})
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
