package query

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// catalogMark is how far a copy of the catalog has come.
type catalogMark struct {
	change    int64 // of emails
	email     event.EmailID
	recipient event.RecipientID
}

// catalogNews is what the catalog got behind a mark. Emails that were retried are
// in it a second time, with all that belongs to them.
type catalogNews struct {
	Emails     []registry.Email
	Links      []registry.Link
	Attached   []registry.AttachmentOfEmail
	SentTo     []registry.EmailRecipient
	Recipients []registry.Recipient
}

// readNews returns what is behind mark, and the mark behind that.
func readNews(ctx context.Context, c Catalog, org event.OrgID, mark catalogMark) (n catalogNews, next catalogMark, err error) {
	next = mark
	var again []event.EmailID
	for e, err := range c.EmailChanges(ctx, org, mark.change) {
		if err != nil {
			return n, mark, fmt.Errorf("read emails: %w", err)
		}
		n.Emails = append(n.Emails, e)
		next.change = e.Change
		if e.ID <= mark.email {
			again = append(again, e.ID)
		}
		next.email = max(next.email, e.ID)
	}
	for _, id := range again {
		if err := n.parts(ctx, c, org, id-1, id); err != nil {
			return n, mark, err
		}
	}
	if next.email > mark.email {
		if err := n.parts(ctx, c, org, mark.email, next.email); err != nil {
			return n, mark, err
		}
	}
	for r, err := range c.RecipientsSince(ctx, org, mark.recipient) {
		if err != nil {
			return n, mark, fmt.Errorf("read recipients: %w", err)
		}
		n.Recipients = append(n.Recipients, r)
		next.recipient = r.ID
	}
	return n, next, nil
}

// parts reads what belongs to the emails behind after, up to last.
func (n *catalogNews) parts(ctx context.Context, c Catalog, org event.OrgID, after, last event.EmailID) error {
	err := upTo(&n.Links, c.LinksSince(ctx, org, after), func(l registry.Link) bool { return l.Email <= last })
	if err != nil {
		return fmt.Errorf("read links: %w", err)
	}
	err = upTo(&n.Attached, c.EmailAttachmentsSince(ctx, org, after), func(a registry.AttachmentOfEmail) bool { return a.Email <= last })
	if err != nil {
		return fmt.Errorf("read attachments: %w", err)
	}
	err = upTo(&n.SentTo, c.EmailRecipientsSince(ctx, org, after), func(r registry.EmailRecipient) bool { return r.Email <= last })
	if err != nil {
		return fmt.Errorf("read recipients of emails: %w", err)
	}
	return nil
}

// upTo takes rows as long as they are wanted. What follows is of emails registered
// in between: it is taken next time.
func upTo[T any](list *[]T, rows iter.Seq2[T, error], wanted func(T) bool) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		if !wanted(row) {
			return nil
		}
		*list = append(*list, row)
	}
	return nil
}

// add appends later news.
func (n *catalogNews) add(later *catalogNews) {
	n.Emails = append(n.Emails, later.Emails...)
	n.Links = append(n.Links, later.Links...)
	n.Attached = append(n.Attached, later.Attached...)
	n.SentTo = append(n.SentTo, later.SentTo...)
	n.Recipients = append(n.Recipients, later.Recipients...)
}

// copyCatalog copies what the catalog got since the last query. Everything is
// read before anything is written, so that an error on the way leaves no part.
func (s *store) copyCatalog(ctx context.Context) error {
	news, next, err := s.opts.news(ctx, s.org, s.mark)
	if err != nil {
		return err
	}
	if len(news.Emails)+len(news.Recipients) > 0 {
		if err := s.inTransaction(ctx, func() error { return s.putNews(ctx, &news) }); err != nil {
			return errors.Join(err, s.reset())
		}
	}
	s.mark = next
	return nil
}

// emailPart names a part of an email.
type emailPart struct {
	email event.EmailID
	part  int64
}

