package main

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"mailwake/engine/registry"
)

// newAPI returns the private plane's API with authentication on every operation.
func newAPI(mux *http.ServeMux, reg *registry.Registry, logger *slog.Logger) huma.API {
	huma.NewErrorWithContext = problems(logger)
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return huma.NewErrorWithContext(nil, status, msg, errs...)
	}
	config := huma.DefaultConfig("mailwake", buildVersion())
	config.DocsPath = "" // its page loads scripts from elsewhere
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer"}}
	config.Security = []map[string][]string{{"key": {}}}
	config.OnAddOperation = append(config.OnAddOperation, documentProblems, documentBodies, documentRoles)
	api := humago.New(newVerbMux(mux), config)
	api.UseMiddleware(authenticate(api, reg))
	return api
}

// authenticate asks for a key whose role the operation accepts and which is bound
// to the organisation in the path, or to all. An operation names the roles that
// may call it in Metadata["roles"]; one that names none is for administrators.
func authenticate(api huma.API, reg *registry.Registry) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		key, ok := strings.CutPrefix(c.Header("Authorization"), "Bearer ")
		if !ok {
			_ = huma.WriteErr(api, c, http.StatusUnauthorized, "Send an API key: Authorization: Bearer mw_…")
			return
		}
		who, err := reg.Authenticate(c.Context(), strings.TrimSpace(key))
		if err != nil {
			_ = huma.WriteErr(api, c, http.StatusUnauthorized, "The API key is not known, or it was revoked.")
			return
		}
		if !may(reg, who, c.Operation(), c.Param("org")) {
			_ = huma.WriteErr(api, c, http.StatusForbidden, "This key may not do that here.")
			return
		}
		next(huma.WithContext(c, registry.WithPrincipal(c.Context(), who)))
	}
}

// may asks for organisation 0, the whole server, where a path names none or one
// that does not exist: whoever is bound to one organisation learns nothing about
// other names.
func may(reg *registry.Registry, who registry.Principal, op *huma.Operation, orgName string) bool {
	org, _ := reg.Snapshot().OrgByName(orgName)
	return slices.ContainsFunc(rolesOf(op), func(role registry.Role) bool { return who.May(role, org.ID) })
}

func rolesOf(op *huma.Operation) []registry.Role {
	if roles, ok := op.Metadata["roles"].([]registry.Role); ok {
		return roles
	}
	return []registry.Role{registry.RoleAdmin}
}

// gate shows one handler until another takes its place: the private plane
// answers health questions while the log is still being replayed.
type gate struct{ handler atomic.Pointer[http.Handler] }

func (g *gate) set(h http.Handler) { g.handler.Store(&h) }

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*g.handler.Load()).ServeHTTP(w, r)
}

// health answers /healthz and /readyz; ready returns why not, or "".
func health(ready func(context.Context) string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if why := ready(r.Context()); why != "" {
			http.Error(w, "not ready: "+why, http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
	return mux
}
