package follow

import (
	"context"
	"fmt"
	"strings"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// MaxOutput bounds all copies of one request together, in bytes: they are one
// answer, held in memory.
const MaxOutput = 64 << 20

// Registrar gives an email and its recipients their ids, in one transaction.
type Registrar interface {
	RegisterEmail(ctx context.Context, org event.OrgID, in registry.NewEmail) (registry.EmailDetail, error)
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
	BaseURL  string           // address of the public plane as recipients see it
	Now      func() time.Time // nil is time.Now
}

// Request asks to make one email followed.
type Request struct {
	From            string      `json:"from" doc:"Sender, as in the header."`
	To              []Recipient `json:"to" minItems:"1" doc:"Recipients; each gets a copy."`
	Subject         string      `json:"subject,omitempty"`
	HTML            string      `json:"html,omitempty" doc:"The message. Without it there is nothing to follow."`
	Text            string      `json:"text,omitempty" doc:"The plain alternative. It goes out as it is."`
	Template        string      `json:"template,omitempty" doc:"Name of the template the email was made from."`
	Follow          string      `json:"follow,omitempty" enum:"required,if_allowed,no" default:"required" doc:"required: follow or fail. if_allowed: hand back the message as it is when it must not be followed. no: do not follow."`
	ListUnsubscribe []string    `json:"list_unsubscribe,omitempty" maxItems:"16" doc:"List-Unsubscribe header, whole or its targets: links to them are never wrapped."`
	Pixel           string      `json:"pixel,omitempty" enum:"top,bottom" doc:"Place of the pixel. By itself it is at the bottom, or at the top of long messages, which providers clip."`
}

// Recipient is one person the email goes to.
type Recipient struct {
	Address string `json:"address"`
	Name    string `json:"name,omitempty"`
	Person  string `json:"person,omitempty" doc:"The sender's own id of the person."`
}

// The follow states of a response.
const (
	StateOn      = "on"      // copies are instrumented
	StateOff     = "off"     // nobody asked for it, or there is nothing to follow
	StateBlocked = "blocked" // asked for, not allowed; the messages are as they came
)

// The reasons for a state other than on. The names of registry.Reasons occur too.
const (
	ReasonNotAsked = "not_asked"
	ReasonNoHTML   = "no_html"
)

// Response says what became of a Request. Messages are in its order.
type Response struct {
	EmailID     int64       `json:"email_id" doc:"Number of the email; 0 when it is not followed."`
	FollowState string      `json:"follow_state" enum:"on,off,blocked"`
	Reasons     []string    `json:"reasons" doc:"Why the state is not on."`
	Messages    []Message   `json:"messages" doc:"What to send, in the order of the recipients asked for."`
	Links       int         `json:"links" doc:"Number of followed links."`
	Untracked   []Untracked `json:"untracked" doc:"Links that stay as they are; at most 1000 are listed."`
}

// Message is one recipient's copy.
type Message struct {
	RecipientID int64  `json:"recipient_id" doc:"Number of the recipient; 0 when the email is not followed."`
	Address     string `json:"address"`
	HTML        string `json:"html"`
}

// Follow registers the email of req and returns a copy for each recipient. The
// sent events are durable when it returns; after an error nothing counts as
// sent, and asking again registers a new email.
//
// Problems: those of Parse and of Registrar, follow_invalid, pixel_invalid,
// text_too_large, invalid_utf8, recipients_missing, too_many_recipients,
// output_too_large. A refusal of the organisation is a problem when follow is
// "required", and the state blocked when it is "if_allowed".
func (s *Service) Follow(ctx context.Context, org event.OrgID, req Request) (Response, error) {
	opts, err := s.check(&req)
	if err != nil {
		return Response{}, err
	}
	if req.Follow == "no" {
		return plain(&req, StateOff, ReasonNotAsked)
	}
	if req.HTML == "" {
		return plain(&req, StateOff, ReasonNoHTML)
	}
	t, err := Parse(req.HTML, opts)
	if err != nil {
		return Response{}, err
	}
	if err := fits(t.SizeBound(opts.Base), len(req.To)); err != nil {
		return Response{}, err
	}
	email, err := s.register(ctx, org, &req, t)
	if err != nil {
		if why := refusal(err); why != "" && req.Follow == "if_allowed" {
			return plain(&req, StateBlocked, why)
		}
		return Response{}, fmt.Errorf("follow: %w", err)
	}
	if email.Follow != registry.FollowOn {
		if req.Follow == "if_allowed" {
			return plain(&req, StateBlocked, strings.Join(email.Reasons, ","))
		}
		return Response{}, problem.New(409, "follow_blocked", "Recipients do not allow this email to be followed.")
	}
	resp, err := s.render(ctx, t, opts.Base, &email)
	if err != nil {
		return Response{}, err
	}
	if err := s.Engine.Append(ctx, s.sent(&email)); err != nil {
		return Response{}, fmt.Errorf("follow: record as sent: %w", err)
	}
	return resp, nil
}

func (s *Service) register(ctx context.Context, org event.OrgID, req *Request, t *Template) (registry.EmailDetail, error) {
	in := registry.NewEmail{From: req.From, Subject: req.Subject, Template: req.Template, Links: t.Targets(), Wish: true}
	for _, r := range req.To {
		in.Recipients = append(in.Recipients, registry.NewRecipient{Address: r.Address, Name: r.Name, Person: r.Person})
	}
	return s.Registry.RegisterEmail(ctx, org, in)
}

// refusal returns the reason when err says that the organisation must not follow.
func refusal(err error) string {
	if code := problem.Of(err).Code; code == "feature_disabled" {
		return code
	}
	return ""
}

func (s *Service) render(ctx context.Context, t *Template, base Base, email *registry.EmailDetail) (Response, error) {
	resp := Response{
		EmailID: int64(email.ID), FollowState: StateOn, Reasons: []string{},
		Messages: make([]Message, 0, len(email.Recipients)), Links: len(t.Targets()), Untracked: append([]Untracked{}, t.Untracked()...),
	}
	var buf []byte
	for _, r := range email.Recipients {
		if err := ctx.Err(); err != nil {
			return Response{}, fmt.Errorf("follow: %w", err)
		}
		claims := token.Claims{Org: email.Org, Email: email.ID, Recipient: r.ID}
		buf = t.Render(buf[:0], func(dst []byte, ordinal int32, target string) []byte {
			link := claims
			link.Component, link.Target = ordinal, target
			return base.appendLink(dst, s.Tokens, link)
		}, base.pixel(s.Tokens, claims))
		resp.Messages = append(resp.Messages, Message{RecipientID: int64(r.ID), Address: r.Address, HTML: string(buf)})
	}
	return resp, nil
}

func (s *Service) sent(email *registry.EmailDetail) []event.Interaction {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	at := event.At(now())
	events := make([]event.Interaction, 0, len(email.Recipients))
	for _, r := range email.Recipients {
		events = append(events, event.Interaction{
			Org: email.Org, OccurredAt: at, ReceivedAt: at, Kind: event.Sent, Email: email.ID, Recipient: r.ID, Source: event.API,
		})
	}
	return events
}

// plain hands the message back as it came.
func plain(req *Request, state, reason string) (Response, error) {
	if err := fits(len(req.HTML), len(req.To)); err != nil {
		return Response{}, err
	}
	resp := Response{FollowState: state, Reasons: []string{reason}, Messages: make([]Message, 0, len(req.To)), Untracked: []Untracked{}}
	for _, r := range req.To {
		resp.Messages = append(resp.Messages, Message{Address: r.Address, HTML: req.HTML})
	}
	return resp, nil
}
