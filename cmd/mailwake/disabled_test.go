package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/registry"
)

// everOpen are the operations on an organisation that work in whatever state it is,
// and why. All others must refuse one that is not enabled.
var everOpen = map[string]string{
	"get-org": "shows the state", "audit-org": "who did and read what", "patch-org": "administration", "flush-org": "administration, shows nothing",
	"enable-org": "a change of state", "disable-org": "a change of state", "terminate-org": "a change of state", "resubscribe-org": "a change of state",

	"get-preferences": "consent is asked and withdrawn at any time", "look-up-preferences": "as get-preferences", "set-preferences": "as get-preferences",
	"import-consent": "as get-preferences", "export-consent": "as get-preferences", "get-ledger": "the proof", "verify-ledger": "the proof",
	"put-person": "accounts, whose refusals are inherited, move; shows what the caller said",

	"erase": "a right of the person", "erase-person": "a right of the person", "export-person": "a right of the person", "export-anyone": "a right of the person",
	"list-erasures": "the proof", "get-erasure": "the proof", "verify-erasure": "the proof",
	"get-retention": "shows no row", "plan-retention": "shows no row", "run-retention": "shows no row", "pause-retention": "shows no row", "resume-retention": "shows no row",

	"list-kpis": "the catalogue, the same for everybody", "get-sql-schema": "the catalogue, the same for everybody",
	"remove-attachment": "what was never sent may go", "follow-attachment": "until sent, which it cannot be now; shows what the caller has uploaded",
	"deliver-reply": "mail servers must not send it again: answers not_allowed",
}

// openWhenTerminated works for the owner until the purge.
var openWhenTerminated = []string{"export"}

// TestNothingReadableWhileOff asks every operation of the document, in both states
// that are not enabled, as everybody who may: what is not listed above answers
// feature_disabled and nothing else. A new operation refuses or gets a reason.
func TestNothingReadableWhileOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name := range everOpen {
		if !slices.ContainsFunc(routes(), func(r route) bool { return r.OperationID == name }) {
			t.Errorf("there is no operation %s", name)
		}
	}
	for _, state := range []string{"disable", "terminate"} {
		w.do(http.MethodPost, "/v1/orgs/acme:"+state, nil)
		refused := 0
		for _, r := range routes() {
			if everOpen[r.OperationID] != "" || !strings.Contains(r.Path, "{org}") {
				continue
			}
			roles, _ := r.Extensions["x-roles"].([]registry.Role)
			for _, role := range append(slices.Clone(roles), registry.RoleAdmin) {
				status, code, body := w.call(t, r, "acme", w.keys["acme"][role])
				if state == "terminate" && slices.Contains(openWhenTerminated, r.OperationID) {
					if status != http.StatusOK {
						t.Errorf("%s by %s after the end: %d %s", r.OperationID, role, status, code)
					}
					continue
				}
				refused++
				if status != http.StatusConflict || code != "feature_disabled" {
					t.Errorf("%s by %s, %sd: %d %s, want 409 feature_disabled", r.OperationID, role, state, status, code)
				}
				for _, secret := range w.secrets {
					if strings.Contains(body, secret) {
						t.Errorf("%s by %s, %sd, shows %q", r.OperationID, role, state, secret)
					}
				}
			}
		}
		if refused < 20 {
			t.Errorf("%sd: only %d requests were refused", state, refused)
		}
	}
	w.do(http.MethodPost, "/v1/orgs/acme:resubscribe", nil)
	if email, _ := routeOf(http.MethodGet, "/v1/orgs/acme/emails/1"); email.Operation != nil {
		if status, _, body := w.call(t, email, "acme", w.keys["acme"][registry.RoleSender]); status != http.StatusOK || !strings.Contains(body, "Hidden Subject") {
			t.Errorf("after resubscribing: %d %s", status, body)
		}
	}
}
