package registry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

const (
	// ReplyMemory is how long a reply is known again. Mail queues give up after
	// five days; the rest is for mailboxes that are imported a second time.
	ReplyMemory = 90 * 24 * time.Hour
	// forgetAtOnce bounds what one claim deletes of those past ReplyMemory; more
	// than one suffices for the table to shrink.
	forgetAtOnce = 100

	replySecretBytes = 32
)

// ReplyID stands for a reply's Message-ID within one organisation.
type ReplyID struct {
	Org  event.OrgID
	hash [16]byte // HMAC-SHA256 under the organisation's secret, cut
}

// EventID is the id of the reply's event: the same whenever the same message
// comes in, and negative as those of all events that others report.
func (id ReplyID) EventID() int64 {
	return int64(binary.BigEndian.Uint64(id.hash[:8]) | 1<<63) //nolint:gosec // the sign bit is meant
}

// Stripe spreads ids evenly over n, for locks.
func (id ReplyID) Stripe(n int) int { return int(id.hash[15]) % n }

// ReplyState says what is known of a reply.
type ReplyState string

// The states of a reply.
const (
	ReplyNew     ReplyState = "new"     // never seen, or longer ago than ReplyMemory
	ReplyPending ReplyState = "pending" // its event may be in the log or not
	ReplySettled ReplyState = "settled" // its event is durable
)

// ReplyID returns the id of the message with this Message-ID, which is not kept.
// Problem: org_not_found.
func (r *Registry) ReplyID(ctx context.Context, org event.OrgID, messageID string) (ReplyID, error) {
	if _, ok := r.Snapshot().Org(org); !ok {
		return ReplyID{}, orgNotFound()
	}
	secret, err := r.replySecret(ctx, org)
	if err != nil {
		return ReplyID{}, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("mailwake message-id\x00" + messageID))
	id := ReplyID{Org: org}
	copy(id.hash[:], mac.Sum(nil))
	return id, nil
}

// SecretFor returns the organisation's secret for a use: the same on all nodes and
// as long as there is the organisation.
func (r *Registry) SecretFor(ctx context.Context, org event.OrgID, use string) ([]byte, error) {
	secret, err := r.replySecret(ctx, org)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("mailwake " + use))
	return mac.Sum(nil), nil
}

// replySecret reads the organisation's secret and makes it on first use.
func (r *Registry) replySecret(ctx context.Context, org event.OrgID) (secret []byte, err error) {
	const query = "SELECT secret FROM reply_secrets WHERE org_id = ?"
	err = r.reader.NewRaw(query, org).Scan(ctx, &secret)
	if !errors.Is(err, sql.ErrNoRows) {
		return secret, storeError("read reply secret", err)
	}
	fresh := make([]byte, replySecretBytes)
	rand.Read(fresh) // never fails: the runtime ends the process instead
	err = r.write(ctx, "make reply secret", func(tx bun.Tx) error {
		if _, err := tx.NewRaw("INSERT INTO reply_secrets (org_id, secret) VALUES (?, ?) ON CONFLICT DO NOTHING", org, fresh).Exec(ctx); err != nil {
			return err
		}
		return tx.NewRaw(query, org).Scan(ctx, &secret)
	})
	return secret, err
}

// ReplySeen says what is known of a reply, without changing it.
func (r *Registry) ReplySeen(ctx context.Context, id ReplyID) (ReplyState, error) {
	state, err := replyState(ctx, r.reader, id, r.oldestReply())
	return state, storeError("look up reply", err)
}

// ClaimReply notes that the reply's event is about to be recorded and returns
// what was known of it before: a new one is pending from now on, the others stay
// as they are. Two callers that claim the same id at the same time must not both
// go on; the caller sees to that. Replies past ReplyMemory are forgotten here.
func (r *Registry) ClaimReply(ctx context.Context, id ReplyID) (state ReplyState, err error) {
	err = r.write(ctx, "claim reply", func(tx bun.Tx) error {
		oldest := r.oldestReply()
		if _, err := tx.NewRaw(`DELETE FROM replies WHERE org_id = ? AND hash IN
			(SELECT hash FROM replies WHERE org_id = ? AND at < ? LIMIT ?)`, id.Org, id.Org, oldest, forgetAtOnce).Exec(ctx); err != nil {
			return fmt.Errorf("forget old replies: %w", err)
		}
		if state, err = replyState(ctx, tx, id, oldest); err != nil || state != ReplyNew {
			return err
		}
		_, err := tx.NewRaw(`INSERT INTO replies (org_id, hash, at, settled) VALUES (?, ?, ?, 0)
			ON CONFLICT DO UPDATE SET at = excluded.at, settled = 0`, id.Org, id.hash[:], r.now()).Exec(ctx)
		return err
	})
	return state, err
}

// SettleReply notes that the event of a claimed reply is durable.
func (r *Registry) SettleReply(ctx context.Context, id ReplyID) error {
	return r.write(ctx, "settle reply", func(tx bun.Tx) error {
		_, err := tx.NewRaw("UPDATE replies SET settled = 1 WHERE org_id = ? AND hash = ?", id.Org, id.hash[:]).Exec(ctx)
		return err
	})
}

// ReleaseReply forgets a claim whose event is known not to be in the log.
func (r *Registry) ReleaseReply(ctx context.Context, id ReplyID) error {
	return r.write(ctx, "release reply", func(tx bun.Tx) error {
		_, err := tx.NewRaw("DELETE FROM replies WHERE org_id = ? AND hash = ? AND settled = 0", id.Org, id.hash[:]).Exec(ctx)
		return err
	})
}

func (r *Registry) oldestReply() event.Micros { return event.At(r.clock().Add(-ReplyMemory)) }

func replyState(ctx context.Context, db bun.IDB, id ReplyID, oldest event.Micros) (ReplyState, error) {
	var settled bool
	err := db.NewRaw("SELECT settled FROM replies WHERE org_id = ? AND hash = ? AND at >= ?", id.Org, id.hash[:], oldest).Scan(ctx, &settled)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ReplyNew, nil
	case err != nil:
		return "", err
	case settled:
		return ReplySettled, nil
	}
	return ReplyPending, nil
}
