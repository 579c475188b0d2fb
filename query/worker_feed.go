package query

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"mailwake/engine/event"
)

// feedPart is how many bytes of tail rows travel in one order: enough that the
// overhead of an order does not count, and little enough to be held twice.
const feedPart = 1 << 20

// aheadShare is what an idle worker lacks at most: of the rows that came since its last
// statement the last eighth, or those of countEvery. Statements that follow each other
// closely bring their own rows, and a worker that nobody asks is fed ever more seldom.
const aheadShare = 8

// feeder brings a worker up to now. It is the only way by which data reaches one.
type feeder struct {
	opts *Options
	// totals returns the tables of the aggregate surface and their version, which
	// changes whenever anything in them may have changed.
	totals func(ctx context.Context, org event.OrgID) (version string, tables []workerTable, err error)
}

// feed sends what the worker does not have yet, and the statement. The View's files
// are pinned until release. After an error the worker is of no use any more.
func (f feeder) feed(ctx context.Context, p *worker, st workerStatement) (snapshot int64, release func(), err error) {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	p.asked = time.Now()
	p.ahead = p.asked
	if !p.key.persons {
		return 0, func() {}, f.feedTotals(ctx, p, st)
	}
	rules, err := f.opts.Rules(p.key.org)
	if err != nil {
		return 0, nil, fmt.Errorf("rules: %w", err)
	}
	view, err := f.opts.Source.View(ctx, p.key.org)
	if err != nil {
		return 0, nil, fmt.Errorf("view: %w", err)
	}
	if err := f.feedView(ctx, p, view, rules, st); err != nil {
		view.Close()
		return 0, nil, err
	}
	return view.SnapshotID(), view.Close, nil
}

// ahead sends a worker that is idle the rows that came since, if it was not just fed, but no
// more at a time than one order takes: of millions at once, as they come in bulk, a flush
// takes most before anybody asks. What keeps a View from being taken is for the next
// statement to say. After an error the worker is of no use any more.
func (f feeder) ahead(ctx context.Context, p *worker, now time.Time, idle func() bool) error {
	p.feeding.Lock()
	defer p.feeding.Unlock()
	if now.Sub(p.ahead) < max(countEvery, now.Sub(p.asked)/aheadShare) {
		return nil
	}
	rules, err := f.opts.Rules(p.key.org)
	if err != nil || rules.readable() != nil || !idle() {
		return nil
	}
	last := p.ahead
	p.ahead = now
	view, err := f.opts.Source.View(ctx, p.key.org)
	if err != nil {
		return nil
	}
	defer view.Close()
	ctx, cancel := context.WithTimeout(ctx, workerStart)
	defer cancel()
	defer context.AfterFunc(ctx, func() { p.kill("it takes nothing, or nobody needs it") })()
	order, more, err := p.nextRows(view)
	if err != nil {
		return err
	}
	if more {
		p.ahead = last // so that the next look goes on
	}
	if len(order.Rows) == 0 {
		return nil
	}
	return p.end.orders.Encode(order)
}

func (f feeder) feedTotals(ctx context.Context, p *worker, st workerStatement) error {
	version, tables, err := f.totals(ctx, p.key.org)
	if err != nil {
		return err
	}
	order := workerOrder{Statement: &st}
	if version != p.tables {
		order.Tables = tables
	}
	if err := p.end.orders.Encode(order); err != nil {
		return errWorkerGone(err)
	}
	p.tables = version
	return nil
}

func (f feeder) feedView(ctx context.Context, p *worker, view View, rules Rules, st workerStatement) error {
	order, more, err := p.nextRows(view)
	for ; more && err == nil; order, more, err = p.nextRows(view) {
		if err := p.end.orders.Encode(order); err != nil {
			return errWorkerGone(err)
		}
	}
	if err != nil {
		return err
	}
	order.Snapshot, order.Rules, order.Statement = view.SnapshotID(), p.fedRules(&rules), &st
	if order.News, p.mark, err = readNews(ctx, f.opts.Catalog, p.key.org, p.mark); err != nil {
		return err
	}
	if order.Files, err = p.sendFiles(view.Files()); err != nil {
		return err
	}
	if err := p.end.orders.Encode(order); err != nil {
		return errWorkerGone(err)
	}
	return nil
}

// nextRows takes those of the tail's rows that the worker lacks, as many as travel in one
// order, and says whether there are more.
func (p *worker) nextRows(view View) (order workerOrder, more bool, err error) {
	from, to := view.Tail()
	if from < p.from || to < p.pulled {
		return order, false, errors.New("feed worker: tail moved back")
	}
	order.From, order.To = from, to
	var scratch []byte
	for pos, in := range view.Rows(max(p.pulled, from)) {
		if pos >= to {
			break
		}
		if len(order.Rows) >= feedPart {
			order.To, more = pos, true
			break
		}
		order.Rows, scratch = appendTailRow(order.Rows, pos, in, scratch)
	}
	p.from, p.pulled = from, order.To
	return order, more, nil
}

// sendFiles opens the files that the worker does not have and sends them, open,
// since it may open none by itself. It returns the numbers of all.
func (p *worker) sendFiles(paths []string) ([]int, error) {
	numbers := make([]int, len(paths))
	pins := make(map[string]int, len(paths))
	for i, path := range paths {
		n, ok := p.pins[path]
		if !ok {
			n = p.nextPin
			if n >= maxPins {
				return nil, errWorkerGone(errors.New("out of numbers for files"))
			}
			p.nextPin++
			if err := p.sendFile(n, path); err != nil {
				return nil, err
			}
		}
		numbers[i], pins[path] = n, n
	}
	p.pins = pins
	return numbers, nil
}

func (p *worker) sendFile(number int, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	defer f.Close()
	_, _, err = p.end.files.WriteMsgUnix(binary.BigEndian.AppendUint64(nil, uint64(number)), syscall.UnixRights(int(f.Fd())), nil)
	if err != nil {
		return errWorkerGone(err)
	}
	return nil
}
