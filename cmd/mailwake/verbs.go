package main

import (
	"net/http"
	"strings"
)

// verbMux is http.ServeMux for patterns that end in {name}:verb too, which
// ServeMux refuses. It registers one handler for the bare pattern, which cuts the
// verb off the last segment; names in paths therefore hold no colon.
type verbMux struct {
	*http.ServeMux
	verbs map[string]map[string]http.HandlerFunc // by pattern without its verb
}

func newVerbMux(mux *http.ServeMux) *verbMux {
	return &verbMux{ServeMux: mux, verbs: map[string]map[string]http.HandlerFunc{}}
}

// HandleFunc registers a handler, as ServeMux does.
func (m *verbMux) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	bare, verb, ok := strings.Cut(pattern, "}:")
	if !ok {
		m.ServeMux.HandleFunc(pattern, handler)
		return
	}
	bare += "}"
	if m.verbs[bare] == nil {
		m.verbs[bare] = map[string]http.HandlerFunc{}
		m.ServeMux.HandleFunc(bare, m.dispatch(bare))
	}
	m.verbs[bare][verb] = handler
}

func (m *verbMux) dispatch(bare string) http.HandlerFunc {
	name := strings.TrimSuffix(bare[strings.LastIndexByte(bare, '{')+1:], "}")
	return func(w http.ResponseWriter, r *http.Request) {
		value, verb, _ := strings.Cut(r.PathValue(name), ":")
		handler, ok := m.verbs[bare][verb]
		if !ok {
			writeProblem(w, http.StatusNotFound, "not_found", "There is nothing at this address.")
			return
		}
		r.SetPathValue(name, value)
		handler(w, r)
	}
}
