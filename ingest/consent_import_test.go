package ingest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// TestRefusalWhileReading: what somebody refuses while a file is still being read is
// not undone by the file, whose lines are older.
func TestRefusalWhileReading(t *testing.T) {
	reg := newRegistry(t)
	mux := http.NewServeMux()
	registerTransfer(humago.New(mux, huma.DefaultConfig("test", "0")), reg)
	body, file := io.Pipe()
	request := httptest.NewRequest(http.MethodPost, "/v1/orgs/acme/consent/import", body)
	request.Header.Set("Content-Type", "text/csv")
	answer := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		mux.ServeHTTP(answer, request)
		close(done)
	}()
	if _, err := io.WriteString(file, "recipient_id,follow\n1,allowed\n2,allowed\n"); err != nil {
		t.Fatal(err) // none: it is being read
	}
	refusal := []registry.PreferenceChange{{Subject: registry.OfRecipient(2), Purposes: registry.AllPurposes, State: registry.Denied}}
	if err := reg.SetPreferences(t.Context(), 1, refusal, registry.Proof{Source: "page", Actor: registry.Actor{Kind: registry.ActorRecipient}}); err != nil {
		t.Fatal(err)
	}
	file.Close()
	<-done
	if answer.Code != 200 || !strings.Contains(answer.Body.String(), `"entries":4`) {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
	for id, want := range map[event.RecipientID]bool{1: true, 2: false} {
		if v := reg.Decide(1, id, event.Open); v.Allow != want {
			t.Errorf("recipient %d: %v", id, v)
		}
	}
	if reg.Places() {
		t.Error("the import is over and has its place still")
	}
}
