package retention

import (
	"context"
	"encoding/gob"
	"errors"
	"io"
	"os"
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

// RunWorker is the whole life of a process that works out merges, one after another:
// jobs come in at its standard input, and what it has done goes out at its standard
// output. It ends when the input does. It returns the exit status.
func RunWorker() int {
	if err := work(context.Background(), os.Stdin, os.Stdout, func() { os.Exit(1) }); err != nil {
		return 1
	}
	return 0
}

// work does the jobs that come from orders, and calls gone when they end, also within
// a job. It returns an error when nobody hears.
func work(ctx context.Context, orders io.Reader, to io.Writer, gone func()) error {
	jobs := make(chan *job)
	go func() {
		defer close(jobs)
		defer gone()
		for from := gob.NewDecoder(orders); ; {
			var j job
			if from.Decode(&j) != nil {
				return
			}
			jobs <- &j
		}
	}()
	parts := gob.NewEncoder(to)
	polite := false
	for j := range jobs {
		if j.GiveWay && !polite {
			giveWay()
			polite = true
		}
		counts, err := j.do(ctx, parts)
		done := part{Counts: &counts}
		if err != nil {
			done = part{Failed: err.Error()}
		}
		if err := parts.Encode(done); err != nil {
			return err
		}
	}
	return nil
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
