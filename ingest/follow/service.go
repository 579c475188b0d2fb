package follow

import (
	"context"
	"fmt"
	"io"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// MaxOutput bounds all copies of one request together, in bytes: they are one
// answer, held in memory.
const MaxOutput = 64 << 20

// Registrar gives an email and its recipients their ids, in one transaction, and
// knows the attachments and what may be recorded.
type Registrar interface {
	RegisterEmail(ctx context.Context, org event.OrgID, in registry.NewEmail) (registry.EmailDetail, error)
	Attachment(ctx context.Context, org event.OrgID, id registry.AttachmentID) (registry.Attachment, error)
	Decide(org event.OrgID, recipient event.RecipientID, kind event.Kind) registry.Verdict
}

// Files opens the blobs of attachments, as blob.Store does.
type Files interface {
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
}

// Appender makes events durable before it returns.
type Appender interface {
	Append(ctx context.Context, events []event.Interaction) error
}

// Service makes emails followed. Its fields must not change while it is used;
// it is safe for concurrent use.
type Service struct {
	Registry Registrar
	Engine   Appender
	Tokens   *token.Ring
	Files    Files            // may be nil if there are no attachments
	BaseURL  string           // address of the public plane as recipients see it
	Now      func() time.Time // nil is time.Now
}

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// Follow registers the email of req and returns a copy for each recipient. The
// sent events of those who are followed are durable when it returns; after an
// error nothing counts as sent, and asking again registers a new email.
//
// Problems: those of Parse, message.Parse and Registrar, follow_invalid,
// pixel_invalid, output_invalid, mime_invalid, text_too_large, invalid_utf8,
// recipients_missing, recipients_invalid, too_many_recipients, attachment_unknown,
// output_too_large. When recipients block it, follow "required" gives the problem
// follow_blocked, which tells the email's number and the blockers, and
// "if_allowed" the state blocked with plain messages. A refusal of the
// organisation (feature_disabled) is likewise a problem or the state blocked, and
// nothing is registered.
func (s *Service) Follow(ctx context.Context, org event.OrgID, req Request) (Response, error) {
	opts, err := s.check(&req)
	if err != nil {
		return Response{}, err
	}
	d, err := s.document(ctx, org, &req, opts)
	if err != nil {
		return Response{}, err
	}
	email, err := s.register(ctx, org, &req, d)
	if err != nil {
		if problem.Of(err).Code == ReasonDisabled && req.Follow != "required" {
			return s.unregistered(ctx, &req, d, opts.Base)
		}
		return Response{}, fmt.Errorf("follow: %w", err)
	}
	if email.Follow == registry.FollowBlocked && req.Follow == "required" {
		return Response{}, blocked(&email)
	}
	resp := Response{
		EmailID: int64(email.ID), FollowState: string(email.Follow), Reasons: append([]string{}, email.Reasons...),
		Blockers: blockers(&email), Untracked: d.untracked(), Messages: []Message{},
	}
	if email.Follow == registry.FollowOn {
		resp.Links = len(d.targets())
	}
	w := writer{service: s, doc: d, req: &req, base: opts.Base, files: email.Attachments}
	for _, r := range email.Recipients {
		m, err := w.message(ctx, token.Claims{Org: org, Email: email.ID, Recipient: r.ID}, Recipient{Address: r.Address, Name: r.Name}, r.Purposes)
		if err != nil {
			return Response{}, err
		}
		resp.Messages = append(resp.Messages, m)
	}
	if events := s.sent(&email); len(events) > 0 {
		if err := s.Engine.Append(ctx, events); err != nil {
			return Response{}, fmt.Errorf("follow: record as sent: %w", err)
		}
	}
	return resp, nil
}

func (s *Service) register(ctx context.Context, org event.OrgID, req *Request, d *document) (registry.EmailDetail, error) {
	in := registry.NewEmail{
		From: req.From, Subject: req.Subject, Template: req.Template, Links: d.targets(),
		Wish: req.Follow != "no" && d.why == "", SendPlain: req.Follow != "required", Retry: event.EmailID(req.Retry),
	}
	if req.Follow != "no" {
		in.WhyNot = d.why
	}
	for _, r := range req.To {
		in.Recipients = append(in.Recipients, registry.NewRecipient{Address: r.Address, Name: r.Name, Person: r.Person})
	}
	for _, f := range d.files {
		in.Attachments = append(in.Attachments, f.ID)
	}
	return s.Registry.RegisterEmail(ctx, org, in)
}

// unregistered hands the messages back as they came, without registering
// anything: the organisation must not follow.
func (s *Service) unregistered(ctx context.Context, req *Request, d *document, base Base) (Response, error) {
	resp := Response{FollowState: StateBlocked, Reasons: []string{ReasonDisabled}, Blockers: []Blocker{}, Messages: []Message{}, Untracked: []Untracked{}}
	if req.Follow == "no" {
		resp.FollowState, resp.Reasons = StateOff, []string{ReasonNotAsked}
	}
	w := writer{service: s, doc: d, req: req, base: base}
	for _, f := range d.files {
		w.files = append(w.files, registry.EmailAttachment{Attachment: f})
	}
	for _, r := range req.To {
		m, err := w.message(ctx, token.Claims{}, r, 0)
		if err != nil {
			return Response{}, err
		}
		resp.Messages = append(resp.Messages, m)
	}
	return resp, nil
}

// blocked is the problem of an email that its recipients block.
func blocked(email *registry.EmailDetail) error {
	p := problem.New(409, "follow_blocked",
		"Recipients do not allow this email to be followed. Ask them, take them out, or choose follow \"if_allowed\" or the policy follow_others; then retry email %d.", email.ID)
	p.Members = map[string]any{"email_id": int64(email.ID), "blockers": blockers(email)}
	return p
}

func blockers(email *registry.EmailDetail) []Blocker {
	all := []Blocker{}
	for _, a := range email.Blockers() {
		all = append(all, Blocker{RecipientID: int64(a.ID), Address: a.Address, Person: a.Person, Reasons: a.Reasons})
	}
	return all
}

// sent are the events of the copies that are followed, without those to recipients
// who were erased since they were registered.
func (s *Service) sent(email *registry.EmailDetail) (events []event.Interaction) {
	at := event.At(s.now())
	for _, r := range email.Recipients {
		if r.Purposes != 0 && s.Registry.Decide(email.Org, r.ID, event.Sent).Allow {
			events = append(events, event.Interaction{
				Org: email.Org, OccurredAt: at, ReceivedAt: at, Kind: event.Sent, Email: email.ID, Recipient: r.ID, Source: event.API,
			})
		}
	}
	return events
}
