package query

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Rows that are not to be shown do not show in errors, and not in that there is
// one, whatever DuckDB does first: refused, not allowed, too old; in files and in
// the tail; reported twice or observed once.
func TestHiddenRowsMakeNoErrors(t *testing.T) {
	everybodyBut := func(refuses event.RecipientID) func(event.Kind) iter.Seq[event.RecipientID] {
		return func(event.Kind) iter.Seq[event.RecipientID] {
			return func(yield func(event.RecipientID) bool) {
				for id := range event.RecipientID(refuser * 2) {
					if id != refuses && !yield(id) {
						return
					}
				}
			}
		}
	}
	now := time.Now() // workers go by the system's clock
	for name, rules := range map[string]Rules{
		"refused":     {Consent: Consent{Version: 1, Denied: func(event.Kind) iter.Seq[event.RecipientID] { return slices.Values([]event.RecipientID{refuser}) }}},
		"not allowed": {Consent: Consent{Version: 1, OptIn: true, Granted: everybodyBut(refuser), Denied: everybodyBut(0)}},
		"too old":     {MaxAge: 24 * time.Hour},
	} {
		for _, where := range []string{"file", "tail"} {
			for _, sign := range []int64{1, -1} {
				t.Run(fmt.Sprint(name, " ", where, " ", sign), func(t *testing.T) {
					w := newWorld(t)
					o := w.org(1)
					o.rules.Consent, o.rules.MaxAge = rules.Consent, rules.MaxAge
					for i := range int64(20) {
						in := open1(sign * (i + 1))
						in.ID, in.Kind, in.Recipient, in.Email, in.Client = sign*(i+1), event.Open, 1, 1, "1"
						in.OccurredAt = event.At(now.Add(-time.Hour))
						if i == 7 {
							in.Recipient, in.Email, in.Client, in.Reason = refuser, 77, canary, canary
							in.OccurredAt = event.At(now.Add(-48 * time.Hour))
						}
						in.ReceivedAt = in.OccurredAt
						w.add(1, in)
					}
					if where == "file" {
						w.flush(1, 20)
					}
					db := w.openWorkers(nil)
					for _, condition := range []string{
						"client::UUID IS NULL", "client::BIGINT = 7", "recipient_id = 5 AND (reason || kind)::UUID IS NOT NULL", "email_id = 77 AND error(client) IS NULL",
						"CASE WHEN recipient_id = 5 THEN 'x'::UUID END IS NOT NULL", "recipient_id = 5 AND strptime(client, '%Y') > occurred_at", "event_id IN (8, -8) AND (kind || 'x')::DATE > '2020-01-01'",
						"occurred_at < now()::TIMESTAMP - INTERVAL 30 HOURS AND (email_id || 'x')::INTEGER = 1", "recipient_id = 5 AND date_trunc(client, occurred_at) IS NULL",
					} {
						for _, from := range []string{"interactions", "interactions JOIN engagement USING (email_id, recipient_id)", "(SELECT DISTINCT client, reason, kind, email_id, recipient_id, event_id, occurred_at FROM interactions)"} {
							text := "SELECT count(*) AS n FROM " + from + " WHERE " + condition
							res, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: text})
							if err == nil {
								res.Close()
							} else if p := problem.Of(err); p.Code != "sql_forbidden" && !strings.Contains(p.Detail, "'1'") {
								t.Errorf("%s: %v", text, err)
							}
						}
					}
					if n := ask(t, db, 1, "SELECT count(*) AS n FROM interactions")[0]["n"]; n != int64(19) {
						t.Errorf("%v rows", n)
					}
				})
			}
		}
	}
}
