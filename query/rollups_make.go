//go:build duckdb_arrow

package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"mailwake/engine/event"
	"mailwake/query/rollup"
)

// rollupColumns are what rollups count of a data file, in the order of eventFeed. A
// kind that is unknown here is counted as such.
const rollupColumns = `email_id, recipient_id, event_id, epoch_us(occurred_at), epoch_us(occurred_at) + delay,
CAST(coalesce(enum_code(TRY_CAST(kind AS kind_t)), 255) AS INTEGER), CAST(coalesce(enum_code(TRY_CAST(actor AS actor_t)), 0) AS INTEGER)`

// makeRollup makes the rollup of a data file at path. Data files are sorted as rollups need
// it; one that is not is sorted first.
func makeRollup(ctx context.Context, duck *sql.DB, source rollup.Source, path string) error {
	text := "SELECT " + rollupColumns + " FROM read_parquet([" + literal(source.Path) + "])"
	err := tryRollup(ctx, duck, source, path, text)
	if errors.Is(err, rollup.ErrOrder) {
		err = tryRollup(ctx, duck, source, path, text+" ORDER BY email_id, recipient_id")
	}
	return err
}

func tryRollup(ctx context.Context, duck *sql.DB, source rollup.Source, path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b, err := rollup.NewBuilder(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := readEvents(ctx, duck, text, b.Add); err != nil {
		return errors.Join(err, b.Abort())
	}
	return b.Finish(source, path)
}

// readCut is a rollup.Cut.
func (s *store) readCut(ctx context.Context, f *rollup.File, emails []event.EmailID, oldest event.Micros, each func(*rollup.Event) error) error {
	text := fmt.Sprintf(`SELECT %s FROM read_parquet([%s])
WHERE email_id BETWEEN %d AND %d AND occurred_at >= make_timestamp(%d) AND event_id >= 0 ORDER BY email_id, recipient_id`,
		rollupColumns, literal(f.Source.Path), emails[0], emails[len(emails)-1], oldest)
	return readEvents(ctx, s.duck, text, func(e *rollup.Event) error {
		if _, ok := slices.BinarySearch(emails, e.Email); !ok {
			return nil
		}
		return each(e)
	})
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
	kinds, actors := b.Column(5).(*array.Int32).Int32Values(), b.Column(6).(*array.Int32).Int32Values()
	for i := range kinds {
		err := f.each(&rollup.Event{
			Email: event.EmailID(longs[0][i]), Recipient: event.RecipientID(longs[1][i]), ID: longs[2][i],
			At: event.Micros(longs[3][i]), Received: event.Micros(longs[4][i]), Kind: event.Kind(kinds[i]), Actor: event.Actor(actors[i]),
		})
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