// putNews writes news. What stands in it twice counts as it came last.
func (s *store) putNews(ctx context.Context, n *catalogNews) error {
	emails, links, attached := map[event.EmailID]registry.Email{}, map[emailPart]registry.Link{}, map[emailPart]registry.AttachmentOfEmail{}
	sentTo := map[emailPart]bool{}
	count := map[event.EmailID]*[3]int64{} // links, attachments, recipients
	var again []string
	for _, e := range n.Emails {
		if e.ID <= s.mark.email {
			again = append(again, strconv.FormatInt(int64(e.ID), 10))
		}
		emails[e.ID], count[e.ID] = e, new([3]int64)
	}
	for _, l := range n.Links {
		links[emailPart{l.Email, int64(l.Ordinal)}] = l
	}
	for _, a := range n.Attached {
		attached[emailPart{a.Email, int64(a.Ordinal)}] = a
	}
	for _, r := range n.SentTo {
		sentTo[emailPart{r.Email, int64(r.Recipient)}] = true
	}
	for i, parts := range []iter.Seq[emailPart]{maps.Keys(links), maps.Keys(attached), maps.Keys(sentTo)} {
		for p := range parts {
			if c := count[p.email]; c != nil {
				c[i]++
			}
		}
	}
	if len(again) > 0 {
		for _, table := range []string{"catalog_emails", "catalog_links", "catalog_attachments"} {
			if _, err := s.write.ExecContext(ctx, "DELETE FROM "+table+" WHERE email_id IN ("+strings.Join(again, ", ")+")"); err != nil {
				return fmt.Errorf("take back from %s: %w", table, err)
			}
		}
	}
	if s.known != nil {
		s.putKnown(emails, links, attached, count)
		for i := range n.Recipients {
			s.known.people.put(&n.Recipients[i])
		}
	}
	return errors.Join(
		appendRows(s, "catalog_links", slices.Collect(maps.Values(links)), func(l registry.Link) []any {
			return []any{int64(l.Email), l.Ordinal, clean(l.URL)}
		}),
		appendRows(s, "catalog_attachments", slices.Collect(maps.Values(attached)), func(a registry.AttachmentOfEmail) []any {
			return []any{int64(a.Email), a.Ordinal, clean(a.Name), clean(a.ContentType), a.Size, a.Followed}
		}),
		appendRows(s, "catalog_emails", slices.Collect(maps.Values(emails)), func(e registry.Email) []any {
			c := count[e.ID]
			return []any{int64(e.ID), clean(e.From), clean(e.Subject), clean(e.Template), e.CreatedAt.Time(), c[0], string(e.Follow), c[1], c[2]}
		}),
		appendRows(s, "catalog_recipients", n.Recipients, func(r registry.Recipient) []any {
			return []any{int64(r.ID), clean(r.Address), clean(r.Name), clean(r.Person)}
		}))
}

// putKnown tells known of emails with their parts.
func (s *store) putKnown(emails map[event.EmailID]registry.Email, links map[emailPart]registry.Link, attached map[emailPart]registry.AttachmentOfEmail, count map[event.EmailID]*[3]int64) {
	linked, files := map[event.EmailID][]knownPart{}, map[event.EmailID][]knownPart{}
	for _, l := range links {
		linked[l.Email] = append(linked[l.Email], knownPart{ordinal: l.Ordinal, text: clean(l.URL)})
	}
	for _, a := range attached {
		files[a.Email] = append(files[a.Email], knownPart{ordinal: a.Ordinal, text: clean(a.Name), mediaType: clean(a.ContentType), size: a.Size, followed: a.Followed})
	}
	for id, e := range emails {
		s.known.put(&e, count[id][2], linked[id], files[id])
	}
}

func appendRows[T any](s *store, table string, rows []T, columns func(T) []any) error {
	if len(rows) == 0 {
		return nil
	}
	err := s.appendEach(table, func(add func(...any) error) error {
		for _, row := range rows {
			if err := add(columns(row)...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	return nil
}

// inTransaction runs fn, of which running queries see all or nothing.
func (s *store) inTransaction(ctx context.Context, fn func() error) error {
	if _, err := s.write.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		_, back := s.write.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(err, back)
	}
	_, err := s.write.ExecContext(ctx, "COMMIT")
	return err
}

// appendEach appends the rows that fill adds: all of them, or none after an error.
func (s *store) appendEach(table string, fill func(add func(...any) error) error) error {
	return s.write.Raw(func(c any) error {
		a, err := duckdb.NewAppenderFromConn(c.(driver.Conn), "", table)
		if err != nil {
			return err
		}
		var row []driver.Value
		err = fill(func(cells ...any) error {
			row = row[:0]
			for _, v := range cells {
				row = append(row, v)
			}
			return a.AppendRow(row...)
		})
		if err != nil {
			return errors.Join(err, a.Clear(), a.Close())
		}
		return a.Close()
	})
}
