package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"mailwake/query"
)

// benchDuckCmd is DuckDB by itself, which KPIs are measured against: it answers a
// line of JSON on standard input, first {"files", "catalog"}, then {"kpi", "params"},
// with a line of JSON.
type benchDuckCmd struct {
	MemoryMB int64 `name:"memory-mb" help:"Memory of the engine." default:"4096"`
}

type duckRequest struct {
	Files   []string          `json:"files"`
	Catalog string            `json:"catalog"`
	KPI     string            `json:"kpi"`
	Params  map[string]string `json:"params"`
}

type duckAnswer struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
	Text    string  `json:"text"`
	Error   string  `json:"error,omitempty"`
}

// Run answers until standard input ends.
func (c *benchDuckCmd) Run(ctx context.Context, e *env) (err error) {
	var plain *query.Plain
	defer func() {
		if plain != nil {
			err = errors.Join(err, plain.Close())
		}
	}()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(e.out)
	for {
		var r duckRequest
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		var a duckAnswer
		start, cpu := time.Now(), cpuTime()
		if r.KPI == "" {
			plain, err = query.OpenPlain(ctx, r.Files, r.Catalog, runtime.NumCPU(), c.MemoryMB<<20)
		} else if plain != nil {
			a.Text, err = askPlain(ctx, plain, r)
		}
		a.Seconds, a.CPU = time.Since(start).Seconds(), (cpuTime() - cpu).Seconds()
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

func askPlain(ctx context.Context, plain *query.Plain, r duckRequest) (string, error) {
	result, err := plain.KPI(ctx, r.KPI, r.Params)
	if err != nil {
		return "", err
	}
	defer result.Close()
	var text bytes.Buffer
	err = result.Write(&text, query.NDJSON)
	return text.String(), err
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
