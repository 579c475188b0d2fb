package query

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	"mailwake/engine/event"
)

// totalTables is the surface of those who may not see persons.
var totalTables = surface{"email_totals"}

var totalsVersion atomic.Int64

// totals makes the tables of the aggregate surface, in this process, from all rows.
func (db *DB) totals(ctx context.Context, org event.OrgID, _ string) (version string, tables []workerTable, err error) {
	for _, name := range totalTables {
		res, err := db.run(ctx, org, question{text: "SELECT email_id, count(*) AS n FROM interactions GROUP BY 1", reads: surfaceOrder, limit: db.opts.MaxRows})
		if err != nil {
			return "", nil, fmt.Errorf("make %s: %w", name, err)
		}
		var ipc bytes.Buffer
		err = res.Write(&ipc, Arrow)
		res.Close()
		if err != nil {
			return "", nil, fmt.Errorf("make %s: %w", name, err)
		}
		tables = append(tables, workerTable{Name: name, IPC: ipc.Bytes()})
	}
	return strconv.FormatInt(totalsVersion.Add(1), 10), tables, nil
}
