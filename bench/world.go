package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	bulkRows    = 50_000 // rows of a request, the most that the door takes
	bulkSenders = 2      // requests under way at once
	registrars  = 4      // emails registered at once
)

// worldHTML has as many links as events of a World click.
const worldHTML = `<html><body><p>Hi</p><a href="https://example.com/a">a</a> <a href="https://example.com/b">b</a> <a href="https://example.com/c">c</a></body></html>`

// world plans the events.
func (o *WorldOptions) world() (*worldPlan, error) {
	return World{Seed: o.Seed, Events: o.Events}.plan()
}

// worldFiles are attached to each email of a World; events view them.
var worldFiles = []string{"offer.pdf", "terms.pdf"}

// attach uploads the files that go with emails, as references to them.
func (c *client) attach(ctx context.Context) (refs []map[string]int64, err error) {
	for _, name := range worldFiles {
		status, text, err := c.post(ctx, "/attachments?name="+name, "application/pdf", strings.NewReader("%PDF-1.7 "+name))
		if err != nil {
			return nil, fmt.Errorf("upload %s: %w", name, err)
		}
		var file struct{ ID int64 }
		if err := json.Unmarshal(text, &file); err != nil || status != http.StatusCreated {
			return nil, fmt.Errorf("upload %s: %d: %.200s", name, status, text)
		}
		refs = append(refs, map[string]int64{"id": file.ID})
	}
	return refs, nil
}

// register makes the emails and the people that the events of p name. The bulk door
// asks only that they exist, so the first emails are to a thousand new people each
// and the others to one: a million copies of an email need not be made for its
// million events.
func (c *client) register(ctx context.Context, p *worldPlan, say progress) error {
	files, err := c.attach(ctx)
	if err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(registrars)
	emails := max(len(p.mails), (p.People+followBatch-1)/followBatch)
	for i := range emails {
		if ctx.Err() != nil {
			break
		}
		if i%100 == 0 {
			say.step("registering email %s of %s", number(i), number(emails))
		}
		work.Go(func() error {
			from, to := min(i*followBatch, p.People), min((i+1)*followBatch, p.People)
			if from == to {
				from, to = 0, 1
			}
			_, err := c.call(ctx, http.MethodPost, "/v1/orgs/"+org+"/emails", map[string]any{
				"from": "a@bench.example", "to": addresses("w", from, to), "subject": "World", "follow": "required",
				"template": fmt.Sprintf("template %d", i%7), "html": worldHTML, "attachments": files,
			})
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return fmt.Errorf("register emails: %w", err)
	}
	return nil
}

// load sends the events of p through the bulk door, as Arrow.
func (c *client) load(ctx context.Context, p *worldPlan, say progress) error {
	work, ctx := errgroup.WithContext(ctx)
	bodies := make(chan []byte, bulkSenders)
	work.Go(func() (err error) {
		defer close(bodies)
		p.make(bulkRows, func(r *rows) bool {
			var b bytes.Buffer
			if err = r.encode(&b, formatArrow); err != nil {
				return false
			}
			select {
			case bodies <- b.Bytes():
				return true
			case <-ctx.Done():
				return false
			}
		})
		return err
	})
	start, done := time.Now(), make(chan int, bulkSenders)
	for range bulkSenders {
		work.Go(func() error {
			for b := range bodies {
				n, err := c.upload(ctx, b, formatArrow, "")
				if err != nil {
					return err
				}
				select {
				case done <- n:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}
	work.Go(func() error {
		for sum := int64(0); sum < p.Events; {
			select {
			case n := <-done:
				sum += int64(n)
				say.bar(sum, p.Events, "events", time.Since(start))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		return fmt.Errorf("load events: %w", err)
	}
	return nil
}

// upload sends one body and returns how many rows were recorded, all of them or an
// error. A server that is busy is asked again when it says.
func (c *client) upload(ctx context.Context, body []byte, format, encoding string) (int, error) {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/orgs/"+org+"/interactions", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Authorization", "Bearer "+c.key)
		req.Header.Set("Content-Type", format)
		if encoding != "" {
			req.Header.Set("Content-Encoding", encoding)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		resp.Body.Close()
		if err != nil {
			return 0, err
		}
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
			seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			select {
			case <-time.After(time.Duration(max(seconds, 1)) * time.Second):
				continue
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		var answer struct {
			Rows, Recorded int
		}
		if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode/100 != 2 || answer.Rows != answer.Recorded {
			return 0, fmt.Errorf("send rows: %s: %.500s", resp.Status, text)
		}
		return answer.Recorded, nil
	}
}

// flush makes tables of all rows that are durable.
func (c *client) flush(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/orgs/"+org+"/flush", nil)
	return err
}

// maintenance runs the organisation's maintenance, pauses or resumes it.
func (c *client) maintenance(ctx context.Context, what string) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/orgs/"+org+"/retention/"+what, nil)
	return err
}

// countAll returns the number of all stored events.
func (c *client) countAll(ctx context.Context) (int64, error) {
	var rows []map[string]any
	if err := c.rows(ctx, http.MethodPost, "/sql?format=json", map[string]string{"sql": "select count(*) as n from interactions"}, &rows); err != nil {
		return 0, fmt.Errorf("count events: %w", err)
	}
	return oneNumber(rows, "n")
}

// saveCatalog writes what the registry knows of emails, recipients, links and
// attachments as Parquet files into dir, for peers.
func (c *client) saveCatalog(ctx context.Context, dir string) error {
	for _, table := range []string{"emails", "recipients", "links", "attachments"} {
		text, err := c.call(ctx, http.MethodPost, "/v1/orgs/"+org+"/sql?format=parquet", map[string]any{"sql": "select * from " + table, "limit": 10_000_000})
		if err != nil {
			return fmt.Errorf("save %s: %w", table, err)
		}
		if err := os.WriteFile(filepath.Join(dir, table+".parquet"), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// tableFiles returns the Parquet files of the tables in a data folder that no
// server holds.
func (s *Setup) tableFiles(ctx context.Context, dir string) ([]string, error) {
	cmd := exec.CommandContext(ctx, s.Binary, "inspect", "lake", "--files", "--data", dir)
	cmd.Env = append(inherited(), s.Env...)
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	var files []string
	for line := range strings.Lines(string(text)) {
		if key := strings.TrimSpace(line); strings.HasSuffix(key, ".parquet") {
			files = append(files, filepath.Join(dir, "storage", filepath.FromSlash(key)))
		}
	}
	return files, nil
}

// populated starts a server on a new data folder, records all events of a world and
// returns how many must be in it, which is yet to be counted.
func (s *Setup) populated(ctx context.Context, dir string, p *worldPlan, say progress) (_ *node, total int64, err error) {
	n, err := s.mailwake(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = n.Explain(err)
			n.kill()
		}
	}()
	if err = n.api.createOrg(ctx); err != nil {
		return nil, 0, err
	}
	if err = n.api.register(ctx, p, say); err != nil {
		return nil, 0, err
	}
	registered, err := n.api.countAll(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err = n.api.load(ctx, p, say); err != nil {
		return nil, 0, err
	}
	return n, registered + p.Events, nil
}
