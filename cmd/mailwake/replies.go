package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"mailwake/ingest"
	"mailwake/ingest/reply"
)

// lmtpFlags say where mail servers deliver replies.
type lmtpFlags struct {
	LMTP         string            `help:"Take replies from a mail server over LMTP: HOST:PORT, :PORT on loopback, or unix:/path; off by default." name:"lmtp" placeholder:"ADDR"`
	ReplyAddress map[string]string `help:"Where replies go: an address or a domain, and its organisation; repeat it for more. Other addresses need the token of a Message-ID: local+TOKEN@host." placeholder:"ADDRESS=ORG"`
}

// listen opens the LMTP listener; nil when none is asked for.
func (f *lmtpFlags) listen() (net.Listener, error) {
	network, address := "tcp", f.LMTP
	switch path, isUnix := strings.CutPrefix(f.LMTP, "unix:"); {
	case f.LMTP == "":
		return nil, nil
	case isUnix:
		network, address = "unix", path
		if err := removeStale(path); err != nil {
			return nil, err
		}
	case strings.HasPrefix(address, ":"):
		address = "127.0.0.1" + address
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("listen for LMTP: %w", err)
	}
	return ln, nil
}

// removeStale removes the socket that a killed process left; nobody else answers
// on it while this process holds the lock of its data folder.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil // what is no socket makes listening fail, as it should
	}
	if err != nil {
		return fmt.Errorf("look at LMTP socket: %w", err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("another process listens on %s", path)
	}
	return os.Remove(path)
}

// serveReplies takes replies over LMTP until ctx ends. A nil ln is none.
func (s *server) serveReplies(ctx context.Context, ln net.Listener) error {
	if ln == nil {
		return nil
	}
	return s.stack.lmtp.Serve(ctx, ln)
}

// openReplies builds the service that records replies, and its LMTP door.
func (s *server) openReplies(st *stack) {
	st.replies = &reply.Service{Registry: st.node.registry, Engine: st.engine, Tokens: st.tokens, Logger: s.logger, Refused: ingest.ReplyRefused}
	st.lmtp = ingest.NewLMTP(ingest.LMTPOptions{
		Service: st.replies, Orgs: st.node.registry.OrgByName, Tokens: st.tokens, Logger: s.logger, Addresses: s.listen.ReplyAddress,
	})
}
