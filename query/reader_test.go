package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/humatest"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Whoever may see figures only gets of every KPI the rows about many people, with
// figures as many shows them, and none of those about single persons.
func TestFiguresOfManyOnly(t *testing.T) {
	s := newScene(t, 3, 900)
	withheld, given := 0, map[string]int{}
	for _, q := range sceneQuestions(s) {
		k, err := s.db.find(q.kpi)
		if err != nil {
			t.Fatal(err)
		}
		r := q.request()
		r.Persons = false
		res, err := s.db.KPI(t.Context(), r)
		d := kpiDisclosures[q.kpi]
		if k.aboutPersons() {
			if p := problem.Of(err); p.Code != "kpi_about_persons" || p.Status != 403 {
				t.Errorf("%s: %v", q.kpi, err)
			}
			continue
		}
		if moves := slices.DeleteFunc(slices.Collect(maps.Keys(r.Params)), d.allows); len(moves) > 0 {
			if p := problem.Of(err); p.Code != "parameter_invalid" || !strings.Contains(p.Detail, "may not see persons") {
				t.Errorf("%s %s: %v", q.kpi, q.params, err)
			}
			continue
		}
		exact := map[string]map[string]any{}
		for _, row := range q.want() {
			exact[groupName(&d, row)] = row
		}
		got := rowsOf(t, res, err)
		for _, row := range got {
			for _, wrong := range misshown(&d, row, exact[groupName(&d, row)], defaultMinPeople) {
				t.Errorf("%s %s: %s", q.kpi, q.params, wrong)
			}
			delete(exact, groupName(&d, row))
		}
		given[q.kpi] += len(got)
		withheld += len(exact)
		for name, row := range exact {
			if n := row[k.People].(int64); n >= 3*defaultMinPeople {
				t.Errorf("%s %s: %s, of %d people, is withheld", q.kpi, q.params, name, n)
			}
		}
	}
	for name := range kpiDisclosures {
		if given[name] == 0 && !slices.Contains([]string{"heat_map", "weekly_cohorts", "email_timeline", "recency_frequency_grid"}, name) {
			t.Errorf("nothing of %s is shown; the scene proves little", name)
		}
	}
	if withheld == 0 {
		t.Error("nothing is withheld; the scene proves little")
	}
}

// groupName names a row by its plain columns.
func groupName(d *disclosure, row map[string]any) string {
	var text strings.Builder
	for name := range strings.FieldsSeq(d.plain) {
		fmt.Fprint(&text, row[name], "|")
	}
	return text.String()
}

// misshown says what is wrong with a row shown of an exact one to those who may
// not see persons.
func misshown(d *disclosure, row, exact map[string]any, least int64) (wrong []string) {
	base, mails := map[string]int64{}, int64(1)
	for _, f := range d.figures {
		for name := range strings.FieldsSeq(f.columns) {
			if n, ok := exact[name].(int64); ok && f.pairs {
				mails = max(mails, (n+exact["people"].(int64)-1)/exact["people"].(int64))
			}
		}
		for name := range strings.FieldsSeq(f.columns) {
			base[name] = least
			if f.pairs {
				base[name] *= mails
			}
		}
	}
	for name, v := range row {
		n, isNumber := v.(int64)
		rate, isRate := rates[name]
		of, _ := row[rate[0]].(int64)
		all, _ := row[rate[1]].(int64)
		switch {
		case v == nil:
		case base[name] > 0:
			if e, b := exact[name].(int64), base[name]; !isNumber || n%b != 0 || n < b || e < b || 2*max(n-e, e-n) >= 3*b {
				wrong = append(wrong, fmt.Sprintf("%s is %v of %d", name, v, e))
			}
		case words(d.plain)[name]:
			if v != exact[name] {
				wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", name, v, exact[name]))
			}
		case isRate:
			if of == 0 || all == 0 || v != min(1, float64(of)/float64(all)) {
				wrong = append(wrong, fmt.Sprintf("%s is %v of %d and %d", name, v, of, all))
			}
		case d.coarse[name] != "":
			if v != oneDigit(exact[name].(float64)) {
				wrong = append(wrong, fmt.Sprintf("%s is %v of %v", name, v, exact[name]))
			}
		default:
			wrong = append(wrong, fmt.Sprintf("%s is shown: %v", name, v))
		}
	}
	return wrong
}

