package reply

import (
	"context"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// maxLookups bounds the emails that are looked up for one message: a thread
// between two organisations names several, all but the first by accident.
const maxLookups = 8

// attribution says which copy of which email a message answers.
type attribution struct {
	email     event.EmailID
	recipient event.RecipientID // whose reply it is; 0: not attributed
	author    event.RecipientID // with the address it came from, where that is somebody else known; or 0
	match     Match
	reason    string
}

// attribute tries what is sealed first, and what can only be guessed last. A
// token of another organisation is as good as none.
func (s *Service) attribute(ctx context.Context, org event.OrgID, m *Message) (attribution, error) {
	lookups := 0
	var c token.Claims
	for _, candidate := range m.candidates() {
		if s.open(candidate, &c) != nil || c.Org != org {
			continue
		}
		if lookups++; lookups > maxLookups {
			break
		}
		who, err := s.Registry.Replier(ctx, org, c.Email, c.Recipient, m.from)
		if err != nil {
			return attribution{}, err
		}
		if who.Known {
			return whose(c, who, candidate.by), nil
		}
	}
	if o, ok := s.Registry.Snapshot().Org(org); !ok || !o.Policy.SmartReplies {
		return attribution{}, nil
	}
	return s.guess(ctx, org, m)
}

// candidates are the texts that may hold a token, in the order of trial.
func (m *Message) candidates() []parent {
	all := m.parents[:len(m.parents):len(m.parents)]
	for _, text := range m.tokens {
		all = append(all, parent{text, ByPlusAddress})
	}
	return all
}

func (s *Service) open(candidate parent, c *token.Claims) error {
	if candidate.by == ByPlusAddress {
		return s.Tokens.Open(token.KindReply, []byte(candidate.id), c)
	}
	return s.Tokens.OpenMessageID(candidate.id, c)
}

// whose decides whose reply an answer to the copy of c is.
func whose(c token.Claims, who registry.Replier, by Match) attribution {
	switch {
	case who.GotEmail:
		return attribution{email: c.Email, recipient: who.Recipient, match: by}
	case who.IsSender:
		return attribution{}
	}
	return attribution{email: c.Email, recipient: c.Recipient, author: who.Recipient, match: by, reason: ReasonOtherAddress}
}

// guess looks for the newest email to the author that has the subject which the
// message answers. The subject must bear a reply's mark and must not be empty.
func (s *Service) guess(ctx context.Context, org event.OrgID, m *Message) (attribution, error) {
	subject, marked := answered(m.subject)
	if !marked || subject == "" || m.from == "" {
		return attribution{}, nil
	}
	since := event.At(s.now().Add(-smartWindow))
	recipient, emails, err := s.Registry.RecentEmailsTo(ctx, org, m.from, since)
	if err != nil {
		return attribution{}, err
	}
	for _, e := range emails {
		if original(e.Subject) == subject {
			return attribution{email: e.ID, recipient: recipient, match: BySubject}, nil
		}
	}
	return attribution{}, nil
}
