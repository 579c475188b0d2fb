package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/classify"
	"mailwake/ingest"
	"mailwake/ingest/reply"
	"mailwake/ingest/token"
	"mailwake/query"
	"mailwake/retention"
)

const (
	// privateReadHeader and privateIdle bound slow and idle callers of the private plane.
	privateReadHeader = 10 * time.Second
	privateRead       = 60 * time.Second
	privateIdle       = 2 * time.Minute
	// drainTime bounds the last flush and the requests in flight at shutdown; what
	// is not flushed then is replayed from the log at the next start.
	drainTime = 20 * time.Second
	// reopenEvery is the pause between attempts to reach a storage that is down at
	// start.
	reopenEvery = 2 * time.Second
)

type serveCmd struct {
	storeFlags
	sqlFlags
	listenFlags
}

// Help shows examples.
func (serveCmd) Help() string {
	return `Examples:
  mailwake serve
  mailwake serve --data /var/lib/mailwake --public :8025 --public-url https://t.example.com
  AZURE_STORAGE_KEY_FILE=/run/secrets/key mailwake serve --storage 'azblob://mail?account=acme&auth=shared-key'`
}

// Run serves until a signal ends it.
func (c *serveCmd) Run(ctx context.Context, e *env) error {
	s := &server{store: c.storeFlags, sql: c.sqlFlags, listen: c.listenFlags, logger: newLogger(e.err, c.LogFormat), out: e.out}
	return s.run(ctx)
}

func newLogger(w io.Writer, format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// server is one running mailwake process.
//
//	public  ─▶ ingest.Public ──┐
//	private ─▶ huma API ───────┴▶ engine ─▶ lake ─▶ blob store
//	             └▶ query ─ views ──┘
type server struct {
	store   storeFlags
	sql     sqlFlags
	listen  listenFlags
	logger  *slog.Logger
	out     io.Writer
	started func(addresses) // told when both planes answer; may be nil

	phase atomic.Value // string: why not ready, "" when ready
	stack stack
}

// stack is what a ready server consists of.
type stack struct {
	node   *node
	engine *engine.Engine
	query  *query.DB
	keeper *retention.Keeper
	tokens *token.Ring
	public *ingest.Public
	judge  *classify.Classifier

	replies *reply.Service
	lmtp    *ingest.LMTP
}

// addresses is what server.json tells clients on the same machine.
type addresses struct {
	Public  string `json:"public"`
	Private string `json:"private"`
}

// run opens everything, serves, and closes everything in reverse.
func (s *server) run(ctx context.Context) (err error) {
	lock, err := lockFolder(s.store.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	publicLn, err := net.Listen("tcp", s.listen.Public)
	if err != nil {
		return fmt.Errorf("listen for the public plane: %w", err)
	}
	defer publicLn.Close()
	privateLn, err := net.Listen("tcp", s.listen.Private)
	if err != nil {
		return fmt.Errorf("listen for the private plane: %w", err)
	}
	lmtpLn, err := s.listen.lmtpFlags.listen()
	if err != nil {
		return err
	}
	if lmtpLn != nil {
		defer lmtpLn.Close()
	}
	s.phase.Store("starting")
	gate := new(gate)
	gate.set(answerProblems(health(s.ready), s.ready))
	private := &http.Server{Handler: gate, ReadHeaderTimeout: privateReadHeader, ReadTimeout: privateRead, IdleTimeout: privateIdle,
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug)}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return servePrivate(gctx, private, privateLn) })
	g.Go(func() error { return s.live(gctx, gate, publicLn, privateLn, lmtpLn) })
	return g.Wait()
}

func servePrivate(ctx context.Context, srv *http.Server, ln net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		stopped <- srv.Shutdown(limit)
	})
	err := srv.Serve(ln)
	if stop() {
		return fmt.Errorf("private plane: %w", err)
	}
	return <-stopped
}