// newReaders is an API whose caller sees persons or not, and which notes reads.
func newReaders(t *testing.T, w *world, persons *bool, note func(registry.Read) error) humatest.TestAPI {
	_, api := humatest.New(t, huma.DefaultConfig("test", "1"))
	Register(api, HTTPOptions{DB: w.open(nil), Org: func(context.Context, string) (event.OrgID, error) { return 1, nil },
		Persons:  func(context.Context, event.OrgID) bool { return *persons },
		NoteRead: func(_ context.Context, r registry.Read) error { return note(r) }})
	return api
}

func TestReadsOfPersonsAreNoted(t *testing.T) {
	w := newWorld(t)
	w.add(1, open1(1))
	var noted []string
	var fails error
	persons := true
	api := newReaders(t, w, &persons, func(r registry.Read) error {
		noted = append(noted, fmt.Sprintf("%s email %d recipient %d", r.What, r.Email, r.Recipient))
		return fails
	})
	for _, path := range []string{"organisation_summary", "recipient_activity", "recipient_activity?recipient=2&email=1", "recipient_score?recipient=x", "nothing"} {
		api.Get("/v1/orgs/acme/kpis/" + path)
	}
	want := []string{"kpi recipient_activity email 0 recipient 0", "kpi recipient_activity email 1 recipient 2", "kpi recipient_score email 0 recipient 0"}
	if !slices.Equal(noted, want) {
		t.Errorf("noted are %q", noted)
	}
	persons, noted = false, nil
	for _, path := range []string{"organisation_summary", "recipient_activity"} {
		api.Get("/v1/orgs/acme/kpis/" + path)
	}
	if len(noted) != 0 {
		t.Errorf("noted are %q of somebody who sees no persons", noted)
	}
	persons, fails = true, errors.New("registry is down")
	if res := api.Get("/v1/orgs/acme/kpis/recipient_activity"); res.Code != 500 || strings.Contains(res.Body.String(), "opens_total") {
		t.Errorf("a read that could not be noted is answered: %d %s", res.Code, res.Body)
	}
}

// Of an organisation that is switched off every door says so, and nothing else:
// not that a KPI, a format or a table is unknown, not what the key may not see.
func TestDisabledDoors(t *testing.T) {
	for _, state := range []registry.OrgState{registry.OrgDisabled, registry.OrgTerminated} {
		for _, persons := range []bool{true, false} {
			w := newWorld(t)
			w.setRules(func(r *Rules) { r.State = state })
			api := newReaders(t, w, &persons, func(r registry.Read) error {
				t.Errorf("%s is noted as read", r.What)
				return nil
			})
			for _, path := range []string{"kpis", "kpis/organisation_summary", "kpis/recipient_activity", "kpis/nothing", "kpis/email_list?nothing=1", "kpis/email_list?format=x", "sql/schema"} {
				if res := api.Get("/v1/orgs/acme/" + path); !strings.Contains(res.Body.String(), "feature_disabled: ") {
					t.Errorf("%s: %s: %d %s", state, path, res.Code, res.Body)
				}
			}
			for _, text := range []string{census, "SELECT nothing", "DROP TABLE x"} {
				if res := api.Post("/v1/orgs/acme/sql?format=x", map[string]any{"sql": text}); !strings.Contains(res.Body.String(), "feature_disabled: ") {
					t.Errorf("%s: %s: %d %s", state, text, res.Code, res.Body)
				}
			}
		}
	}
}

