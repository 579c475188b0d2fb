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

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// problemBody is the RFC 9457 document that every error becomes.
type problemBody struct {
	Type   string              `json:"type" doc:"Always about:blank; code tells the cases apart."`
	Title  string              `json:"title" doc:"Meaning of the HTTP status."`
	Status int                 `json:"status" doc:"HTTP status."`
	Code   string              `json:"code" doc:"Stable name of the problem, for programs."`
	Detail string              `json:"detail" doc:"What is wrong and what to do, for people."`
	Errors []*huma.ErrorDetail `json:"errors,omitempty" doc:"The fields at fault."`
}

// Error, GetStatus and ContentType make problemBody huma's error.
func (p *problemBody) Error() string             { return p.Detail }
func (p *problemBody) GetStatus() int            { return p.Status }
func (p *problemBody) ContentType(string) string { return "application/problem+json" }

// codes name the problems that huma itself reports.
var codes = map[int]string{
	http.StatusBadRequest: "bad_request", http.StatusUnauthorized: "unauthenticated", http.StatusForbidden: "forbidden",
	http.StatusNotFound: "not_found", http.StatusMethodNotAllowed: "method_not_allowed", http.StatusNotAcceptable: "not_acceptable",
	http.StatusRequestTimeout: "body_too_slow", http.StatusRequestEntityTooLarge: "body_too_large",
	http.StatusUnsupportedMediaType: "unsupported_media_type", http.StatusUnprocessableEntity: "invalid_request",
}

// problems maps every error of the private plane to a problem, in one place. The
// cause of an internal error goes to the log and not to the caller.
func problems(logger *slog.Logger) func(huma.Context, int, string, ...error) huma.StatusError {
	return func(c huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if status == http.StatusInternalServerError && len(errs) == 1 {
			p := problem.Of(errs[0])
			if p.Status >= 500 {
				operation := ""
				if c != nil && c.Operation() != nil {
					operation = c.Operation().OperationID
				}
				logger.Error("request failed", "operation", operation, "code", p.Code, "error", errs[0])
			}
			return &problemBody{Type: "about:blank", Title: http.StatusText(p.Status), Status: p.Status, Code: p.Code, Detail: p.Detail}
		}
		body := &problemBody{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: codes[status], Detail: msg}
		for _, err := range errs {
			if d, ok := err.(huma.ErrorDetailer); ok {
				detail := *d.ErrorDetail()
				detail.Value = nil // what was sent may hold addresses
				body.Errors = append(body.Errors, &detail)
			}
		}
		if body.Code == "" {
			body.Code = "internal"
		}
		return body
	}
}

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
	api := humago.New(mux, config)
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
	roles, ok := op.Metadata["roles"].([]registry.Role)
	if !ok {
		roles = []registry.Role{registry.RoleAdmin}
	}
	return slices.ContainsFunc(roles, func(role registry.Role) bool { return who.May(role, org.ID) })
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
