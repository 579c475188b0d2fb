package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/problem"
	"mailwake/ingest"
	"mailwake/ingest/bulk"
	"mailwake/ingest/follow"
)

// problemBody is the RFC 9457 document that every error becomes.
type problemBody struct {
	Type   string              `json:"type" doc:"Always about:blank; code tells the cases apart."`
	Title  string              `json:"title" doc:"Meaning of the HTTP status."`
	Status int                 `json:"status" doc:"HTTP status."`
	Code   string              `json:"code" doc:"Stable name of the problem, for programs."`
	Detail string              `json:"detail" doc:"What is wrong and what to do, for people."`
	Errors []*huma.ErrorDetail `json:"errors,omitempty" doc:"The fields at fault."`

	EmailID  int64            `json:"email_id,omitempty" doc:"With follow_blocked: number of the email, to look at it or to retry."`
	Blockers []follow.Blocker `json:"blockers,omitempty" doc:"With follow_blocked: the recipients who do not allow it."`

	Lines       int                `json:"lines,omitempty" doc:"With import_invalid: lines with a preference."`
	FaultyLines int                `json:"faulty_lines,omitempty" doc:"With import_invalid: how many of them are faulty."`
	Faults      []ingest.LineFault `json:"faults,omitempty" doc:"With import_invalid: the first 100 of them."`
	Rows        []bulk.RowError    `json:"rows,omitempty" doc:"With rows_invalid: the first rows that are wrong."`
}

// Error, GetStatus and ContentType make problemBody huma's error.
func (p *problemBody) Error() string             { return p.Detail }
func (p *problemBody) GetStatus() int            { return p.Status }
func (p *problemBody) ContentType(string) string { return problemType }

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
			body := &problemBody{Type: "about:blank", Title: http.StatusText(p.Status), Status: p.Status, Code: p.Code, Detail: p.Detail}
			body.EmailID, _ = p.Members["email_id"].(int64)
			body.Blockers, _ = p.Members["blockers"].([]follow.Blocker)
			body.Lines, _ = p.Members["lines"].(int)
			body.FaultyLines, _ = p.Members["faulty_lines"].(int)
			body.Faults, _ = p.Members["faults"].([]ingest.LineFault)
			body.Rows, _ = p.Members["rows"].([]bulk.RowError)
			return body
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

// answerProblems makes problems of what mux itself says about addresses below /v1/
// that no operation has, also while the server is still starting.
func answerProblems(mux *http.ServeMux, ready func(context.Context) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" || !strings.HasPrefix(r.URL.Path, "/v1/") {
			mux.ServeHTTP(w, r)
			return
		}
		if why := ready(r.Context()); why != "" {
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, "starting", "The server is not ready: "+why+".")
			return
		}
		said := silent{header: http.Header{}}
		handler.ServeHTTP(&said, r)
		if said.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", said.header.Get("Allow"))
			writeProblem(w, said.status, "method_not_allowed", "This address does not take "+r.Method+".")
			return
		}
		writeProblem(w, http.StatusNotFound, "not_found", "There is nothing at this address.")
	})
}

// silent keeps the head of an answer and drops its body.
type silent struct {
	header http.Header
	status int
}

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) Write(p []byte) (int, error) { return len(p), nil }
func (s *silent) WriteHeader(status int)      { s.status = status }

// writeProblem answers outside of the API, where there is no operation.
func writeProblem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(&problemBody{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail})
}

const problemType = "application/problem+json"

// documentProblems writes into an operation's responses every problem that it can
// answer: those named in Metadata["problems"], and those that its path, parameters
// and body bring along. The catalogue tells the status of each.
func documentProblems(doc *huma.OpenAPI, op *huma.Operation) {
	codes := append([]string{"unauthenticated", "forbidden", "internal"}, declaredProblems(op)...)
	if strings.Contains(op.Path, "{org}") {
		codes = append(codes, "org_not_found")
	}
	if len(op.Parameters) > 0 || op.RequestBody != nil {
		codes = append(codes, "invalid_request")
	}
	if op.RequestBody != nil {
		codes = append(codes, "bad_request", "body_too_slow", "body_too_large", "unsupported_media_type")
	}
	byStatus := map[int][]string{}
	for _, code := range codes {
		known, ok := catalogue[code]
		if !ok {
			panic("operation " + op.OperationID + " declares the problem " + code + ", which is not in the catalogue")
		}
		if !slices.Contains(byStatus[known.status], code) {
			byStatus[known.status] = append(byStatus[known.status], code)
		}
	}
	for status := range op.Responses {
		if status == "default" || status >= "4" {
			delete(op.Responses, status)
		}
	}
	body := doc.Components.Schemas.Schema(reflect.TypeFor[problemBody](), true, "")
	for status, codes := range byStatus {
		op.Responses[strconv.Itoa(status)] = problemResponse(status, codes, body)
	}
}

// documentBodies leaves out the media type that comes from a handler's wish to see
// the bytes of its JSON.
func documentBodies(_ *huma.OpenAPI, op *huma.Operation) {
	if op.RequestBody != nil && op.RequestBody.Content["application/json"] != nil {
		delete(op.RequestBody.Content, "application/octet-stream")
	}
}

// documentRoles says which roles may call an operation.
func documentRoles(_ *huma.OpenAPI, op *huma.Operation) {
	if op.Extensions == nil {
		op.Extensions = map[string]any{}
	}
	op.Extensions["x-roles"] = rolesOf(op)
}

func declaredProblems(op *huma.Operation) []string {
	codes, _ := op.Metadata["problems"].([]string)
	return codes
}

func problemResponse(status int, codes []string, body *huma.Schema) *huma.Response {
	slices.Sort(codes)
	var text strings.Builder
	enum := make([]any, len(codes))
	for i, code := range codes {
		enum[i] = code
		fmt.Fprintf(&text, "\n- `%s`: %s", code, catalogue[code].meaning)
	}
	schema := &huma.Schema{AllOf: []*huma.Schema{body, {Type: huma.TypeObject, Properties: map[string]*huma.Schema{"code": {Type: huma.TypeString, Enum: enum}}}}}
	return &huma.Response{
		Description: http.StatusText(status) + ":" + text.String(),
		Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
	}
}
