package registry

import (
	"strings"
	"unicode/utf8"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// NewEmail is an email that is about to be sent.
type NewEmail struct {
	From       string // as in the header; one line
	Subject    string // may be empty
	Template   string // name of the template it was made from; may be empty
	Recipients []NewRecipient
	Links      []string // http or https, as found; the place in the slice gives the ordinal

	Attachments []AttachmentID // uploaded before; they cannot change once the email is registered as sent

	// Wish is followemailuserpreference: whether the sender wants it followed. WhyNot
	// says why not when it is false, as the name of a reason; "" is not_asked.
	Wish   bool
	WhyNot string
	// SendPlain says that the caller hands out plain copies when the email turns out
	// blocked, so that it counts as sent and cannot be retried.
	SendPlain bool
	// Retry is the id of a blocked, never sent email to be evaluated anew: this one
	// takes its place. 0 registers a new email.
	Retry event.EmailID
}

// NewRecipient is one person the email goes to. Surrounding white space of the
// address is ignored.
type NewRecipient struct {
	Address string
	Name    string // may be empty
	Person  string // the sender's own id of the person; may be empty
}

// prepare validates the email and returns its recipients' address keys, in order.
// Every fault is a problem that names the field and index, never the value. One
// message goes to each recipient, so an address that appears twice is refused:
// merging would leave a message that nobody asked to drop.
func (in *NewEmail) prepare() (keys []string, err error) {
	if fault := textFault(in.From, MaxSenderBytes, false); fault != "" {
		return nil, problem.New(422, "sender_invalid", "The field from %s.", fault)
	}
	if fault := textFault(in.Subject, MaxSubjectBytes, true); fault != "" {
		return nil, problem.New(422, "subject_invalid", "The subject %s.", fault)
	}
	if fault := textFault(in.Template, MaxTemplate, true); fault != "" {
		return nil, problem.New(422, "template_invalid", "The template's name %s.", fault)
	}
	if len(in.WhyNot) > maxReasonBytes || strings.Trim(in.WhyNot, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return nil, problem.New(422, "reason_invalid", "A reason is a name of at most %d letters from a to z and underscores.", maxReasonBytes)
	}
	if err := checkLinks(in.Links); err != nil {
		return nil, err
	}
	return recipientKeys(in.Recipients)
}

func recipientKeys(people []NewRecipient) ([]string, error) {
	if len(people) == 0 {
		return nil, problem.New(422, "recipients_missing", "The email has no recipient.")
	}
	if len(people) > MaxRecipients {
		return nil, problem.New(422, "too_many_recipients",
			"The email has %d recipients, the limit is %d; split it into several emails.", len(people), MaxRecipients)
	}
	keys := make([]string, len(people))
	seen := make(map[string]int, len(people))
	for i, p := range people {
		key, fault := addressKey(strings.TrimSpace(p.Address))
		if fault != "" {
			return nil, recipientInvalid(i, "address", fault)
		}
		if fault := textFault(p.Name, MaxNameBytes, true); fault != "" {
			return nil, recipientInvalid(i, "name", fault)
		}
		if fault := textFault(p.Person, MaxPersonBytes, true); fault != "" {
			return nil, recipientInvalid(i, "person", fault)
		}
		if first, twice := seen[key]; twice {
			return nil, problem.New(422, "recipient_duplicate",
				"Recipient %d has the same address as recipient %d (counted from 0).", i, first)
		}
		seen[key], keys[i] = i, key
	}
	return keys, nil
}

func recipientInvalid(i int, field, fault string) *problem.Error {
	return problem.New(422, "recipient_invalid", "Recipient %d (counted from 0): the %s %s.", i, field, fault)
}

// checkLinks refuses what a redirect must never lead to. A URL is otherwise kept
// byte for byte, also where it breaks the URL grammar: senders' links do.
func checkLinks(links []string) error {
	if len(links) > MaxLinks {
		return problem.New(422, "too_many_links", "The email has %d links, the limit is %d.", len(links), MaxLinks)
	}
	for i, l := range links {
		fault := ""
		switch {
		case len(l) > MaxURLBytes:
			fault = "is too long"
		case !utf8.ValidString(l):
			fault = "is not valid UTF-8"
		case strings.ContainsFunc(l, isControl):
			fault = "has control characters"
		case !hasWebScheme(l):
			fault = "does not begin with http:// or https://"
		}
		if fault != "" {
			return problem.New(422, "link_invalid", "Link %d (counted from 0) %s.", i, fault)
		}
	}
	return nil
}

// hasWebScheme asks for a host's first byte too, so that a bare scheme is refused.
func hasWebScheme(l string) bool {
	scheme, rest, ok := strings.Cut(l, "://")
	return ok && rest != "" && rest[0] != '/' && rest[0] != '\\' &&
		(strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}
