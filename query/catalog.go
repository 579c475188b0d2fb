package query

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// catalogRows are rows of the catalog tables that the instance does not have yet.
type catalogRows struct {
	emails, links, attachments, recipients [][]any

	lastEmail     event.EmailID
	lastRecipient event.RecipientID
}

// copyCatalog copies what the catalog got since the last query. Everything is
// read before anything is written, so that an error on the way leaves no part.
func (s *store) copyCatalog(ctx context.Context) error {
	fresh := catalogRows{lastEmail: s.lastEmail, lastRecipient: s.lastRecipient}
	if err := fresh.readEmails(ctx, s); err != nil {
		return err
	}
	for r, err := range s.opts.Catalog.RecipientsSince(ctx, s.org, s.lastRecipient) {
		if err != nil {
			return fmt.Errorf("read recipients: %w", err)
		}
		fresh.recipients = append(fresh.recipients, []any{int64(r.ID), clean(r.Address), clean(r.Name), clean(r.Person)})
		fresh.lastRecipient = r.ID
	}
	for _, part := range []struct {
		table string
		rows  [][]any
	}{{"catalog_links", fresh.links}, {"catalog_attachments", fresh.attachments}, {"catalog_emails", fresh.emails}, {"catalog_recipients", fresh.recipients}} {
		if len(part.rows) == 0 {
			continue
		}
		if err := s.appendEach(part.table, func(add func(...any) error) error {
			for _, row := range part.rows {
				if err := add(row...); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", part.table, err), s.reset())
		}
	}
	s.lastEmail, s.lastRecipient = fresh.lastEmail, fresh.lastRecipient
	return nil
}

// readEmails reads new emails with what belongs to them.
func (c *catalogRows) readEmails(ctx context.Context, s *store) error {
	catalog, after := s.opts.Catalog, s.lastEmail
	var emails []registry.Email
	for e, err := range catalog.EmailsSince(ctx, s.org, after) {
		if err != nil {
			return fmt.Errorf("read emails: %w", err)
		}
		emails = append(emails, e)
	}
	if len(emails) == 0 {
		return nil
	}
	c.lastEmail = emails[len(emails)-1].ID
	links, err := byEmail(catalog.LinksSince(ctx, s.org, after), c.lastEmail, func(l registry.Link) event.EmailID { return l.Email }, func(l registry.Link) {
		c.links = append(c.links, []any{int64(l.Email), l.Ordinal, clean(l.URL)})
	})
	if err != nil {
		return fmt.Errorf("read links: %w", err)
	}
	attachments, err := byEmail(catalog.EmailAttachmentsSince(ctx, s.org, after), c.lastEmail, func(a registry.AttachmentOfEmail) event.EmailID { return a.Email }, func(a registry.AttachmentOfEmail) {
		c.attachments = append(c.attachments, []any{int64(a.Email), a.Ordinal, clean(a.Name), clean(a.ContentType), a.Size, a.Followed})
	})
	if err != nil {
		return fmt.Errorf("read attachments: %w", err)
	}
	recipients, err := byEmail(catalog.EmailRecipientsSince(ctx, s.org, after), c.lastEmail, func(r registry.EmailRecipient) event.EmailID { return r.Email }, func(registry.EmailRecipient) {})
	if err != nil {
		return fmt.Errorf("read recipients of emails: %w", err)
	}
	for _, e := range emails {
		c.emails = append(c.emails, []any{int64(e.ID), clean(e.From), clean(e.Subject), clean(e.Template), e.CreatedAt.Time(), links[e.ID],
			string(e.Follow), attachments[e.ID], recipients[e.ID]})
	}
	return nil
}

// byEmail hands the rows of emails up to last to take and counts them by email.
// What follows is of emails registered in between: the next query takes it.
func byEmail[T any](rows iter.Seq2[T, error], last event.EmailID, email func(T) event.EmailID, take func(T)) (map[event.EmailID]int64, error) {
	count := map[event.EmailID]int64{}
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if email(row) > last {
			break
		}
		count[email(row)]++
		take(row)
	}
	return count, nil
}

// appendEach appends the rows that fill adds: all of them, or none after an error.
func (s *store) appendEach(table string, fill func(add func(...any) error) error) error {
	return s.write.Raw(func(c any) error {
		a, err := duckdb.NewAppenderFromConn(c.(driver.Conn), "", table)
		if err != nil {
			return err
		}
		var values []driver.Value
		err = fill(func(row ...any) error {
			values = values[:0]
			for _, v := range row {
				values = append(values, v)
			}
			return a.AppendRow(values...)
		})
		if err != nil {
			return errors.Join(err, a.Clear(), a.Close())
		}
		return a.Close()
	})
}
