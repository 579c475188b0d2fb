// Package problem holds the one error type that crosses a mailwake API: an RFC
// 9457 problem with a stable code. Packages return it for what a caller can act
// on; everything else stays an ordinary error and becomes a 500 whose inside is
// not shown.
package problem

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is a problem as told to a caller. Codes are snake_case and never change
// their meaning; details are for people and hold no personal data.
type Error struct {
	Status int    // HTTP status
	Code   string // stable, for programs
	Detail string // one sentence that says what to do
	Err    error  // cause, for logs only; may be nil

	// Members are extension members of the document, for programs; they go to the
	// caller only and may hold what the caller may see.
	Members map[string]any
}

// New returns a problem; format and args make the detail.
func New(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Because returns a copy of e that wraps cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Err = cause
	return &c
}

// Error returns code, detail and cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Code + ": " + e.Detail + ": " + e.Err.Error()
	}
	return e.Code + ": " + e.Detail
}

// retryAfter is what a caller who must come again is told, in seconds: longer than
// a hiccup of a disk, shorter than people's patience.
const retryAfter = "5"

// GetHeaders returns the headers that go with the problem, for huma.
func (e *Error) GetHeaders() http.Header {
	if e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests {
		return http.Header{"Retry-After": {retryAfter}}
	}
	return nil
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the problem in err's chain; an error without one is internal: 500,
// code "internal", with the cause kept for the log.
func Of(err error) *Error {
	if p, ok := errors.AsType[*Error](err); ok {
		return p
	}
	return &Error{Status: 500, Code: "internal", Detail: "Something failed inside; the server's log says what.", Err: err}
}
