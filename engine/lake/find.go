package lake

import (
	"context"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/event"
)

// Holds reports whether snapshot s of the table has the event of an email. Files
// are sorted by email, so it reads the few whose bounds allow for both numbers.
// It is for rare questions: it reads from the store, past the cache.
func (t *Table) Holds(ctx context.Context, s *Snapshot, email event.EmailID, id int64) (bool, error) {
	if s.id == 0 {
		return false, nil
	}
	filter := iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("email_id"), int64(email)), iceberg.EqualTo(iceberg.Reference("event_id"), id))
	scan := t.current.Load().iceberg.Scan(table.WithSnapshotID(s.id), table.WithRowFilter(filter), table.WithSelectedFields("event_id"))
	_, batches, err := scan.ToArrowRecords(ctx)
	if err != nil {
		return false, fmt.Errorf("look for an event in the table of %s: %w", t.org, err)
	}
	found := false
	for batch, err := range batches {
		if err != nil {
			return false, fmt.Errorf("look for an event in the table of %s: %w", t.org, err)
		}
		found = found || batch.NumRows() > 0
		batch.Release()
	}
	return found, nil
}