// live opens the stack, serves the public plane, and drains.
func (s *server) live(ctx context.Context, gate *gate, publicLn, privateLn, lmtpLn net.Listener) (err error) {
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	at := addresses{Public: s.publicURL(publicLn), Private: "http://" + privateLn.Addr().String()}
	handler, err := s.handler(at)
	if err != nil {
		return err
	}
	if err := s.announce(ctx, at); err != nil {
		return err
	}
	gate.set(handler)
	s.phase.Store("")
	s.logger.Info("ready", "public", at.Public, "private", at.Private, "data", s.store.Data)
	if s.started != nil {
		s.started(at)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.stack.public.Serve(gctx, publicLn) })
	g.Go(func() error { return s.stack.engine.Run(gctx) })
	g.Go(func() error {
		return s.stack.node.registry.Follow(gctx, func(err error) {
			s.logger.Warn("what other nodes changed is not known yet", "error", err)
		})
	})
	g.Go(func() error { return s.sweepAttachments(gctx) })
	g.Go(func() error { return s.stack.keeper.Run(gctx) })
	g.Go(func() error { return s.stack.query.Run(gctx) })
	g.Go(func() error { return s.serveReplies(gctx, lmtpLn) })
	err = g.Wait()
	s.phase.Store("shutting down")
	return err
}

func (s *server) publicURL(ln net.Listener) string {
	if s.listen.PublicURL != "" {
		return s.listen.PublicURL
	}
	return "http://" + ln.Addr().String()
}

// open builds the stack. A storage that is down is waited for, with the reason
// at /readyz; anything else is an error.
func (s *server) open(ctx context.Context) error {
	for {
		err := s.openOnce(ctx)
		if err == nil || !blob.IsTransient(err) {
			return err
		}
		s.phase.Store("the storage does not answer; trying again")
		s.logger.Warn("storage does not answer", "retry_in", reopenEvery, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reopenEvery):
		}
	}
}

func (s *server) openOnce(ctx context.Context) (err error) {
	n, err := openNode(ctx, s.store, s.logger)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	// What is there is of a process that was killed: uploads, and what its queries had
	// no memory for.
	if err := os.RemoveAll(tempDir(s.store.Data)); err != nil {
		return fmt.Errorf("remove temporary files: %w", err)
	}
	s.phase.Store("replaying the log")
	eng, err := engine.Open(ctx, n.engineOptions(s.logger))
	if err != nil {
		return fmt.Errorf("open engine: %w", err)
	}
	n.closers = append(n.closers, eng.Close)
	ring, err := openRing(s.store.Data)
	if err != nil {
		return err
	}
	db, err := s.openQuery(n, eng)
	if err != nil {
		return err
	}
	n.closers = append(n.closers, db.Close)
	judge := classify.New(classify.Options{})
	s.stack = stack{node: n, engine: eng, query: db, tokens: ring, judge: judge, public: ingest.NewPublic(ingest.PublicOptions{
		Engine: eng, Consent: n.registry, Preferences: n.registry, Tokens: ring, Classifier: judge, Files: n.attachments(), Logger: s.logger,
		TrustedProxies: s.listen.TrustedProxy, KeepNetwork: s.listen.KeepNetwork, MaxConns: s.listen.MaxConns,
	})}
	s.openReplies(&s.stack)
	removals, err := s.removals()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s.stack.keeper, err = retention.New(retention.Options{Lake: n.lake, Registry: n.registry, Logger: s.logger, Removals: removals, Incoming: db.Incoming, Worker: []string{self, "rewrite-worker"}})
	return err
}

// openRing reads the token keys from MAILWAKE_TOKEN_KEYS, which nodes behind one
// load balancer share, or from the data folder, where the first start makes one.
func openRing(dir string) (*token.Ring, error) {
	if text := os.Getenv("MAILWAKE_TOKEN_KEYS"); text != "" {
		ring, err := token.ParseRing(text)
		if err != nil {
			return nil, fmt.Errorf("read MAILWAKE_TOKEN_KEYS: %w", err)
		}
		return ring, nil
	}
	ring, err := token.OpenRing(filepath.Join(dir, "token.keys"), time.Now())
	if err != nil {
		return nil, fmt.Errorf("open token keys: %w", err)
	}
	return ring, nil
}

// close drains what is buffered into the tables and closes the stack.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := s.stack.engine.FlushAll(ctx); err != nil {
		s.logger.Warn("not everything was flushed; the log keeps it for the next start", "error", err)
	}
	return s.stack.node.Close()
}

// ready returns why the server is not ready, or "".
func (s *server) ready(context.Context) string { return s.phase.Load().(string) }
