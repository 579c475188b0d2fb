package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	org         = "bench"
	followBatch = 1000     // recipients per call
	maxBody     = 64 << 20 // bytes of an answer of the API
	callLimit   = 30 * time.Minute
)

// client speaks the private plane's HTTP interface.
type client struct {
	base string
	key  string
	http *http.Client
}

func newClient(base, key string) *client {
	return &client{base: base, key: key, http: &http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// call sends body as JSON, unless it is nil, and returns the answer's bytes.
func (c *client) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read answer: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.500s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

// decode calls and reads the answer as JSON.
func (c *client) decode(ctx context.Context, method, path string, body, out any) error {
	text, err := c.call(ctx, method, path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s %s: read answer %.80q: %w", method, path, text, err)
	}
	return nil
}

// ready reports whether the server answers 200 at /readyz; it may not answer yet.
func (c *client) ready(ctx context.Context) bool {
	_, err := c.call(ctx, http.MethodGet, "/readyz", nil)
	return err == nil
}

func (c *client) createOrg(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/orgs", map[string]string{"name": org})
	return err
}

// pixel is one recipient's copy of a followed email.
type pixel struct {
	email, recipient int64
	path             string // /o/TOKEN.gif
}

var pixelPath = regexp.MustCompile(`/o/[A-Za-z0-9_-]+\.gif`)

// follow registers emails to n recipients named after prefix, at most followBatch
// each, and returns their pixels.
func (c *client) follow(ctx context.Context, prefix string, n int) ([]pixel, error) {
	var all []pixel
	for from := 0; from < n; from += followBatch {
		batch, err := c.followOne(ctx, prefix, from, min(from+followBatch, n))
		if err != nil {
			return nil, fmt.Errorf("follow recipients %d to %d: %w", from+1, min(from+followBatch, n), err)
		}
		all = append(all, batch...)
	}
	return all, nil
}

// addresses are the recipients from+1 to to of a prefix, as the API wants them.
func addresses(prefix string, from, to int) (all []map[string]string) {
	for i := from; i < to; i++ {
		all = append(all, map[string]string{"address": fmt.Sprintf("%s%d@bench.example", prefix, i+1)})
	}
	return all
}

func (c *client) followOne(ctx context.Context, prefix string, from, to int) ([]pixel, error) {
	var answer struct {
		EmailID  int64  `json:"email_id"`
		State    string `json:"follow_state"`
		Messages []struct {
			RecipientID int64  `json:"recipient_id"`
			HTML        string `json:"html"`
		} `json:"messages"`
	}
	err := c.decode(ctx, http.MethodPost, "/v1/orgs/"+org+"/emails", map[string]any{
		"from": "a@bench.example", "to": addresses(prefix, from, to), "subject": "Bench " + prefix, "follow": "required",
		"html": `<html><body><p>Hi <a href="https://example.com/x">x</a></p></body></html>`,
	}, &answer)
	if err != nil {
		return nil, err
	}
	if answer.State != "on" || len(answer.Messages) != to-from {
		return nil, fmt.Errorf("follow state %q with %d messages for %d recipients", answer.State, len(answer.Messages), to-from)
	}
	var pixels []pixel
	for _, m := range answer.Messages {
		path := pixelPath.FindString(m.HTML)
		if path == "" {
			return nil, fmt.Errorf("no pixel in the HTML for recipient %d: %.200q", m.RecipientID, m.HTML)
		}
		pixels = append(pixels, pixel{email: answer.EmailID, recipient: m.RecipientID, path: path})
	}
	return pixels, nil
}

// count returns the number of stored opens, of one recipient if that is not 0.
func (c *client) count(ctx context.Context, recipient int64) (int64, error) {
	sql := "select count(*) as n from interactions where kind = 'open'"
	if recipient != 0 {
		sql += " and recipient_id = " + strconv.FormatInt(recipient, 10)
	}
	var rows []map[string]any
	if err := c.rows(ctx, http.MethodPost, "/sql?format=json", map[string]string{"sql": sql}, &rows); err != nil {
		return 0, fmt.Errorf("count opens: %w", err)
	}
	return oneNumber(rows, "n")
}

// opens returns what the KPI says about one email.
func (c *client) opens(ctx context.Context, email int64) (int64, error) {
	var rows []map[string]any
	path := fmt.Sprintf("/kpis/email_summary?email=%d&format=json", email)
	if err := c.rows(ctx, http.MethodGet, path, nil, &rows); err != nil {
		return 0, fmt.Errorf("ask KPI: %w", err)
	}
	return oneNumber(rows, "opens_total")
}

// rows reads rows with numbers as they are written: a 64-bit number may be a string.
func (c *client) rows(ctx context.Context, method, path string, body any, out *[]map[string]any) error {
	text, err := c.call(ctx, method, "/v1/orgs/"+org+path, body)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return fmt.Errorf("read rows %.80q: %w", text, err)
	}
	return nil
}

func oneNumber(rows []map[string]any, column string) (int64, error) {
	if len(rows) != 1 {
		return 0, fmt.Errorf("read %s: %d rows instead of one", column, len(rows))
	}
	switch v := rows[0][column].(type) {
	case json.Number:
		return v.Int64()
	case string:
		return strconv.ParseInt(v, 10, 64)
	default:
		return 0, fmt.Errorf("read %s: %v is no number", column, v)
	}
}

// metrics returns the named values of the Prometheus text, summed over labels.
func (c *client) metrics(ctx context.Context, names ...string) ([]float64, error) {
	text, err := c.call(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return parseMetrics(string(text), names...)
}

func parseMetrics(text string, names ...string) ([]float64, error) {
	values, seen := make([]float64, len(names)), make([]bool, len(names))
	for line := range strings.Lines(text) {
		for i, name := range names {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
				continue
			}
			fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
			if len(fields) == 0 {
				return nil, fmt.Errorf("read metrics: line %q", line)
			}
			v, err := strconv.ParseFloat(fields[0], 64)
			if err != nil {
				return nil, fmt.Errorf("read metrics: %w", err)
			}
			values[i] += v
			seen[i] = true
		}
	}
	var missing []error
	for i, name := range names {
		if !seen[i] {
			missing = append(missing, fmt.Errorf("read metrics: no %s", name))
		}
	}
	return values, errors.Join(missing...)
}
