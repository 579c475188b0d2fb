package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"mailwake/engine/event"
	"mailwake/engine/wal"
)

type verifyCmd struct{ storeFlags }

// Help shows examples.
func (verifyCmd) Help() string {
	return `Reads everything and changes nothing. Stop the server first, or verify a copy.
Examples:
  mailwake verify
  mailwake verify --data /var/lib/mailwake --storage 'azblob://mail?account=acme'`
}

// Run checks registry, tables, blobs and log, each alone and against each other.
func (c *verifyCmd) Run(ctx context.Context, e *env) error {
	damage := 0
	report := func(bad bool, format string, args ...any) {
		word := "ok     "
		if bad {
			word = "DAMAGE "
			damage++
		}
		fmt.Fprintf(e.out, word+format+"\n", args...)
	}
	err := withNode(ctx, c.storeFlags, e, func(n *node) error {
		if err := n.registry.Check(ctx); err != nil {
			report(true, "registry: %v", err)
		} else {
			report(false, "registry")
		}
		marks, err := verifyTables(ctx, n, report)
		if err != nil {
			return err
		}
		return verifyLog(n, marks, report)
	})
	if err != nil {
		return err
	}
	if damage > 0 {
		return fmt.Errorf("%d findings; nothing was changed. Restore the named blobs or files from a copy, then verify again", damage)
	}
	return nil
}

// verifyTables checks every organisation's table and returns this node's marks.
func verifyTables(ctx context.Context, n *node, report func(bool, string, ...any)) (map[event.OrgID]uint64, error) {
	marks := map[event.OrgID]uint64{}
	for _, o := range n.registry.Orgs() {
		for f, err := range n.lake.Verify(ctx, o.Name) {
			if err != nil {
				return nil, err
			}
			report(f.Damage, "%s: %s: %s", o.Name, f.Key, f.Detail)
		}
		table, err := n.lake.Table(ctx, o.Name)
		if err != nil {
			report(true, "%s: open table: %v", o.Name, err)
			continue
		}
		marks[o.ID] = table.Snapshot().Mark(fmt.Sprint(n.flags.Node))
	}
	return marks, nil
}

// verifyLog reads every event of the log and counts what is not in a table yet.
func verifyLog(n *node, marks map[event.OrgID]uint64, report func(bool, string, ...any)) error {
	highest := uint64(0)
	for _, m := range marks {
		highest = max(highest, m)
	}
	log, err := wal.Open(wal.Options{Dir: filepath.Join(n.flags.Data, "wal"), Next: wal.LSN(highest + 1)})
	if err != nil {
		report(true, "log: %v", err)
		return nil
	}
	defer log.Close()
	events, pending := 0, 0
	for rec, err := range log.Read(log.First()) {
		if err != nil {
			report(true, "log: %v", err)
			return nil
		}
		var in event.Interaction
		var rows event.Decoder
		for row, data := range wal.Frames(rec.Frames) {
			err := rows.Decode(data, &in)
			if _, known := marks[in.Org]; err == nil && !known {
				err = errors.New("its organisation is not in the registry")
			}
			if err != nil {
				report(true, "log: group %d row %d: %v", rec.LSN, row, err)
				continue
			}
			events++
			if uint64(rec.LSN) > marks[in.Org] {
				pending++
			}
		}
	}
	report(false, "log: groups %d to %d, %d events, %d of them not in a table yet", log.First(), log.Last(), events, pending)
	return nil
}
