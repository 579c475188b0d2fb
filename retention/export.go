package retention

import (
	"context"
	"errors"
	"io"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// PersonExport is everything held of one person, with explanations.
type PersonExport struct {
	At        time.Time         `json:"at"`
	Org       string            `json:"org"`
	Explained map[string]string `json:"explained" doc:"What each section and field means."`
	registry.Held
	Interactions []HeldInteraction `json:"interactions" doc:"What these addresses did with the emails, as far as it was collected."`
}

// HeldInteraction is one event of the person.
type HeldInteraction struct {
	ID         int64             `json:"event_id"`
	OccurredAt time.Time         `json:"occurred_at"`
	ReceivedAt time.Time         `json:"received_at"`
	Kind       string            `json:"kind"`
	Email      event.EmailID     `json:"email_id"`
	Recipient  event.RecipientID `json:"recipient_id"`
	Component  int32             `json:"component,omitempty"`
	Actor      string            `json:"actor"`
	Reason     string            `json:"reason,omitempty"`
	Device     string            `json:"device,omitempty"`
	Client     string            `json:"client,omitempty"`
	OS         string            `json:"os,omitempty"`
	Source     string            `json:"source"`
	UserAgent  string            `json:"user_agent,omitempty"`
	Network    string            `json:"network,omitempty"`
}

// explained says in plain words what an export's fields mean.
func explained() map[string]string {
	return map[string]string{
		"person":                   "What the organisation's own system calls you: kind of record, its id there, your name, the company.",
		"person.allowed":           "What you, or somebody for you, allowed to be collected: open, click, attachment, reply.",
		"person.denied":            "What you refused. Refused wins over allowed.",
		"addresses":                "Your email addresses. recipient_id is the number that stands for an address everywhere else.",
		"addresses.allowed":        "What may be collected of the address, from all answers that concern it.",
		"consent":                  "Each answer about being followed: when, for which purposes, where it was given, and the text that was shown.",
		"emails":                   "Emails sent to you. follow_state on means that reactions were collected, but only those in collected.",
		"links":                    "Links in these emails, by place (ordinal).",
		"attachments":              "Files that came with these emails, by place (ordinal).",
		"reads":                    "When somebody looked at data about you by name, with which key, and at what.",
		"interactions":             "What was collected: one entry for each time an email was opened, a link clicked, a file viewed, an email answered, or the mail systems reported about it.",
		"interactions.occurred_at": "When it happened; received_at is when it was learnt of. All times are UTC.",
		"interactions.component":   "Which link or attachment: its ordinal; absent for others.",
		"interactions.actor":       "Who is taken to have caused it: human, proxy, prefetch, scanner or bot; reason says why.",
		"interactions.device":      "What kind of device, program (client) and operating system (os) the request looked like.",
		"interactions.user_agent":  "How the program described itself; removed after 30 days.",
		"interactions.network":     "The network it came from, never the full address; only if the organisation asked for it.",
	}
}

// Export returns everything held of a person. It reads the files that have rows of
// theirs. Noting that somebody looked is the caller's. Problems: those
// of registry.Held.
func (k *Keeper) Export(ctx context.Context, org event.OrgID, who registry.Whose) (*PersonExport, registry.Read, error) {
	o, err := k.org(org)
	if err != nil {
		return nil, registry.Read{}, err
	}
	held, person, recipients, err := k.opts.Removals.Registry.Held(ctx, org, who)
	if err != nil {
		return nil, registry.Read{}, err
	}
	out := &PersonExport{At: k.opts.Now().UTC(), Org: o.Name, Explained: explained(), Held: *held, Interactions: []HeldInteraction{}}
	note := registry.Read{Org: org, What: "export", Person: person}
	if person == 0 {
		note.Recipient = recipients[0]
	}
	if err := k.opts.Removals.Flush(ctx, org); err != nil {
		return nil, note, err
	}
	table, err := k.opts.Lake.Table(ctx, o.Name)
	if err != nil {
		return nil, note, err
	}
	snapshot := table.Snapshot()
	defer k.opts.Lake.Pin(snapshot)()
	c := (&Policy{Erased: recipients}).cull(k.opts.Now())
	for _, f := range snapshot.Files() {
		holds, _, err := k.holds(ctx, org, f, c, recipients)
		if err == nil && holds {
			err = out.read(ctx, k.opts.Lake, f, c)
		}
		if err != nil {
			return nil, note, err
		}
	}
	return out, note, nil
}

// read adds the rows of f that c marks.
func (p *PersonExport) read(ctx context.Context, l *lake.Lake, f lake.File, c *cull) (err error) {
	texts := lake.NewTexts()
	r, err := l.Reader(ctx, f, texts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var rows lake.Rows
	for {
		switch err := r.Next(&rows); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		for i, id := range rows.Longs[lake.RecipientID] {
			if c.has(id) {
				p.Interactions = append(p.Interactions, interactionOf(&rows, i, texts))
			}
		}
	}
}

func interactionOf(rows *lake.Rows, i int, texts *lake.Texts) HeldInteraction {
	text := func(column int) string { return texts.Value(rows.Texts[column][i]) }
	return HeldInteraction{
		ID: rows.Longs[lake.EventID][i], OccurredAt: rows.Occurred(i).Time(), ReceivedAt: rows.Received(i).Time(),
		Kind: text(lake.Kind), Email: event.EmailID(rows.Longs[lake.EmailID][i]), Recipient: event.RecipientID(rows.Longs[lake.RecipientID][i]),
		Component: rows.Component[i], Actor: text(lake.Actor), Reason: text(lake.Reason), Device: text(lake.Device), Client: text(lake.Client),
		OS: text(lake.OS), Source: text(lake.Source), UserAgent: text(lake.UserAgent), Network: text(lake.Network),
	}
}
