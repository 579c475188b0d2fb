package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Key is an API key as kept: never the key itself.
type Key struct {
	Principal
	CreatedAt  event.Micros
	RevokedAt  event.Micros // 0: valid
	LastUsedAt event.Micros // to a minute; 0: never
}

// NewKey describes a key to create: for one organisation or for all, not both.
type NewKey struct {
	Name    string
	Role    Role
	Org     event.OrgID
	AllOrgs bool
}

const (
	keyPrefix = "mw_" // lets secret scanners recognise a leaked key
	keyBytes  = 32
	// keyLength is the prefix and keyBytes in unpadded base64.
	keyLength = len(keyPrefix) + (keyBytes*8+5)/6
	// lastUsedEvery bounds what a busy key costs the writer.
	lastUsedEvery = event.Micros(time.Minute / time.Microsecond)
	// lastUsedWait bounds how long one request in a minute waits for the writer.
	lastUsedWait = 250 * time.Millisecond
)

// keyHash is the SHA-256 of a key. A key is 256 random bits, so nobody can try
// candidates against a stolen hash and a slow, salted password hash would only
// slow every request.
type keyHash [sha256.Size]byte

// liveKey is a valid key in the snapshot. All snapshots share its clock.
type liveKey struct {
	Principal
	used atomic.Int64 // event.Micros of the last use that was noted
}

type keyRow struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`
	ID            int64        `bun:"id,pk"`
	Name          string       `bun:"name"`
	Role          Role         `bun:"role"`
	Org           event.OrgID  `bun:"org_id,nullzero"` // NULL: all
	Hash          string       `bun:"hash"`
	CreatedAt     event.Micros `bun:"created_at"`
	RevokedAt     event.Micros `bun:"revoked_at"`
	LastUsedAt    event.Micros `bun:"last_used_at"`
}

func (k *keyRow) principal() Principal {
	return Principal{KeyID: k.ID, Name: k.Name, Role: k.Role, Org: k.Org, AllOrgs: k.Org == 0}
}

func (d *draft) putKey(row *keyRow) error {
	var h keyHash
	hash, err := hex.DecodeString(row.Hash)
	if err != nil || len(hash) != len(h) {
		return problem.New(500, "registry_corrupt", "The hash of key %d is damaged.", row.ID)
	}
	copy(h[:], hash)
	live := &liveKey{Principal: row.principal()}
	live.used.Store(int64(row.LastUsedAt))
	d.ownKeys()[h] = live
	return nil
}

// CreateKey makes a key and returns it in plain text, which is kept nowhere.
// Problems: key_role_invalid, key_name_invalid, key_scope_invalid, org_not_found.
func (r *Registry) CreateKey(ctx context.Context, in NewKey) (plaintext string, key Key, err error) {
	if err := in.check(); err != nil {
		return "", Key{}, err
	}
	err = r.change(ctx, "create key", func(tx bun.Tx, next *draft) error {
		if _, ok := next.Org(in.Org); !ok && !in.AllOrgs {
			return orgNotFound()
		}
		plaintext, key, err = r.addKey(ctx, tx, next, in)
		return err
	})
	if err != nil {
		return "", Key{}, err
	}
	return plaintext, key, nil
}

func (in *NewKey) check() error {
	if !in.Role.known() {
		return problem.New(422, "key_role_invalid", "The role must be admin, sender, ingest, analyst or aggregate_analyst.")
	}
	if fault := textFault(in.Name, MaxKeyNameBytes, true); fault != "" {
		return problem.New(422, "key_name_invalid", "The key's name %s.", fault)
	}
	if in.AllOrgs == (in.Org != 0) {
		return problem.New(422, "key_scope_invalid", "A key is for one organisation or for all of them: say which.")
	}
	return nil
}

func (r *Registry) addKey(ctx context.Context, tx bun.Tx, next *draft, in NewKey) (string, Key, error) {
	id, err := nextID(ctx, tx, "key")
	if err != nil {
		return "", Key{}, err
	}
	secret := make([]byte, keyBytes)
	rand.Read(secret) // never fails: the runtime aborts the process instead
	plaintext := keyPrefix + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(plaintext))
	row := keyRow{ID: id, Name: in.Name, Role: in.Role, Org: in.Org, Hash: hex.EncodeToString(sum[:]), CreatedAt: r.now()}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return "", Key{}, fmt.Errorf("insert key: %w", err)
	}
	return plaintext, Key{Principal: row.principal(), CreatedAt: row.CreatedAt}, next.putKey(&row)
}

// BootstrapAdmin creates the first key, an admin of all organisations, if there has
// never been a key, and returns it in plain text; otherwise created is false. Of
// several callers at once, one creates it.
func (r *Registry) BootstrapAdmin(ctx context.Context) (plaintext string, created bool, err error) {
	err = r.change(ctx, "bootstrap admin key", func(tx bun.Tx, next *draft) error {
		if any, err := tx.NewSelect().Model((*keyRow)(nil)).Exists(ctx); err != nil || any {
			return err
		}
		created = true
		plaintext, _, err = r.addKey(ctx, tx, next, NewKey{Name: "bootstrap", Role: RoleAdmin, AllOrgs: true})
		return err
	})
	if err != nil {
		return "", false, err
	}
	return plaintext, created, nil
}

// Keys lists all keys by id, revoked ones included.
func (r *Registry) Keys(ctx context.Context) ([]Key, error) {
	var rows []keyRow
	if err := r.reader.NewSelect().Model(&rows).Order("id").Scan(ctx); err != nil {
		return nil, storeError("list keys", err)
	}
	var out []Key
	for i := range rows {
		k := &rows[i]
		out = append(out, Key{Principal: k.principal(), CreatedAt: k.CreatedAt, RevokedAt: k.RevokedAt, LastUsedAt: k.LastUsedAt})
	}
	return out, nil
}
