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
// data files, which the server pins, and writes files and their rollups, of which
// the server makes blobs of a table without looking at their bytes. It knows neither
// the store nor any table, and dies with the server, whose orders it reads to their
// end.
//
//	server ──job──▶ worker: read, judge, cull, merge, encode, count ──parts──▶ server: take, commit
//	                  └─▶ data files, rollups ──────────────────────────────────────▲

// job is what a worker is to do.
type job struct {
	Files     []jobFile
	Policy    Policy
	At        time.Time
	FileBytes int64
	Group     int
	GiveWay   bool
	Place     lake.Place // of what it makes
	Rollups   string     // folder of rollups; "": none are made
}

type jobFile struct {
	Local string // path of the file
	Key   string
	Bytes int64
	Sum   string
}

// part is something that a worker tells; what is zero is not told.
type part struct {
	Made   *lake.Made // a file, whose rollup is in its place
	Read   int64      // rows so far
	Counts *Counts    // all is done
	Failed string
}

// workshop is where merges are worked out.
type workshop struct {
	command []string // of a program that calls RunWorker; empty: this process
	giveWay bool
	rollups string // see job
}

// merge writes the rows of files that c keeps to files of t.
func (w workshop) merge(ctx context.Context, l *lake.Lake, t *lake.Table, files []lake.File, c *cull, fileBytes int64, told func(int64)) (out []lake.File, counts Counts, err error) {
	in := t.Receive()
	j := job{Policy: *c.policy, At: c.at, FileBytes: fileBytes, Group: rowGroup, GiveWay: w.giveWay, Place: in.Place(), Rollups: w.rollups}
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
	parts := gob.NewDecoder(bufio.NewReader(from))
	for {
		var p part
		if err := parts.Decode(&p); err != nil {
			return Counts{}, errors.Join(ctx.Err(), fmt.Errorf("hear from worker: %w", err))
		}
		switch {
		case p.Failed != "":
			return Counts{}, errors.Join(ctx.Err(), errors.New(p.Failed))
		case p.Counts != nil:
			return *p.Counts, nil
		case p.Made != nil:
			if err := in.Take(ctx, *p.Made); err != nil {
				return Counts{}, err
			}
		default:
			told(p.Read)
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
		partsIn.CloseWithError(work(ctx, ordersOut, partsIn, nil))
		_ = ordersOut.Close()
	}()
	return orders, parts, func() error {
		_ = parts.Close() // else it may wait for somebody to read
		<-ended
		return nil
	}, nil
}

// RunWorker is the whole life of a process that works out one merge: the job comes
// in at its standard input, and what it has done goes out at its standard output. It
// ends when the input does. It returns the exit status.
func RunWorker() int {
	if err := work(context.Background(), os.Stdin, os.Stdout, func() { os.Exit(1) }); err != nil {
		return 1
	}
	return 0
}

// work does the job that comes from orders, and calls gone, unless that is nil, when
// they end. It returns an error when nobody hears.
func work(ctx context.Context, orders io.Reader, to io.Writer, gone func()) error {
	var j job
	if err := gob.NewDecoder(orders).Decode(&j); err != nil {
		return err
	}
	if gone != nil {
		go func() {
			_, _ = io.Copy(io.Discard, orders) // no more come
			gone()
		}()
	}
	if j.GiveWay {
		giveWay()
	}
	parts := gob.NewEncoder(to)
	counts, err := j.do(ctx, parts)
	if err != nil {
		return parts.Encode(part{Failed: err.Error()})
	}
	return parts.Encode(part{Counts: &counts})
}

func (j *job) do(ctx context.Context, parts *gob.Encoder) (counts Counts, err error) {
	texts := lake.NewTexts()
	roll := &roller{dir: j.Rollups, most: rollupMemory, texts: texts, labels: newLabels(texts)}
	defer roll.close()
	made := lake.NewMaker(j.Place, func(_ context.Context, made lake.Made) error {
		roll.end(&made)
		return parts.Encode(part{Made: &made})
	})
	m := &merger{
		texts: texts, out: lake.NewEncoder(made, texts, lake.EncoderOptions{Rules: Rules, FileBytes: j.FileBytes}), group: j.Group,
		cull: j.Policy.cull(j.At), labels: roll.labels, kinds: newKinds(texts), roll: roll,
		told: func(rows int64) error { return parts.Encode(part{Read: rows}) },
	}
	defer func() {
		err = errors.Join(err, made.Close())
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
