package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/netutil"

	"mailwake/engine/registry"
	"mailwake/ingest/reply"
	"mailwake/ingest/token"
)

// Limits of the LMTP listener. Its clients are mail servers of one's own, which
// reuse a few connections.
const (
	lmtpConns      = 64
	lmtpRecipients = 100              // of one message
	lmtpLine       = 1 << 20          // bytes of a line, of a body too; a longer one costs the connection
	lmtpTime       = 5 * time.Minute  // for a command, an answer, or a whole message: RFC 5321 section 4.5.3.2.7
	lmtpDrain      = 10 * time.Second // for messages in flight at shutdown
)

// LMTPOptions configure an LMTP listener. Service, Orgs and Tokens are required.
type LMTPOptions struct {
	Service *reply.Service
	Orgs    func(name string) (registry.Org, error)
	Tokens  *token.Ring
	Logger  *slog.Logger
	// Addresses maps where replies go to organisations' names: whole addresses, or
	// domains. What is not in it is taken if it carries a token: local+TOKEN@host.
	Addresses map[string]string
	// MaxMessage bounds a message, in bytes; default reply.MaxMessage, which is also the most.
	MaxMessage int64
}

// LMTP takes replies from a mail server, RFC 2033. Each recipient address is
// answered by itself: 250 when the message is done with, whatever became of it;
// 451 when it could not be recorded, so that the mail server keeps it and tries
// again; 550 when the address is no organisation's. It is safe for concurrent use.
type LMTP struct {
	opts      LMTPOptions
	slots     chan struct{} // one for each message in flight
	deferring atomic.Bool   // the last message could not be recorded
	counts    struct{ accepted, deferred, refused atomic.Int64 }
}

// LMTPStats is a reading of the listener's counters since its start, in
// deliveries to one address.
type LMTPStats struct {
	Accepted int64 // answered 250
	Deferred int64 // answered 451
	Refused  int64 // answered 5xx
}

// NewLMTP returns an LMTP; Serve runs it.
func NewLMTP(opts LMTPOptions) *LMTP {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxMessage == 0 {
		opts.MaxMessage = reply.MaxMessage
	}
	lower := make(map[string]string, len(opts.Addresses))
	for address, org := range opts.Addresses {
		lower[strings.ToLower(address)] = org
	}
	opts.Addresses = lower
	return &LMTP{opts: opts, slots: make(chan struct{}, lmtpConns)}
}

// Stats returns the present reading.
func (l *LMTP) Stats() LMTPStats {
	c := &l.counts
	return LMTPStats{Accepted: c.accepted.Load(), Deferred: c.deferred.Load(), Refused: c.refused.Load()}
}

// Serve answers on ln until ctx ends, then lets messages in flight finish.
func (l *LMTP) Serve(ctx context.Context, ln net.Listener) error {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &lmtpSession{lmtp: l}, nil }))
	s.LMTP, s.Domain, s.EnableSMTPUTF8 = true, "mailwake", true
	s.MaxRecipients, s.MaxMessageBytes, s.MaxLineLength = lmtpRecipients, l.opts.MaxMessage, lmtpLine
	s.ReadTimeout, s.WriteTimeout = lmtpTime, lmtpTime
	s.ErrorLog = lmtpErrors{l.opts.Logger}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		l.drain()
		stopped <- s.Close() // not Shutdown, which waits for idle connections too
	})
	err := s.Serve(netutil.LimitListener(ln, lmtpConns))
	if stop() {
		return fmt.Errorf("lmtp: %w", err)
	}
	return <-stopped
}

// drain takes all slots, so that no message is in flight any more and none begins.
func (l *LMTP) drain() {
	limit := time.NewTimer(lmtpDrain)
	defer limit.Stop()
	for range cap(l.slots) {
		select {
		case l.slots <- struct{}{}:
		case <-limit.C:
			return
		}
	}
}

// lmtpErrors takes go-smtp's messages, which quote addresses of connections.
type lmtpErrors struct{ logger *slog.Logger }

// Printf logs what a panic left and nothing else: its last argument is the stack.
func (e lmtpErrors) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "panic") && len(args) > 0 {
		e.logger.Error("taking a message over LMTP panicked; it was deferred", "stack", fmt.Sprintf("%s", args[len(args)-1]))
	}
}

func (e lmtpErrors) Println(...any) {}
