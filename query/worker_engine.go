package query

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"mailwake/engine/event"
)

// pinPrefix begins the names under which DuckDB opens the data files that a worker
// was given. A name is never used twice, so nothing cached under it is another
// file's; see pin_linux.c for what opening one does.
const (
	pinPrefix = "pin-"
	maxPins   = 1 << 16
)

// personEngine answers over all rows of an organisation. Inside a worker it plays
// what Source and Catalog are to a DB: the store of the KPIs works on top of it
// unchanged, so that analysts and KPIs see one truth.
type personEngine struct {
	store *store
	dir   string
	files pinnedFiles

	order *workerOrder // the newest that came
	news  catalogNews  // that no statement has taken yet
	rules Rules
	veils veils
}

func newPersonEngine(ctx context.Context, setup workerSetup, files *net.UnixConn) (*personEngine, error) {
	e := &personEngine{dir: setup.Dir}
	e.files.paths, e.files.arrived = map[int]string{}, sync.NewCond(&e.files)
	o := &Options{
		Source: e, news: e.brought, Rules: e.current, Folders: func(event.OrgID) ([]string, error) { return []string{setup.Dir}, nil },
		TempDir: setup.Dir, Threads: setup.Threads, MemoryLimit: setup.Memory,
	}
	o.setDefaults()
	e.store = newStore(setup.Org, o, new(atomic.Bool))
	if err := e.store.open(ctx); err != nil {
		return nil, err
	}
	go e.files.receive(files, setup.Dir)
	return e, nil
}

func (e *personEngine) surface() surface { return publishedTables }

func (e *personEngine) take(ctx context.Context, o *workerOrder) error {
	if err := e.store.catchUp(ctx, &fedView{order: o}); err != nil {
		return err
	}
	if o.Statement == nil {
		return nil
	}
	e.news.add(&o.News)
	o.Rules.apply(&e.rules)
	e.order = o
	return e.files.keep(o.Files)
}

// answer runs a statement over the View that the last order told of.
func (e *personEngine) answer(ctx context.Context, q question, out resultWriter) error {
	l, err := e.store.lease(ctx, (*Rules).readable)
	if err != nil {
		return errInside{err}
	}
	defer l.release()
	e.news = catalogNews{}
	if l.veil, err = e.veils.of(ctx, l); err != nil {
		return errInside{err}
	}
	head, err := l.base().with(readsOf(q.text))
	if err != nil {
		return errInside{err}
	}
	return runStatement(ctx, l.duck, head, q, out)
}

// errInside is an error of our own doing, however much it looks like one of the
// statement.
type errInside struct{ error }

// runStatement runs q behind the head that defines its tables.
func runStatement(ctx context.Context, duck *sql.DB, head string, q question, out resultWriter) (err error) {
	conn, err := duck.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	prefix := head + "SELECT * FROM (\n"
	out.begin(len(prefix))
	return streamQuery(ctx, conn, prefix+q.text+"\n) LIMIT "+strconv.Itoa(q.limit+1), out)
}

// View gives the last order as a View.
func (e *personEngine) View(context.Context, event.OrgID) (View, error) {
	v := &fedView{order: e.order}
	for _, n := range e.order.Files {
		v.files = append(v.files, e.files.path(n))
	}
	return v, nil
}

// brought gives what orders brought of the catalog.
func (e *personEngine) brought(_ context.Context, _ event.OrgID, mark catalogMark) (catalogNews, catalogMark, error) {
	for _, email := range e.news.Emails {
		mark.email = max(mark.email, email.ID)
	}
	return e.news, mark, nil
}

// current are the rules that the last order told.
func (e *personEngine) current(event.OrgID) (Rules, error) { return e.rules, nil }

// fedView is a View of an order.
type fedView struct {
	order *workerOrder
	files []string
}

func (v *fedView) Files() []string                 { return v.files }
func (v *fedView) SnapshotID() int64               { return v.order.Snapshot }
func (v *fedView) Tail() (from, to event.Position) { return v.order.From, v.order.To }
func (v *fedView) Content() uint64                 { return 0 } // no rollups are kept here
func (v *fedView) Close()                          {}

func (v *fedView) Rows(from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return func(yield func(event.Position, *event.Interaction) bool) {
		in := new(event.Interaction)
		for left := v.order.Rows; len(left) > 0; {
			pos, row, rest, err := nextTailRow(left)
			if err == nil {
				err = event.DecodeRow(row, in)
			}
			if err != nil {
				panic(err) // the parent wrote it: memory is damaged
			}
			if left = rest; pos >= from && !yield(pos, in) {
				return
			}
		}
	}
}

// RowsOf filters Rows; nobody here asks for few.
func (v *fedView) RowsOf(email event.EmailID, from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return tailOf(v, email, from)
}

func tailOf(v View, email event.EmailID, from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return func(yield func(event.Position, *event.Interaction) bool) {
		for pos, in := range v.Rows(from) {
			if in.Email == email && !yield(pos, in) {
				return
			}
		}
	}
}

// pinnedFiles are the open data files that the parent sent.
type pinnedFiles struct {
	sync.Mutex
	arrived *sync.Cond
	paths   map[int]string
	failed  error
}

// receive takes files as they come. They come before the order that names them,
// on another socket.
func (p *pinnedFiles) receive(from *net.UnixConn, dir string) {
	for {
		number, fd, err := receiveFile(from)
		path := filepath.Join(dir, pinPrefix+strconv.Itoa(number)+".parquet")
		if err == nil {
			err = pin(path, number, fd)
		}
		p.Lock()
		if p.failed = err; err == nil {
			p.paths[number] = path
		}
		p.Unlock()
		p.arrived.Broadcast()
		if err != nil {
			return
		}
	}
}

func receiveFile(from *net.UnixConn) (number, fd int, err error) {
	var message [8]byte
	rights := make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := from.ReadMsgUnix(message[:], rights)
	if err != nil {
		return 0, 0, err
	}
	control, err := syscall.ParseSocketControlMessage(rights[:oobn])
	if err != nil || n != len(message) || len(control) != 1 {
		return 0, 0, errors.Join(errors.New("damaged message with a file"), err)
	}
	fds, err := syscall.ParseUnixRights(&control[0])
	if err != nil || len(fds) != 1 {
		return 0, 0, errors.Join(errors.New("message without a file"), err)
	}
	number = int(binary.BigEndian.Uint64(message[:]))
	if number < 0 || number >= maxPins {
		return 0, 0, fmt.Errorf("file number %d", number)
	}
	return number, fds[0], nil
}

// keep waits for the files named and lets go of all others.
func (p *pinnedFiles) keep(numbers []int) error {
	p.Lock()
	defer p.Unlock()
	wanted := make(map[int]bool, len(numbers))
	for _, n := range numbers {
		wanted[n] = true
		for p.paths[n] == "" {
			if p.failed != nil {
				return p.failed
			}
			p.arrived.Wait()
		}
	}
	for n, path := range p.paths {
		if !wanted[n] {
			unpin(n)
			delete(p.paths, n)
			_ = os.Remove(path) // a placeholder of no bytes
		}
	}
	return nil
}

func (p *pinnedFiles) path(number int) string {
	p.Lock()
	defer p.Unlock()
	return p.paths[number]
}
