package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// OrgAction is a step in an organisation's life.
type OrgAction string

// The actions. ChangeOrg takes those from enable to resubscribe.
const (
	OrgProvision   OrgAction = "provision"   // CreateOrg
	OrgEnable      OrgAction = "enable"      // disabled → enabled
	OrgDisable     OrgAction = "disable"     // enabled → disabled
	OrgTerminate   OrgAction = "terminate"   // enabled, disabled → terminated
	OrgResubscribe OrgAction = "resubscribe" // terminated → enabled, before the purge
	OrgSetPolicy   OrgAction = "policy"      // SetPolicy
)

// transitions is the whole state machine: what is not in it is refused.
var transitions = map[OrgAction]map[OrgState]OrgState{
	OrgEnable:      {OrgDisabled: OrgEnabled},
	OrgDisable:     {OrgEnabled: OrgDisabled},
	OrgTerminate:   {OrgEnabled: OrgTerminated, OrgDisabled: OrgTerminated},
	OrgResubscribe: {OrgTerminated: OrgEnabled},
}

// purgeDays is how long the data of a terminated organisation is kept, in days
// from the day of its termination.
const purgeDays = 90

// purgeTime is 00:00 UTC of the day purgeDays after the day of at.
func purgeTime(at event.Micros) event.Micros {
	t := at.Time()
	return event.At(time.Date(t.Year(), t.Month(), t.Day()+purgeDays, 0, 0, 0, 0, time.UTC))
}

// OrgEvent is one row of an organisation's audit trail.
type OrgEvent struct {
	Seq    int64        `bun:"seq,pk"` // from 1, without gaps
	At     event.Micros `bun:"at"`
	Actor  Actor        `bun:"embed:actor_"`
	Action OrgAction    `bun:"action"`
	From   string       `bun:"before"` // state before; for policy, the policy before as JSON
	To     string       `bun:"after"`
}

type orgEventRow struct {
	bun.BaseModel `bun:"table:org_events,alias:oe"`
	Org           event.OrgID `bun:"org_id,pk"`
	OrgEvent
}

// ChangeOrg takes an organisation from one state to the next. When it returns,
// every later Decide and RegisterEmail obeys, and OrgHistory tells of it.
// Problems: org_not_found, actor_invalid, org_transition_invalid.
func (r *Registry) ChangeOrg(ctx context.Context, id event.OrgID, action OrgAction, by Actor) (Org, error) {
	return r.alterOrg(ctx, id, action, by, func(o *Org, now event.Micros) (from, to string, err error) {
		next, ok := transitions[action][o.State]
		switch {
		case !ok:
			return "", "", problem.New(409, "org_transition_invalid",
				"An organisation that is %s cannot do this (%q); see its state and the actions there are from it.", o.State, string(action))
		case action == OrgResubscribe && now >= o.PurgeAt:
			return "", "", problem.New(409, "org_transition_invalid",
				"The time to resubscribe ended on %s, when the organisation's data became due for deletion; create a new organisation.",
				o.PurgeAt.Time().Format(time.DateOnly))
		}
		from, to = string(o.State), string(next)
		o.State, o.TerminatedAt, o.PurgeAt = next, 0, 0
		if next == OrgTerminated {
			o.TerminatedAt, o.PurgeAt = now, purgeTime(now)
		}
		return from, to, nil
	})
}

// SetPolicy replaces an organisation's policy, also while it is disabled or
// terminated. Empty texts mean their defaults. When it returns, every later Decide
// and RegisterEmail obeys. Problems: org_not_found, actor_invalid, policy_invalid.
func (r *Registry) SetPolicy(ctx context.Context, id event.OrgID, p Policy, by Actor) (Org, error) {
	if err := p.check(); err != nil {
		return Org{}, err
	}
	return r.alterOrg(ctx, id, OrgSetPolicy, by, func(o *Org, _ event.Micros) (from, to string, err error) {
		before, err := json.Marshal(o.Policy)
		if err != nil {
			return "", "", err
		}
		after, err := json.Marshal(p)
		o.Policy = p
		return string(before), string(after), err
	})
}

// alterOrg changes an organisation by fn and notes it in the audit trail.
func (r *Registry) alterOrg(ctx context.Context, id event.OrgID, action OrgAction, by Actor, fn func(*Org, event.Micros) (from, to string, err error)) (Org, error) {
	if err := by.check(); err != nil {
		return Org{}, err
	}
	var row orgRow
	err := r.change(ctx, string(action)+" organisation", func(tx bun.Tx, next *draft) error {
		err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return orgNotFound()
		} else if err != nil {
			return fmt.Errorf("read organisation: %w", err)
		}
		if err := notPurged(ctx, tx, id); err != nil {
			return err
		}
		now, unknown := r.now(), row.Policy.Unknown
		from, to, err := fn(&row.Org, now)
		if err != nil {
			return err
		}
		if row.Policy.Unknown != unknown {
			row.ConsentVersion++
		}
		if _, err := tx.NewUpdate().Model(&row).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("update organisation: %w", err)
		}
		next.putOrg(row.Org)
		next.consentOf(id).version = row.ConsentVersion
		return noteOrg(ctx, tx, id, OrgEvent{At: now, Actor: by, Action: action, From: from, To: to})
	})
	if err != nil {
		return Org{}, err
	}
	return row.Org, nil
}

func noteOrg(ctx context.Context, tx bun.Tx, id event.OrgID, e OrgEvent) error {
	_, err := tx.NewRaw(`INSERT INTO org_events (org_id, seq, at, actor_kind, actor_key, action, before, after)
		SELECT ?, coalesce(max(seq), 0) + 1, ?, ?, ?, ?, ?, ? FROM org_events WHERE org_id = ?`,
		id, e.At, e.Actor.Kind, e.Actor.KeyID, e.Action, e.From, e.To, id).Exec(ctx)
	if err != nil {
		return fmt.Errorf("note in audit trail: %w", err)
	}
	return nil
}

// OrgHistory returns an organisation's audit trail, oldest first: its creation,
// every change of state and every change of policy. Problem: org_not_found.
func (r *Registry) OrgHistory(ctx context.Context, id event.OrgID) ([]OrgEvent, error) {
	if _, ok := r.Snapshot().Org(id); !ok {
		return nil, orgNotFound()
	}
	var rows []orgEventRow
	if err := r.reader.NewSelect().Model(&rows).Where("org_id = ?", id).Order("seq").Scan(ctx); err != nil {
		return nil, storeError("read audit trail", err)
	}
	out := make([]OrgEvent, len(rows))
	for i := range rows {
		out[i] = rows[i].OrgEvent
	}
	return out, nil
}