// An answer is not sent again until anything that it depends on changes.
func TestETag(t *testing.T) {
	w := newWorld(t)
	w.add(1, open1(1), open1(2))
	persons := true
	api := newReaders(t, w, &persons, func(registry.Read) error { return nil })
	get := func(path, seen string) (code int, tag string) {
		res := api.Get("/v1/orgs/acme/kpis/"+path, "If-None-Match: "+seen)
		if res.Code == 304 && res.Body.Len() > 0 || res.Code == 200 && res.Body.Len() == 0 {
			t.Errorf("%s: %d with %d bytes", path, res.Code, res.Body.Len())
		}
		return res.Code, res.Header().Get("ETag")
	}
	_, tag := get("email_timeline", "")
	for _, seen := range []string{tag, `"x", ` + tag, strings.TrimPrefix(tag, "W/")} {
		if code, again := get("email_timeline", seen); code != 304 || again != tag {
			t.Errorf("If-None-Match %s: %d %s", seen, code, again)
		}
	}
	for name, change := range map[string]func() string{
		"an event":     func() string { w.add(1, open1(3)); return "" },
		"a flush":      func() string { w.flush(1, 1); return "" },
		"an email":     func() string { w.org(1).emails = append(w.org(1).emails, registry.Email{ID: 1}); return "" },
		"a refusal":    func() string { w.setRules(func(r *Rules) { r.Consent = consentOf(5, false, nil) }); return "" },
		"an age limit": func() string { w.setRules(func(r *Rules) { r.MaxAge = time.Hour }); return "" },
		"a zone":       func() string { w.setRules(func(r *Rules) { r.Zone = "Europe/Berlin" }); return "" },
		"a parameter":  func() string { return "?bucket=day" },
		"a format":     func() string { return "?format=csv" },
		"a role":       func() string { persons = false; return "" },
	} {
		_, tag := get("email_timeline", "")
		suffix := change()
		if code, other := get("email_timeline"+suffix, tag); code != 200 || other == tag {
			t.Errorf("after %s: %d %s", name, code, other)
		}
		persons = true
	}
}

// An export has what the surface shows, in both formats, and a terminated
// organisation's administrator gets it until the purge.
func TestExport(t *testing.T) {
	s := newScene(t, 5, 3000)
	want := map[string]int{}
	for _, in := range s.events {
		want[fmt.Sprintf("%d %s", in.ID, in.Kind)]++
	}
	purge := event.At(s.now.Add(time.Hour))
	for _, c := range []struct {
		state   registry.OrgState
		purgeAt event.Micros
		allowed bool
	}{{registry.OrgEnabled, 0, true}, {registry.OrgDisabled, 0, false}, {registry.OrgTerminated, purge, true}, {registry.OrgTerminated, purge - 2*3600*1e6, false}} {
		s.world.setRules(func(r *Rules) { r.State, r.PurgeAt = c.state, c.purgeAt })
		for _, format := range []Format{NDJSON, Parquet} {
			e, err := s.db.Export(t.Context(), 1)
			if !c.allowed {
				if p := problem.Of(err); p.Code != "feature_disabled" || p.Status != 409 {
					t.Errorf("%s: %v", c.state, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err = e.Write(&out, format)
			e.Close()
			e.Close()
			if err != nil {
				t.Fatal(err)
			}
			if got := exported(t, &out, format); !maps.Equal(got, want) {
				t.Errorf("%s %s: %d different rows, want %d", c.state, format, len(got), len(want))
			}
		}
	}
}

func exported(t *testing.T, out *bytes.Buffer, format Format) map[string]int {
	t.Helper()
	got := map[string]int{}
	if format == NDJSON {
		for line := range bytes.Lines(out.Bytes()) {
			var row struct {
				ID   json.Number `json:"event_id"`
				Kind string
			}
			if err := json.Unmarshal(bytes.ReplaceAll(line, []byte(`"event_id":"`), []byte(`"event_id":`)), &row); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got[row.ID.String()+" "+row.Kind]++
		}
		return got
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := openDuck(1, 1<<28)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT event_id::VARCHAR || ' ' || kind FROM read_parquet("+literal(path)+")")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			t.Fatal(err)
		}
		got[key]++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

// An export whose reader has left ends, and lets the next one begin.
func TestExportIsCancelled(t *testing.T) {
	s := newScene(t, 6, 5000)
	ctx, leave := context.WithCancel(t.Context())
	e, err := s.db.Export(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	if err := e.Write(io.Discard, NDJSON); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	e.Close()
	if e, err = s.db.Export(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	e.Close()
}
