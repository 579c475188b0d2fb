package ingest

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-smtp"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/ingest/reply"
	"mailwake/ingest/token"
)

// The answers. Their texts are fixed: nothing of a message or its addresses is
// repeated in them.
var (
	errNoSuchAddress = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No replies are taken at this address"}
	errNoSuchOrg     = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 5}, Message: "This address is configured for an organisation that does not exist"}
	errDeferred      = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Could not be recorded; keep it and try again"}
	errShuttingDown  = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Shutting down; keep it and try again"}
	errBrokenOff     = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "The message broke off"}
	errTooLarge      = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "The message or its header is too large"}
	errNoMessage     = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "This is no message"}
)

// lmtpSession is one message after the other on one connection.
type lmtpSession struct {
	lmtp       *LMTP
	nullSender bool
	to         []lmtpRecipient
}

type lmtpRecipient struct {
	address string
	org     event.OrgID
}

// Reset forgets the message begun.
func (s *lmtpSession) Reset() { s.nullSender, s.to = false, nil }

// Logout ends the session.
func (s *lmtpSession) Logout() error { return nil }

// Mail begins a message.
func (s *lmtpSession) Mail(from string, _ *smtp.MailOptions) error {
	s.nullSender = from == ""
	return nil
}

// Rcpt adds an address, if it is an organisation's.
func (s *lmtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	org, err := s.lmtp.org(to)
	if err != nil {
		s.lmtp.counts.refused.Add(1)
		return err
	}
	s.to = append(s.to, lmtpRecipient{to, org})
	return nil
}

// org finds the organisation of an address: what is configured for the address
// without its +detail, then for its domain, and otherwise the organisation whose
// token the detail is. So a token never leads out of an organisation's own
// address.
func (l *LMTP) org(address string) (event.OrgID, error) {
	local, domain, ok := cutLast(address, "@")
	if !ok {
		return 0, errNoSuchAddress
	}
	base, detail, _ := strings.Cut(local, "+")
	for _, known := range []string{base + "@" + domain, domain} {
		if name, ok := l.opts.Addresses[strings.ToLower(known)]; ok {
			o, err := l.opts.Orgs(name)
			if err != nil {
				return 0, errNoSuchOrg
			}
			return o.ID, nil
		}
	}
	var c token.Claims
	if l.opts.Tokens.Open(token.KindReply, []byte(detail), &c) != nil {
		return 0, errNoSuchAddress
	}
	return c.Org, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Data is never called: the server speaks LMTP only.
func (s *lmtpSession) Data(io.Reader) error { return errDeferred }

// LMTPData reads one message and records it for each address.
func (s *lmtpSession) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	l := s.lmtp
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return l.count(errShuttingDown, len(s.to))
	}
	envelope := make([]string, len(s.to))
	for i, to := range s.to {
		envelope[i] = to.address
	}
	m, err := reply.Read(r, envelope, s.nullSender)
	if err != nil {
		return l.count(unreadable(err), len(s.to))
	}
	for _, to := range s.to {
		_, err := l.opts.Service.Deliver(context.Background(), to.org, m, event.LMTP)
		status.SetStatus(to.address, l.delivered(err))
	}
	return nil
}

// unreadable turns an error of reply.Read into an answer.
func unreadable(err error) *smtp.SMTPError {
	if errors.Is(err, smtp.ErrDataTooLarge) || errors.Is(err, smtp.ErrTooLongLine) {
		return errTooLarge
	}
	switch problem.Of(err).Code {
	case "message_too_large", "header_too_large":
		return errTooLarge
	case "message_invalid":
		return errNoMessage
	}
	return errBrokenOff
}

// count notes n answers and returns the answer.
func (l *LMTP) count(answer *smtp.SMTPError, n int) error {
	if answer.Temporary() {
		l.counts.deferred.Add(int64(n))
	} else {
		l.counts.refused.Add(int64(n))
	}
	return answer
}

// delivered returns the answer to one address. A run of failures is logged once.
func (l *LMTP) delivered(err error) error {
	if err != nil {
		if l.deferring.CompareAndSwap(false, true) {
			l.opts.Logger.Error("replies are deferred; the mail server keeps them", "error", err)
		}
		return l.count(errDeferred, 1)
	}
	l.counts.accepted.Add(1)
	if l.deferring.Load() && l.deferring.CompareAndSwap(true, false) {
		l.opts.Logger.Info("replies are recorded again")
	}
	return nil
}
