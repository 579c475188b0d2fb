package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Authenticate returns who the key stands for. It asks the snapshot only, save
// that once a minute and key the time of use is written, for which it waits 250 ms
// at most; if that write fails the key is still good and the next minute tries
// again. Problem: key_invalid, the same for a malformed, an unknown and a revoked key.
//
// Keys are found by their SHA-256, so how long a look-up takes depends on the hash
// of the guess, which tells nothing about the bytes of any key.
func (r *Registry) Authenticate(ctx context.Context, plaintext string) (Principal, error) {
	live := r.current.Load().key(plaintext)
	if live == nil {
		return Principal{}, problem.New(401, "key_invalid", "The API key is missing, unknown or revoked.")
	}
	now := r.now()
	// A clock that jumped back must not silence the note until it has caught up.
	if last := live.used.Load(); now-event.Micros(last) >= lastUsedEvery || now < event.Micros(last) {
		if live.used.CompareAndSwap(last, int64(now)) {
			r.noteUse(ctx, live.KeyID, now)
		}
	}
	return live.Principal, nil
}

func (s *Snapshot) key(plaintext string) *liveKey {
	if len(plaintext) != keyLength || !strings.HasPrefix(plaintext, keyPrefix) {
		return nil
	}
	var buf [keyLength]byte // keeps the conversion off the heap
	copy(buf[:], plaintext)
	return s.keys[sha256.Sum256(buf[:])]
}

// noteUse writes the time of use. Its failure is not the caller's: a registry that
// cannot be written says so in every change.
func (r *Registry) noteUse(ctx context.Context, id int64, now event.Micros) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUsedWait)
	defer cancel()
	_ = r.write(ctx, "note key use", func(tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*keyRow)(nil)).Set("last_used_at = ?", now).Where("id = ?", id).Exec(ctx)
		return err
	})
}

// RevokeKey makes a key invalid for good; revoking it again changes nothing. When
// it returns, the key is refused. The last valid admin key for all organisations
// stays, since nothing else could make another. Problems: key_not_found, key_last_admin.
func (r *Registry) RevokeKey(ctx context.Context, id int64) error {
	return r.change(ctx, "revoke key", func(tx bun.Tx, next *draft) error {
		var row keyRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); errors.Is(err, sql.ErrNoRows) {
			return problem.New(404, "key_not_found", "There is no such key.")
		} else if err != nil {
			return fmt.Errorf("read key: %w", err)
		}
		if row.RevokedAt != 0 {
			return nil
		}
		admins := 0
		keys := next.ownKeys()
		for hash, live := range keys {
			if live.KeyID == id {
				delete(keys, hash)
			} else if live.May(RoleAdmin, 0) {
				admins++
			}
		}
		if admins == 0 && row.principal().May(RoleAdmin, 0) {
			return problem.New(409, "key_last_admin", "This is the last admin key for all organisations; create another one first.")
		}
		_, err := tx.NewUpdate().Model((*keyRow)(nil)).Set("revoked_at = ?", max(r.now(), 1)).Where("id = ?", id).Exec(ctx)
		return err
	})
}
