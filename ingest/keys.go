package ingest

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// Key is an API key as the API shows it: never the key itself.
type Key struct {
	ID        int64      `json:"id"`
	Name      string     `json:"name,omitempty"`
	Role      string     `json:"role" enum:"admin,sender,ingest,analyst,aggregate_analyst"`
	Org       string     `json:"org,omitempty" doc:"The organisation it is for; absent: all of them."`
	CreatedAt time.Time  `json:"created_at"`
	LastUsed  *time.Time `json:"last_used_at,omitempty" doc:"Last use, to a minute; absent: never used."`
	RevokedAt *time.Time `json:"revoked_at,omitempty" doc:"Absent: valid."`
}

// NewKey is the request to create a key.
type NewKey struct {
	Name    string `json:"name,omitempty" maxLength:"100" doc:"What it is for." example:"campaign mailer"`
	Role    string `json:"role" enum:"admin,sender,ingest,analyst,aggregate_analyst"`
	Org     string `json:"org,omitempty" maxLength:"63" doc:"The organisation it is for." example:"acme"`
	AllOrgs bool   `json:"all_orgs,omitempty" doc:"Instead of org: for all organisations, also those to come."`
}

// CreatedKey is the only answer that holds a key.
type CreatedKey struct {
	Key
	Secret string `json:"key" doc:"The key. It is kept nowhere: it cannot be shown again."`
}

type keyPath struct {
	Key int64 `path:"key" minimum:"1" doc:"Number of the key."`
}

// RegisterKeys adds the operations on API keys. They concern the whole server, so
// they are for administrators of all organisations.
func RegisterKeys(api huma.API, reg *registry.Registry) {
	tags := []string{"keys"}
	huma.Register(api, huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary:  "Create an API key; the answer is the only place that shows it",
		Metadata: map[string]any{"problems": append([]string{"org_not_found", "key_name_invalid", "key_role_invalid", "key_scope_invalid"}, changes...)},
	}, func(ctx context.Context, in *body[NewKey]) (*body[CreatedKey], error) {
		want := registry.NewKey{Name: in.Body.Name, Role: registry.Role(in.Body.Role), AllOrgs: in.Body.AllOrgs}
		if in.Body.Org != "" {
			org, err := reg.OrgByName(in.Body.Org)
			if err != nil {
				return nil, err
			}
			want.Org = org.ID
		}
		secret, key, err := reg.CreateKey(ctx, want)
		if err != nil {
			return nil, err
		}
		return &body[CreatedKey]{CreatedKey{keyOf(reg, key), secret}}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Tags: tags,
		Summary: "List all keys, revoked ones included",
	}, func(ctx context.Context, _ *struct{}) (*body[[]Key], error) {
		keys, err := reg.Keys(ctx)
		out := make([]Key, len(keys))
		for i, k := range keys {
			out[i] = keyOf(reg, k)
		}
		return &body[[]Key]{out}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: "/v1/keys/{key}", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary:     "Revoke a key for good",
		Description: "The next request with it is refused. Revoking it again changes nothing.",
		Metadata:    map[string]any{"problems": append([]string{"key_not_found", "key_last_admin"}, changes...)},
	}, func(ctx context.Context, in *keyPath) (*struct{}, error) {
		return nil, reg.RevokeKey(ctx, in.Key)
	})
}

// changes are the problems of every operation that writes to the registry.
var changes = []string{"registry_busy", "registry_unavailable"}

func keyOf(reg *registry.Registry, k registry.Key) Key {
	org, _ := reg.Snapshot().Org(k.Org)
	return Key{
		ID: k.KeyID, Name: k.Name, Role: string(k.Role), Org: org.Name,
		CreatedAt: k.CreatedAt.Time(), LastUsed: timeOf(k.LastUsedAt), RevokedAt: timeOf(k.RevokedAt),
	}
}

// timeOf is nil for never.
func timeOf(at event.Micros) *time.Time {
	if at == 0 {
		return nil
	}
	t := at.Time()
	return &t
}
