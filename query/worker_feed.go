package query

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"mailwake/engine/event"
)

// feedPart is how many bytes of tail rows travel in one order: enough that the
// overhead of an order does not count, and little enough to be held twice.
const feedPart = 1 << 20

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
	order := workerOrder{Snapshot: view.SnapshotID(), Rules: p.fedRules(&rules), Statement: &st}
	order.From, order.To = view.Tail()
	if order.From < p.from || order.To < p.pulled {
		return errors.New("feed worker: tail moved back")
	}
	p.pulled = max(p.pulled, order.From)
	var err error
	if order.Rows, err = p.sendRows(view, order.To); err != nil {
		return errWorkerGone(err)
	}
	p.from, p.pulled = order.From, order.To
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

// sendRows sends the tail's new rows before to in parts, and returns the last part
// unsent.
func (p *worker) sendRows(view View, to event.Position) (rest []byte, err error) {
	var scratch []byte
	for pos, in := range view.Rows(p.pulled) {
		if pos >= to {
			break
		}
		rest, scratch = appendTailRow(rest, pos, in, scratch)
		if len(rest) >= feedPart {
			if err := p.end.orders.Encode(workerOrder{Rows: rest}); err != nil {
				return nil, err
			}
			rest = rest[:0]
		}
	}
	return rest, nil
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
