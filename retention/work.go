package retention

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"mailwake/engine/lake"
)

// A merge takes seconds of a core and hundreds of megabytes, which are not the
// server's: a process of its own works it out and gives way to everybody. It reads
// data files, which the server pins, and knows neither the store nor any table; it
// dies with the server, whose end of the pipe it writes to.
//
//	server ──job──▶ worker: read, judge, cull, merge, encode ──parts──▶ server: store, commit

// job is what a worker is to do.
type job struct {
	Files     []jobFile
	Policy    Policy
	At        time.Time
	FileBytes int64
	Group     int
	GiveWay   bool
}

type jobFile struct {
	Local string // path of the file
	Key   string
	Bytes int64
	Sum   string
}

// part is a piece of what a worker has done; what is zero is not told.
type part struct {
	Bytes  []byte      // of the file being made
	End    *lake.About // of that file, which is complete
	Read   int64       // rows so far
	Counts *Counts     // all is done
	Failed string
}

// partBytes is the size of pieces: the pipe takes 64 KiB at a time anyway.
const partBytes = 256 << 10

// workshop is where merges are worked out.
type workshop struct {
	command []string // of a program that calls RunWorker; empty: this process
	giveWay bool
}

// merge writes the rows of files that c keeps to files of t.
func (w workshop) merge(ctx context.Context, l *lake.Lake, t *lake.Table, files []lake.File, c *cull, fileBytes int64, told func(int64)) (out []lake.File, counts Counts, err error) {
	j := job{Policy: *c.policy, At: c.at, FileBytes: fileBytes, Group: rowGroup, GiveWay: w.giveWay}
	for _, f := range files {
		path, release, err := l.Local(ctx, f)
		if err != nil {
			return nil, counts, err
		}
		defer release()
		j.Files = append(j.Files, jobFile{path, f.Path, f.Bytes, f.Sum})
	}
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	orders, parts, wait, err := w.start(working)
	if err != nil {
		return nil, counts, fmt.Errorf("start worker: %w", err)
	}
	in := t.Receive()
	err = gob.NewEncoder(orders).Encode(j)
	if err == nil {
		counts, err = receive(ctx, parts, in, told)
	}
	cancel() // a worker that is done has nothing to do but to end
	ended := wait()
	if err != nil {
		err = errors.Join(err, ended)
	}
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, counts, errors.Join(err, t.Discard(ctx, in.Files()))
	}
	return in.Files(), counts, nil
}

// receive takes what a worker makes until it is done.
func receive(ctx context.Context, from io.Reader, in *lake.Receiver, told func(int64)) (Counts, error) {
	parts := gob.NewDecoder(bufio.NewReaderSize(from, 64<<10))
	var p part
	for {
		p = part{Bytes: p.Bytes[:0]} // its room is used again
		if err := parts.Decode(&p); err != nil {
			return Counts{}, errors.Join(ctx.Err(), fmt.Errorf("hear from worker: %w", err))
		}
		switch {
		case p.Failed != "":
			return Counts{}, errors.Join(ctx.Err(), errors.New(p.Failed))
		case p.Counts != nil:
			return *p.Counts, nil
		case p.End != nil:
			if err := in.End(ctx, *p.End); err != nil {
				return Counts{}, err
			}
		case p.Read > 0:
			told(p.Read)
		default:
			if _, err := in.Write(p.Bytes); err != nil {
				return Counts{}, fmt.Errorf("write temporary file: %w", err)
			}
		}
	}
}

// start begins a worker that ends with ctx.
func (w workshop) start(ctx context.Context) (orders io.Writer, parts io.Reader, wait func() error, err error) {
	if len(w.command) == 0 {
		return startHere(ctx)
	}
	cmd := exec.CommandContext(ctx, w.command[0], w.command[1:]...) //nolint:gosec // our own program, from options
	// One core is taken at most, so that whoever wakes finds another.
	cmd.Env = []string{"GODEBUG=" + os.Getenv("GODEBUG"), "GOMAXPROCS=1"}
	cmd.Stderr = os.Stderr // of a panic; it prints nothing else
	orders, err = cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	parts, err = cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return orders, parts, cmd.Wait, cmd.Start()
}

// startHere is start without a process.
func startHere(ctx context.Context) (io.Writer, io.Reader, func() error, error) {
	ordersOut, orders := io.Pipe()
	parts, partsIn := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		partsIn.CloseWithError(work(ctx, ordersOut, partsIn))
		_ = ordersOut.Close()
	}()
	return orders, parts, func() error {
		_ = parts.Close() // else it may wait for somebody to read
		<-ended
		return nil
	}, nil
}

// RunWorker is the whole life of a process that works out one merge: the job comes
// in at its standard input, and what it makes goes out at its standard output. It
// returns the exit status.
func RunWorker() int {
	if err := work(context.Background(), os.Stdin, os.Stdout); err != nil {
		return 1
	}
	return 0
}

// work does the job that comes from orders. It returns an error when nobody hears.
func work(ctx context.Context, orders io.Reader, to io.Writer) error {
	var j job
	if err := gob.NewDecoder(orders).Decode(&j); err != nil {
		return err
	}
	if j.GiveWay {
		giveWay()
	}
	out := &partsTo{parts: gob.NewEncoder(to)}
	counts, err := j.do(ctx, out)
	if err != nil {
		return out.parts.Encode(part{Failed: err.Error()})
	}
	return out.parts.Encode(part{Counts: &counts})
}

func (j *job) do(ctx context.Context, out *partsTo) (counts Counts, err error) {
	texts := lake.NewTexts()
	m := &merger{
		texts: texts, out: lake.NewEncoder(out, texts, lake.EncoderOptions{Rules: Rules, FileBytes: j.FileBytes}), group: j.Group,
		cull: j.Policy.cull(j.At), labels: newLabels(texts), kinds: newKinds(texts), told: out.read,
	}
	defer func() {
		for _, in := range m.inputs {
			err = errors.Join(err, in.reader.Close())
		}
	}()
	for _, f := range j.Files {
		reader, err := lake.OpenReader(f.Local, lake.File{Path: f.Key, Bytes: f.Bytes, Sum: f.Sum}, texts)
		if err != nil {
			return m.counts, err
		}
		m.inputs = append(m.inputs, &input{reader: reader})
	}
	if err := m.run(ctx); err != nil {
		return m.counts, err
	}
	return m.counts, m.out.Finish(ctx)
}

// partsTo is a lake.Sink that sends.
type partsTo struct {
	parts *gob.Encoder
	buf   []byte
	rows  int64 // read
	told  int64
}

// Write implements lake.Sink.
func (p *partsTo) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	if len(p.buf) < partBytes {
		return len(b), nil
	}
	return len(b), p.flush()
}

// read notes how many rows are done, to be told with what comes next.
func (p *partsTo) read(rows int64) { p.rows = rows }

func (p *partsTo) flush() error {
	if len(p.buf) > 0 {
		if err := p.parts.Encode(part{Bytes: p.buf}); err != nil {
			return err
		}
		p.buf = p.buf[:0]
	}
	if p.rows == p.told {
		return nil
	}
	p.told = p.rows
	return p.parts.Encode(part{Read: p.rows})
}

// End implements lake.Sink.
func (p *partsTo) End(_ context.Context, about lake.About) error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.parts.Encode(part{End: &about})
}
