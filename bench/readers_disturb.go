package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fillBatch is rows in a request, below the limit of the door.
const fillBatch = 40_000

// fill stores n opens of the pixels' recipients, over the last eight weeks.
func (c *client) fill(ctx context.Context, pixels []pixel, n int) error {
	first := time.Now().UTC().Add(-8 * 7 * 24 * time.Hour)
	step := 8 * 7 * 24 * time.Hour / time.Duration(n)
	size := 0
	for from := 0; from < n; from += fillBatch {
		// One body a request: a request that is answered early may still be read from.
		body := make([]byte, 0, size)
		for i := from; i < min(n, from+fillBatch); i++ {
			p := pixels[i*7919%len(pixels)]
			body = append(body, `{"kind":"open","actor":"human","client":"Outlook","email_id":`...)
			body = strconv.AppendInt(body, p.email, 10)
			body = append(body, `,"recipient_id":`...)
			body = strconv.AppendInt(body, p.recipient, 10)
			body = append(body, `,"occurred_at":"`...)
			body = first.Add(time.Duration(i)*step).AppendFormat(body, time.RFC3339Nano)
			body = append(body, "\"}\n"...)
		}
		size = len(body)
		if err := c.sendRows(ctx, body); err != nil {
			return fmt.Errorf("store events: %w", err)
		}
	}
	return nil
}

// sendRows waits and tries again while the server has too much to flush.
func (c *client) sendRows(ctx context.Context, body []byte) error {
	for {
		status, text, err := c.post(ctx, "/interactions", "application/x-ndjson", bytes.NewReader(body))
		switch {
		case err != nil:
			return err
		case status/100 == 2:
			return nil
		case status != http.StatusServiceUnavailable:
			return fmt.Errorf("%d: %.500s", status, text)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// post returns status and text of an answer, whatever it is.
func (c *client) post(ctx context.Context, path, mediaType string, body io.Reader) (status int, text []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/orgs/"+org+path, body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", mediaType)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return resp.StatusCode, text, err
}

const (
	runaway    = `{"sql":"SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c WHERE a.range + b.range <> c.range"}`
	afterwards = 20 // questions before and after
)

// disturb asks an easy question before and after a statement that runs away and
// before and after the end of a worker.
func (r *ReadersReport) disturb(ctx context.Context, n *node, p pixel) (err error) {
	easy := func(times int) (Latency, error) {
		h := newLatency()
		for range times {
			start := time.Now()
			if _, err := n.api.count(ctx, p.recipient); err != nil {
				return Latency{}, err
			}
			_ = h.RecordValue(int64(min(time.Since(start), maxLatency))) // it is within bounds
		}
		return latencyOf(h), nil
	}
	if r.Before, err = easy(afterwards); err != nil {
		return err
	}
	start := time.Now()
	status, text, err := n.api.post(ctx, "/sql", "application/json", strings.NewReader(runaway))
	if err != nil {
		return err
	}
	r.Runaway, r.RunawaySeconds = fmt.Sprintf("%d %s", status, codeOf(text)), time.Since(start).Seconds()
	if r.AfterRunaway, err = easy(afterwards); err != nil {
		return err
	}
	killed := make(chan error, 1)
	go func() { killed <- n.killWorker(ctx, time.Second) }()
	if status, text, err = n.api.post(ctx, "/sql", "application/json", strings.NewReader(runaway)); err != nil {
		return err
	}
	if err := <-killed; err != nil {
		return err
	}
	r.Killed = fmt.Sprintf("%d %s", status, codeOf(text))
	first, err := easy(1)
	if err != nil {
		return err
	}
	r.FirstAfterKill = first.Max
	r.AfterKill, err = easy(afterwards)
	return err
}

// codeOf is the code of a problem document.
func codeOf(text []byte) string {
	_, rest, _ := strings.Cut(string(text), `"code":"`)
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

// killWorker kills the SQL workers of the server once they have worked for a while.
func (p *Process) killWorker(ctx context.Context, after time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(after):
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if len(fields) < 2 || fields[1] != strconv.Itoa(p.PID()) || !bytes.HasSuffix(line, []byte("\x00worker\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		found++
	}
	if found == 0 {
		return errors.New("the server has no SQL worker")
	}
	return nil
}
