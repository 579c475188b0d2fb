package reply

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/jhillyerd/enmime/v2"

	"mailwake/engine/problem"
)

// Limits of one message. Parts and their nesting have none: nothing below the
// message's own header is looked at, so a bomb in there stays unlit.
const (
	// MaxMessage is what may come in, in bytes; it is counted and dropped. Mail
	// servers allow 10 to 50 MB.
	MaxMessage = 64 << 20
	// MaxHeader bounds the message's header, in bytes, which is held in memory.
	// Long threads and mail filters reach 60 kB.
	MaxHeader = 256 << 10

	maxParents   = 100     // Message-IDs of In-Reply-To and References that are tried
	maxAddresses = 100     // plus-addresses that are tried
	maxField     = 4 << 10 // bytes of a field that is decoded: From, Subject
	maxMessageID = 998     // bytes of a Message-ID that are told apart: a line of RFC 5322
)

// Message is what is taken from a reply: parts of its header, for as long as it
// is being attributed. None of it is kept.
type Message struct {
	id        string    // what tells it from other messages
	from      string    // address of its author; "" when it has none
	subject   string    // decoded
	date      time.Time // as its author says; zero when missing
	parents   []parent  // Message-IDs it answers, most telling first
	tokens    []string  // of plus-addresses it went to
	automatic string    // Reason why a machine wrote it; "" when none is known
}

// parent is a Message-ID that the message answers.
type parent struct {
	id string
	by Match
}

// Read reads a raw message to its end and keeps what Deliver needs. Envelope are
// the addresses it is delivered to, where they are known, and nullSender says
// that its envelope has no sender, as that of bounces.
//
// Problems: message_too_large, header_too_large, message_invalid. Errors of r
// come back as they are.
func Read(r io.Reader, envelope []string, nullSender bool) (*Message, error) {
	// One byte more than allowed is asked for, to know that there is more.
	limited := &io.LimitedReader{R: r, N: MaxMessage + 1}
	in := bufio.NewReader(limited)
	header, err := readHeader(in)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, err
	}
	if limited.N == 0 {
		return nil, problem.New(413, "message_too_large", "The message is larger than %d MiB.", MaxMessage>>20)
	}
	h, err := enmime.ReadHeader(bufio.NewReader(bytes.NewReader(header)), ignored{})
	if err != nil || len(h) == 0 {
		return nil, problem.New(422, "message_invalid", "This is no message: it has no header. Send it raw, as RFC 5322 has it.")
	}
	m := &Message{from: author(h.Get("From")), subject: subject(h.Get("Subject")), automatic: automatic(h, nullSender)}
	m.parents = parents(h)
	m.tokens = plusTokens(slices.Concat(envelope, h["To"], h["Cc"], h["Delivered-To"], h["X-Original-To"]))
	m.id = identity(h, m)
	if date, err := mail.ParseDate(cut(h.Get("Date"))); err == nil {
		m.date = date
	}
	return m, nil
}

// ignored takes enmime's remarks about malformed lines, which quote them.
type ignored struct{}

func (ignored) AddError(string, string, ...any)   {}
func (ignored) AddWarning(string, string, ...any) {}

// readHeader reads up to and with the first empty line.
func readHeader(in *bufio.Reader) ([]byte, error) {
	var header []byte
	for {
		line, err := in.ReadSlice('\n')
		if len(header)+len(line) > MaxHeader {
			return nil, problem.New(413, "header_too_large", "The message's header is larger than %d kB.", MaxHeader>>10)
		}
		begins := len(header) == 0 || header[len(header)-1] == '\n'
		header = append(header, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return header, nil
		case err != nil:
			return nil, err
		case begins && len(bytes.TrimRight(line, "\r\n")) == 0:
			return header, nil
		case len(header) == len(line) && bytes.HasPrefix(line, []byte("From ")):
			header = header[:0] // an mbox's line before the message
		}
	}
}

// cut shortens a field before anything is parsed in it.
func cut(field string) string { return field[:min(len(field), maxField)] }

// author returns the first address of a From field.
func author(field string) string {
	list, err := enmime.ParseAddressList(cut(field))
	if err != nil || len(list) == 0 {
		return ""
	}
	return strings.TrimSpace(list[0].Address)
}

// parents lists what the message answers: In-Reply-To first, then References
// from the newest, each Message-ID once.
func parents(h textproto.MIMEHeader) []parent {
	var all []parent
	seen := map[string]bool{}
	add := func(fields []string, by Match) {
		for _, field := range slices.Backward(fields) {
			for _, id := range slices.Backward(messageIDs(field)) {
				if len(all) < maxParents && !seen[id] {
					seen[id] = true
					all = append(all, parent{id, by})
				}
			}
		}
	}
	add(h["In-Reply-To"], ByInReplyTo)
	add(h["References"], ByReferences)
	return all
}

// messageIDs returns the ids between angle brackets, or between spaces when
// there are none. Folding may have put spaces into an id; they are taken out.
func messageIDs(field string) []string {
	if !strings.Contains(field, "<") {
		return strings.Fields(field)
	}
	var ids []string
	for {
		_, rest, open := strings.Cut(field, "<")
		id, after, closed := strings.Cut(rest, ">")
		if !open || !closed {
			return ids
		}
		ids = append(ids, strings.Join(strings.Fields(id), ""))
		field = after
	}
}

// plusTokens finds TOKEN in every local+TOKEN@host of the fields.
func plusTokens(fields []string) []string {
	var found []string
	for _, field := range fields {
		for {
			_, rest, ok := strings.Cut(field, "+")
			if !ok || len(found) == maxAddresses {
				break
			}
			field = rest
			end := strings.IndexFunc(rest, notTokenByte)
			if end >= minToken && rest[end] == '@' && !slices.Contains(found, rest[:end]) {
				found = append(found, rest[:end])
			}
		}
	}
	return found
}

// minToken is less than the shortest token takes, so that few addresses need to
// be opened to know that they hold none.
const minToken = 40

func notTokenByte(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}

// identity is the Message-ID, or what stands for it in a message without one:
// two such messages are the same when author, time, subject and parents are.
func identity(h textproto.MIMEHeader, m *Message) string {
	if ids := messageIDs(h.Get("Message-Id")); len(ids) > 0 && len(ids[0]) <= maxMessageID {
		return ids[0]
	}
	return fmt.Sprintf("\x00%q %q %q %q", h.Get("Message-Id"), m.from, h.Get("Date"), m.subject) + fmt.Sprint(m.parents)
}
