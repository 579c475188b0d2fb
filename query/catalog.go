package query

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// copyCatalog copies what the catalog got since the last query. Everything is
// read before anything is written, so that an error on the way leaves no part.
func (s *store) copyCatalog(ctx context.Context) error {
	emails, links, err := s.newEmails(ctx)
	if err != nil {
		return err
	}
	var recipients [][]driver.Value
	lastRecipient := s.lastRecipient
	for r, err := range s.opts.Catalog.RecipientsSince(ctx, s.org, s.lastRecipient) {
		if err != nil {
			return fmt.Errorf("read recipients: %w", err)
		}
		recipients = append(recipients, []driver.Value{int64(r.ID), clean(r.Address), clean(r.Name), clean(r.Person)})
		lastRecipient = r.ID
	}
	for _, part := range []struct {
		table string
		rows  [][]driver.Value
	}{{"catalog_links", links}, {"catalog_emails", emails}, {"catalog_recipients", recipients}} {
		if err := s.appendAll(part.table, part.rows); err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", part.table, err), s.reset())
		}
	}
	if n := len(emails); n > 0 {
		s.lastEmail = event.EmailID(emails[n-1][0].(int64))
	}
	s.lastRecipient = lastRecipient
	return nil
}

// newEmails returns the rows of new emails and of their links.
func (s *store) newEmails(ctx context.Context) (emails, links [][]driver.Value, err error) {
	var fresh []registry.Email
	for e, err := range s.opts.Catalog.EmailsSince(ctx, s.org, s.lastEmail) {
		if err != nil {
			return nil, nil, fmt.Errorf("read emails: %w", err)
		}
		fresh = append(fresh, e)
	}
	if len(fresh) == 0 {
		return nil, nil, nil
	}
	count := map[event.EmailID]int64{}
	for l, err := range s.opts.Catalog.LinksSince(ctx, s.org, s.lastEmail) {
		if err != nil {
			return nil, nil, fmt.Errorf("read links: %w", err)
		}
		if l.Email > fresh[len(fresh)-1].ID {
			break // of an email registered in between: the next query takes both
		}
		count[l.Email]++
		links = append(links, []driver.Value{int64(l.Email), l.Ordinal, clean(l.URL)})
	}
	for _, e := range fresh {
		emails = append(emails, []driver.Value{int64(e.ID), clean(e.From), clean(e.Subject), clean(e.Template), e.CreatedAt.Time(), count[e.ID]})
	}
	return emails, links, nil
}

func (s *store) appendAll(table string, rows [][]driver.Value) error {
	if len(rows) == 0 {
		return nil
	}
	return s.write.Raw(func(c any) error {
		a, err := duckdb.NewAppenderFromConn(c.(driver.Conn), "", table)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := a.AppendRow(row...); err != nil {
				return errors.Join(err, a.Clear(), a.Close())
			}
		}
		return a.Close()
	})
}
