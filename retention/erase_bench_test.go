package retention

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/rollup"
)

// BenchmarkErase erases one person who got 20 of the emails, from a table of 100
// files with rollups, and without. MAILWAKE_EVENTS sets how many events there are, by
// default a million.
func BenchmarkErase(b *testing.B) {
	for _, rolled := range []bool{true, false} {
		b.Run(fmt.Sprintf("rollups=%v", rolled), func(b *testing.B) { benchmarkErase(b, rolled) })
	}
}

func benchmarkErase(b *testing.B, rolled bool) {
	events := 1_000_000
	if s := os.Getenv("MAILWAKE_EVENTS"); s != "" {
		var err error
		events, err = strconv.Atoi(s)
		must(b, err)
	}
	const files, theirs = 100, event.RecipientID(7)
	for b.Loop() {
		b.StopTimer()
		store, err := blob.Dir(filepath.Join(b.TempDir(), "blobs"))
		must(b, err)
		e := newEstate(b, store)
		e.keep.opts.Worker = []string{os.Args[0], "rewrite-worker"} // as a server does
		o := e.org("acme")
		_, err = e.reg.RegisterEmail(context.Background(), o.ID, registry.NewEmail{From: "s@acme.example", Recipients: manyRecipients(10)})
		must(b, err)
		table, err := e.lake.Table(context.Background(), o.Name)
		must(b, err)
		var added []lake.File
		for n := range files {
			added = append(added, writeFile(b, table, events/files, n, n%5 == 0, theirs))
		}
		if rolled {
			dir := b.TempDir()
			for _, f := range added {
				roll(b, e.lake, f, dir)
			}
			e.keep.opts.Incoming = func(context.Context, event.OrgID) (string, func(context.Context) error, error) {
				return dir, func(context.Context) error { return nil }, nil
			}
			e.keep.opts.Removals.Told = func(_ event.OrgID, f lake.File, recipients []event.RecipientID) (holds, known bool) {
				holds, err := rollup.Has(dir, rollup.Source{Path: f.Path, Bytes: f.Bytes}, recipients)
				return holds, err == nil
			}
		}
		_, err = table.Commit(context.Background(), lake.Change{Add: added})
		must(b, err)
		b.StartTimer()
		began := time.Now()
		done, err := e.keep.Erase(context.Background(), o.ID, registry.Whose{Recipient: theirs}, registry.BySystem())
		must(b, err)
		b.StopTimer()
		for _, s := range done.Steps {
			if s.Step == "rows" || s.Step == "search" {
				b.Logf("%s: %s", s.Step, s.Found)
			}
		}
		b.Logf("%d events: %v", events, time.Since(began))
		b.StartTimer()
	}
}

func manyRecipients(n int) (out []registry.NewRecipient) {
	for i := range n {
		out = append(out, registry.NewRecipient{Address: fmt.Sprintf("p%d@example.com", i)})
	}
	return out
}

// writeFile writes rows of the emails of one file, each to 500 recipients from all
// over the organisation, so that bounds rule out nothing.
func writeFile(b *testing.B, table *lake.Table, rows, file int, with bool, theirs event.RecipientID) lake.File {
	var c event.Columns
	at := event.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	for i := range rows {
		email := file*1000 + i/500 + 1
		recipient := event.RecipientID((i*7919+email*104729)%200_000 + 20)
		switch {
		case i%500 == 0:
			recipient = 1
		case with && i == 1001:
			recipient = theirs
		}
		row := event.AppendRow(nil, &event.Interaction{
			Org: 1, ID: -int64(file*rows+i) - 1, OccurredAt: at + event.Micros(i)*1000, ReceivedAt: at + event.Micros(i)*1000, Kind: event.Open, Email: event.EmailID(email),
			Recipient: recipient, Actor: event.Human, Client: "Client " + strconv.Itoa(i%20), OS: "OS", UserAgent: "Agent/" + strconv.Itoa(i%300),
		})
		must(b, c.AddRow(row, 0))
	}
	for batch := range c.Batches {
		f, err := table.Write(context.Background(), batch)
		must(b, err)
		batch.Release()
		return f
	}
	panic("no rows")
}

// roll makes the rollup of a data file.
func roll(b *testing.B, l *lake.Lake, f lake.File, dir string) {
	texts := lake.NewTexts()
	r, err := l.Reader(context.Background(), f, texts)
	must(b, err)
	to := &roller{dir: dir, most: rollupMemory, texts: texts, labels: newLabels(texts)}
	var rows lake.Rows
	for r.Next(&rows) == nil {
		to.add(&rows)
	}
	must(b, r.Close())
	to.end(&lake.Made{Name: path.Base(f.Path), Bytes: f.Bytes})
}
