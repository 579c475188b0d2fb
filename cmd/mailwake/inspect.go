package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"text/tabwriter"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/wal"
)

type inspectCmd struct {
	Wal      inspectWal      `cmd:"" help:"Groups and events of the log."`
	Lake     inspectLake     `cmd:"" help:"Tables: files, rows, marks."`
	Registry inspectRegistry `cmd:"" help:"Number of organisations, emails, recipients, links and keys."`
}

// withNode runs f on a data folder that it holds meanwhile.
func withNode(ctx context.Context, flags storeFlags, e *env, f func(*node) error) error {
	lock, err := lockFolder(flags.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	n, err := openNode(ctx, flags, slog.New(slog.NewTextHandler(e.err, nil)))
	if err != nil {
		return err
	}
	defer n.Close()
	return f(n)
}

type inspectWal struct {
	storeFlags
	Events bool `help:"Print every event, without user agent and network."`
}

// Run prints the log.
func (c *inspectWal) Run(e *env) error {
	lock, err := lockFolder(c.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	log, err := wal.Open(wal.Options{Dir: filepath.Join(c.Data, "wal")})
	if err != nil {
		return err
	}
	defer log.Close()
	t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	if c.Events {
		fmt.Fprintln(t, "GROUP\tROW\tORG\tOCCURRED\tKIND\tEMAIL\tRECIPIENT\tCOMPONENT\tACTOR\tCLIENT")
	}
	var groups, events int
	for rec, err := range log.Read(log.First()) {
		if err != nil {
			return err
		}
		groups++
		var in event.Interaction
		var rows event.Decoder
		for row, data := range wal.Frames(rec.Frames) {
			if err := rows.Decode(data, &in); err != nil {
				return fmt.Errorf("group %d row %d: %w", rec.LSN, row, err)
			}
			events++
			if c.Events {
				fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", rec.LSN, row, in.Org, in.OccurredAt.Time().Format(time.RFC3339), in.Kind, in.Email, in.Recipient, in.Component, in.Actor, in.Client)
			}
		}
	}
	_ = t.Flush()
	fmt.Fprintf(e.out, "groups %d (%d to %d), events %d, bytes %d\n", groups, log.First(), log.Last(), events, log.Size())
	return nil
}

type inspectLake struct {
	storeFlags
	Files bool `help:"Print the keys of all files."`
}

// Run prints the tables.
func (c *inspectLake) Run(ctx context.Context, e *env) error {
	return withNode(ctx, c.storeFlags, e, func(n *node) error {
		t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "ORGANISATION\tSNAPSHOT\tFILES\tROWS\tBYTES\tMARK OF NODE")
		for _, o := range n.registry.Orgs() {
			table, err := n.lake.Table(ctx, o.Name)
			if err != nil {
				return err
			}
			s := table.Snapshot()
			var bytes int64
			for _, f := range s.Files() {
				bytes += f.Bytes
				if c.Files {
					fmt.Fprintln(e.out, f.Path)
				}
			}
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\n", o.Name, s.ID(), len(s.Files()), s.Rows(), bytes, s.Mark(fmt.Sprint(c.Node)))
		}
		return t.Flush()
	})
}

type inspectRegistry struct{ storeFlags }

// Run prints the registry's sizes; no address, name or subject.
func (c *inspectRegistry) Run(ctx context.Context, e *env) error {
	return withNode(ctx, c.storeFlags, e, func(n *node) error {
		s, err := n.registry.Summary(ctx)
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
		fmt.Fprintf(t, "schema\t%s\n", s.Schema)
		for _, size := range s.Tables {
			fmt.Fprintf(t, "%s\t%d\n", size.Name, size.Rows)
		}
		return t.Flush()
	})
}
