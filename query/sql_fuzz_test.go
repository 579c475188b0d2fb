package query

import (
	"context"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFuzzSQL mutates the attacks and the analysts' statements by a small grammar
// and holds each result against the rules for attacks. MAILWAKE_SQL_FUZZ is how
// long, 2 s by default.
func TestFuzzSQL(t *testing.T) {
	limit := 2 * time.Second
	if text := os.Getenv("MAILWAKE_SQL_FUZZ"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := newRig(t, func(o *Options) { o.Worker.Timeout, o.Worker.Memory = 5*time.Second, 128<<20 })
	m := newMutator(rand.New(rand.NewPCG(seed, 1)), readList(t, "attacks.txt", r.replacer), readList(t, "analysts.txt", r.replacer))
	tried, answered := 0, 0
	for end := time.Now().Add(limit); time.Now().Before(end); tried++ {
		text := m.statement()
		if wrong := r.verdict(t.Context(), text, !changing.MatchString(text)); wrong != "" {
			t.Fatalf("%s\n%s", text, wrong)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := r.ask(ctx, text); err == nil {
			answered++
		}
		cancel()
	}
	t.Logf("%d statements, %d answered", tried, answered)
}

// changing finds what may answer differently from time to time, or by the order in
// which rows come.
var changing = regexp.MustCompile(`(?i)random|uuid|now|today|current|local|transaction|ago|age\b|sample|limit|offset|first|last|any_value|arbitrary|list|array|string_agg|group_concat|listagg|nth|lag|lead|fill|over|window|rank|row_|ntile|cume|` +
	`arg|max_by|min_by|mode|approx|reservoir|distinct on|asof|positional|json_group|histogram|map|quantile|median|sum|avg|mean|std|var|corr|covar|regr|skew|kurt|entropy|product|geo|mad|sem|range|generate|recursive|exp|ln|log|sqrt|pow|\^|#|order by|rowid|hash|unnest|qualify`)

// mutator makes statements out of others.
type mutator struct {
	r      *rand.Rand
	seeds  []string
	tokens []string
}

var token = regexp.MustCompile(`'(?:[^']|'')*'|"[^"]*"|\w+|->>|->|::|<>|<=|>=|//|\*\*|\S`)

// wrappers put a statement (%s) or another (%t) somewhere else.
var wrappers = []string{
	"SELECT * FROM (%s)", "WITH x AS (%s) SELECT * FROM x", "SELECT (%s)", "%s UNION ALL %t", "(%s) EXCEPT (%t)", "SELECT * FROM interactions WHERE EXISTS (%s)",
	"SELECT [(%s)]", "SELECT list_transform([1], x -> (%s))", "WITH x AS (%t), y AS (%s) SELECT * FROM y, x", "SELECT * FROM emails, LATERAL (%s) l", "SELECT count(*) FROM (%s) JOIN (%t) ON true",
	"SELECT * FROM recipients WHERE recipient_id IN (%s)", "WITH RECURSIVE x AS (SELECT 1 AS i UNION ALL (%s)) SELECT * FROM x", "SELECT CASE WHEN true THEN (%s) END", "SELECT * FROM (SELECT 1) ORDER BY (%s)",
	"WITH consent_denied AS (%s) SELECT count(*) FROM interactions", "WITH hot_1 AS (%s) SELECT * FROM hot_1", "%s; %t", "/* %t */ %s", "SELECT {'a': (%s)}", "SELECT max((%s)) FROM interactions",
	"SELECT * FROM (PIVOT (%s) ON kind IN ('open') USING count(*))", "FROM (%s) SELECT COLUMNS(*)", "SELECT count(*) FILTER (WHERE (%s) IS NULL) FROM interactions", "EXPLAIN %s", "DESCRIBE %s",
}

// atoms are put in at any place.
var atoms = strings.Fields(`hot_1 consent_denied catalog_recipients surface_rows interactions recipients emails engagement main. memory.main. "pin-0.parquet" '/etc/passwd'
	read_text( read_parquet( getenv( current_setting( query( duckdb_tables() glob( x.y() ( ) [ ] { } , ; -- /* */ * :: -> lambda COLUMNS(*) EXCLUDE REPLACE AT USING SAMPLE LATERAL
	RECURSIVE MATERIALIZED UNION ALL SELECT FROM WHERE WITH AS NULL $1 ? #1 '' "" \0 é 中 1e400 -9223372036854775808 rowid filename pos`)

func newMutator(r *rand.Rand, lists ...[]listed) *mutator {
	m := &mutator{r: r}
	for _, list := range lists {
		for _, l := range list {
			if l.group == "exhaustion" {
				continue
			}
			m.seeds = append(m.seeds, l.text)
			m.tokens = append(m.tokens, token.FindAllString(l.text, -1)...)
		}
	}
	return m
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (m *mutator) statement() string {
	text := pick(m.r, m.seeds)
	for range max(1, m.r.IntN(5)-1) {
		if m.r.IntN(3) == 0 {
			w := strings.ReplaceAll(pick(m.r, wrappers), "%t", pick(m.r, m.seeds))
			text = strings.ReplaceAll(w, "%s", text)
			continue
		}
		text = m.mutate(text)
	}
	return text
}

func (m *mutator) mutate(text string) string {
	tokens := token.FindAllString(text, -1)
	if len(tokens) == 0 {
		return pick(m.r, atoms)
	}
	at := m.r.IntN(len(tokens))
	switch m.r.IntN(8) {
	case 0:
		tokens[at] = pick(m.r, m.tokens)
	case 1:
		tokens[at] = pick(m.r, atoms)
	case 2:
		tokens = append(tokens[:at], append([]string{pick(m.r, atoms)}, tokens[at:]...)...)
	case 3:
		tokens = append(tokens[:at], tokens[at+1:]...)
	case 4:
		other := m.r.IntN(len(tokens))
		tokens[at], tokens[other] = tokens[other], tokens[at]
	case 5:
		tokens[at] = `"` + strings.Trim(tokens[at], `"'`) + `"`
	case 6:
		tokens[at] = strings.ToUpper(tokens[at])
	case 7:
		end := at + m.r.IntN(len(tokens)-at)
		tokens = append(tokens[:end], append(append([]string{}, tokens[at:end]...), tokens[end:]...)...)
	}
	return strings.Join(tokens, " ")
}
