package reply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// Registry is what a Service asks and tells the registry.
type Registry interface {
	Decide(org event.OrgID, recipient event.RecipientID, kind event.Kind) registry.Verdict
	Snapshot() *registry.Snapshot
	Replier(ctx context.Context, org event.OrgID, email event.EmailID, recipient event.RecipientID, address string) (registry.Replier, error)
	RecentEmailsTo(ctx context.Context, org event.OrgID, address string, since event.Micros) (event.RecipientID, []registry.Email, error)
	ReplyID(ctx context.Context, org event.OrgID, messageID string) (registry.ReplyID, error)
	ClaimReply(ctx context.Context, id registry.ReplyID) (registry.ReplyState, error)
	SettleReply(ctx context.Context, id registry.ReplyID) error
	ReleaseReply(ctx context.Context, id registry.ReplyID) error
}

// Engine makes events durable and finds them again.
type Engine interface {
	Append(ctx context.Context, events []event.Interaction) error
	// Holds reports whether the event with this id, of this email, is durable.
	Holds(ctx context.Context, org event.OrgID, email event.EmailID, id int64) (bool, error)
}

// Service records replies. Its fields must not change while it is used; it is
// safe for concurrent use.
type Service struct {
	Registry Registry
	Engine   Engine
	Tokens   *token.Ring
	Logger   *slog.Logger
	Now      func() time.Time // nil is time.Now
	// Refused says that the engine did not take an event, so that it is certain
	// not to be in the log; after any other error it may be there.
	Refused func(error) bool

	claims [64]sync.Mutex // by hash: the same message is handled by one caller at a time
}

// Outcome says what became of a message.
type Outcome string

// The outcomes. All of them mean that the message needs not be sent again.
const (
	Recorded      Outcome = "recorded"       // a reply, durable
	Duplicate     Outcome = "duplicate"      // recorded before
	AutoReply     Outcome = "auto_reply"     // a machine's, recorded as such: no KPI counts it as a reply
	NotAttributed Outcome = "not_attributed" // answers nothing that this organisation follows
	NotAllowed    Outcome = "not_allowed"    // consent or the organisation's state forbids it
)

// Match says how a reply was attributed.
type Match string

// The ways to attribute a reply, in the order in which they are tried.
const (
	ByInReplyTo   Match = "in_reply_to"
	ByReferences  Match = "references"
	ByPlusAddress Match = "plus_address"
	BySubject     Match = "subject"
)

// Result is the answer to one message.
type Result struct {
	Outcome   Outcome
	Match     Match             // "" when not attributed
	Email     event.EmailID     // 0 unless recorded now
	Recipient event.RecipientID // whose reply it is; 0 unless recorded now
	Reason    string            // why a machine's, or whose address; may be empty
}

const (
	// smartWindow is how far back emails are looked at by subject and author.
	smartWindow = 30 * 24 * time.Hour
	// oldestDate is how long before its arrival a reply may be dated: mail queues
	// give up after five days. Other dates are an author's wrong clock.
	oldestDate = 7 * 24 * time.Hour
)

// Deliver attributes a message to an email of org and records it. Source is the
// door it came through. The message is done with when the error is nil; after an
// error it may be delivered again and is recorded once all the same.
//
// Problems: those of the registry and, as it comes, what the engine says.
func (s *Service) Deliver(ctx context.Context, org event.OrgID, m *Message, source event.Source) (Result, error) {
	a, err := s.attribute(ctx, org, m)
	if err != nil || a.recipient == 0 {
		return Result{Outcome: NotAttributed}, err
	}
	for _, who := range []event.RecipientID{a.recipient, a.author} {
		if who != 0 && !s.Registry.Decide(org, who, event.Reply).Allow {
			return Result{Outcome: NotAllowed}, nil
		}
	}
	id, err := s.Registry.ReplyID(ctx, org, m.id)
	if err != nil {
		return Result{}, err
	}
	turn := &s.claims[id.Stripe(len(s.claims))]
	turn.Lock()
	defer turn.Unlock()
	// From here on a caller who goes away would leave a claim without an event.
	return s.record(context.WithoutCancel(ctx), id, s.event(id, m, a, source), a)
}

func (s *Service) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// event is the interaction that a message becomes.
func (s *Service) event(id registry.ReplyID, m *Message, a attribution, source event.Source) event.Interaction {
	received := s.now()
	occurred := received
	if m.date.Before(received) && m.date.After(received.Add(-oldestDate)) {
		occurred = m.date
	}
	in := event.Interaction{
		Org: id.Org, ID: id.EventID(), OccurredAt: event.At(occurred), ReceivedAt: event.At(received), Kind: event.Reply,
		Email: a.email, Recipient: a.recipient, Actor: event.Human, Reason: a.reason, Source: source,
	}
	if m.automatic != "" {
		in.Actor, in.Reason = event.Bot, m.automatic
	}
	return in
}

// record claims the message, makes its event durable and settles the claim.
func (s *Service) record(ctx context.Context, id registry.ReplyID, in event.Interaction, a attribution) (Result, error) {
	state, err := s.Registry.ClaimReply(ctx, id)
	if err != nil {
		return Result{}, err
	}
	if state == registry.ReplyPending {
		// An attempt before this one ended between claim and settlement.
		held, err := s.Engine.Holds(ctx, id.Org, in.Email, in.ID)
		if err != nil {
			return Result{}, fmt.Errorf("look for a reply: %w", err)
		}
		if held {
			s.settle(ctx, id)
			return Result{Outcome: Duplicate, Match: a.match}, nil
		}
	}
	if state == registry.ReplySettled {
		return Result{Outcome: Duplicate, Match: a.match}, nil
	}
	if err := s.Engine.Append(ctx, []event.Interaction{in}); err != nil {
		if s.Refused != nil && s.Refused(err) {
			// If this fails too, the claim stays pending, which costs a look-up.
			err = errors.Join(err, s.Registry.ReleaseReply(ctx, id))
		}
		return Result{}, fmt.Errorf("record reply: %w", err)
	}
	s.settle(ctx, id)
	r := Result{Outcome: Recorded, Match: a.match, Email: in.Email, Recipient: in.Recipient, Reason: in.Reason}
	if in.Actor != event.Human {
		r.Outcome = AutoReply
	}
	return r, nil
}

// settle notes that the event is durable. Without the note the reply is recorded
// all the same, and a duplicate is found by its event.
func (s *Service) settle(ctx context.Context, id registry.ReplyID) {
	if err := s.Registry.SettleReply(ctx, id); err != nil && s.Logger != nil {
		s.Logger.Warn("a recorded reply could not be noted as such; duplicates of it are found more slowly", "code", problem.Of(err).Code)
	}
}
