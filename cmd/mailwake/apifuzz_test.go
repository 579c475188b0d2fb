package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/registry"
)

// fuzzTime is how long TestFuzzAPI asks; MAILWAKE_API_FUZZ overrides it.
const fuzzTime = 10 * time.Second

// TestFuzzAPI asks every operation for what its document allows and for what it
// does not quite, with the keys of several roles, and two at a time. No answer is a
// 5xx, each is as documented (see checked), and each JSON fits its schema. A request
// that failed is printed with its seed.
func TestFuzzAPI(t *testing.T) {
	t.Parallel()
	limit := fuzzTime
	if text := os.Getenv("MAILWAKE_API_FUZZ"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.params["org"] = []string{"acme", "other"}
	delete(w.params, "key") // keys by number are revoked at random otherwise, the tests' own too
	deadline := time.Now().Add(limit)
	counts := newTally()
	var workers sync.WaitGroup
	for worker := range uint64(2) {
		workers.Go(func() {
			for round := uint64(0); time.Now().Before(deadline) && !t.Failed(); round++ {
				for i, r := range routes() {
					w.fuzz(t, r, [2]uint64{worker<<32 | round, uint64(i)}, counts)
				}
			}
		})
	}
	workers.Wait()
	if strings.Contains(w.log.String(), "DATA RACE") {
		t.Error("the server has a data race")
	}
	if t.Failed() {
		t.Log(w.log)
		return
	}
	counts.report(t)
}

// skipped are operations that would end the game: keys are what the others ask with.
var skipped = []string{"revoke-key"}

func (w *world) fuzz(t *testing.T, r route, seed [2]uint64, counts *tally) {
	if slices.Contains(skipped, r.OperationID) {
		return
	}
	s := &sampler{Rand: rand.New(rand.NewPCG(seed[0], seed[1])), params: w.params}
	s.wild = pick(s.Rand, []float64{0, 0, 0.05, 0.3})
	req, err := s.request(r, w.at.Private)
	if err != nil {
		t.Errorf("%s, seed %v: %v", r.OperationID, seed, err)
		return
	}
	role := pick(s.Rand, append(slices.Repeat([]registry.Role{registry.RoleAdmin}, 5), allRoles...))
	req.Header.Set("Authorization", "Bearer "+w.keys[pick(s.Rand, []string{"", "", "", "acme"})][role])
	resp, err := noRedirect.Do(req)
	if err != nil {
		t.Errorf("%s, seed %v: %v", r.OperationID, seed, err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s, seed %v: read answer: %v", r.OperationID, seed, err)
	}
	counts.add(r.OperationID, resp.StatusCode)
	if resp.StatusCode >= 500 {
		t.Errorf("%s, seed %v: %s %s: %d %.500s", r.OperationID, seed, req.Method, req.URL, resp.StatusCode, body)
	}
	content := r.Responses[strconv.Itoa(resp.StatusCode)]
	if content == nil || content.Content["application/json"] == nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s, seed %v: answers no JSON: %v", r.OperationID, seed, err)
	} else if wrong := misfits(content.Content["application/json"].Schema, v, "$"); wrong != "" {
		t.Errorf("%s, seed %v: answer does not fit its schema: %s", r.OperationID, seed, wrong)
	}
}

// misfits says where v does not fit schema, "" when it does.
func misfits(schema *huma.Schema, v any, at string) string {
	if schema.Ref != "" {
		schema = document().Components.Schemas.SchemaFromRef(schema.Ref)
	}
	if v == nil && schema.Nullable {
		return ""
	}
	if len(schema.Enum) > 0 && !slices.ContainsFunc(schema.Enum, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
		return fmt.Sprintf("%s is %v, not one of %v", at, v, schema.Enum)
	}
	ok := true
	switch schema.Type {
	case huma.TypeObject:
		fields, isObject := v.(map[string]any)
		for _, name := range schema.Required {
			if _, has := fields[name]; isObject && !has {
				return at + " lacks " + name
			}
		}
		for name, value := range fields {
			if property := schema.Properties[name]; property != nil {
				if wrong := misfits(property, value, at+"."+name); wrong != "" {
					return wrong
				}
			} else if schema.AdditionalProperties == false {
				return at + " has " + name
			}
		}
		ok = isObject
	case huma.TypeArray:
		items, isArray := v.([]any)
		for i, item := range items {
			if wrong := misfits(schema.Items, item, fmt.Sprintf("%s[%d]", at, i)); wrong != "" {
				return wrong
			}
		}
		ok = isArray
	case huma.TypeString:
		_, ok = v.(string)
	case huma.TypeInteger:
		n, isNumber := v.(float64)
		ok = isNumber && n == float64(int64(n))
	case huma.TypeNumber:
		_, ok = v.(float64)
	case huma.TypeBoolean:
		_, ok = v.(bool)
	}
	if !ok {
		return fmt.Sprintf("%s is %T, not %s", at, v, schema.Type)
	}
	return ""
}

// tally counts answers by operation and status.
type tally struct {
	mu struct {
		sync.Mutex
		n map[string]map[int]int
	}
}

func newTally() *tally {
	c := new(tally)
	c.mu.n = map[string]map[int]int{}
	return c
}

func (c *tally) add(operation string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.n[operation] == nil {
		c.mu.n[operation] = map[int]int{}
	}
	c.mu.n[operation][status]++
}

// report fails when an operation was often asked and never got behind its
// validation: then the sampler must learn something.
func (c *tally) report(t *testing.T) {
	const often = 300
	total := 0
	for _, r := range routes() {
		seen, asked := c.mu.n[r.OperationID], 0
		for _, n := range seen {
			asked += n
		}
		total += asked
		if done := seen[200] + seen[201] + seen[204] + seen[409]; done == 0 && asked >= often && !slices.Contains(skipped, r.OperationID) {
			t.Errorf("%s never got behind its validation: %v", r.OperationID, seen)
		}
	}
	t.Logf("%d requests", total)
}

// TestMisfits: the check of answers sees what is wrong.
func TestMisfits(t *testing.T) {
	org, _ := routeOf(http.MethodGet, "/v1/orgs/acme")
	schema := org.Responses["200"].Content["application/json"].Schema
	good := `{"name":"a","title":"","state":"enabled","created_at":"2026-01-01T00:00:00Z","policy":{"unknown":"opt_in","on_refusal":"block",
		"on_withdrawal":"hide","hide_days":1,"max_age_days":0,"zone":"UTC","smart_replies":false}}`
	for name, text := range map[string]string{
		"":              good,
		"lacks policy":  strings.Replace(good, `"policy"`, `"polity"`, 1),
		"$.state is":    strings.Replace(good, "enabled", "on", 1),
		"hide_days is":  strings.Replace(good, `"hide_days":1`, `"hide_days":1.5`, 1),
		"$.policy has":  strings.Replace(good, `"hide_days"`, `"a":1,"hide_days"`, 1),
		"$.title is <n": strings.Replace(good, `"title":""`, `"title":null`, 1),
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if got := misfits(schema, v, "$"); !strings.Contains(got, name) || name == "" && got != "" {
			t.Errorf("%q, want %q", got, name)
		}
	}
}
