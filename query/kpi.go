package query

import (
	"embed"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"mailwake/engine/problem"
)

//go:embed kpi/*.sql
var kpiFiles embed.FS

// KPI is an entry of the catalogue: one SQL file whose head says what it means.
//
//	-- title: …            also meaning, formula, unit, source; a line that
//	--   goes on           starts with three spaces goes on
//	-- people: COLUMN      each row is about as many people as COLUMN says;
//	-- people: one         or about one, so that not everybody may see it
//	-- param NAME TYPE: …  TYPE is id, count, choice, zone, time or text;
//	-- param NAME TYPE optional: …
//	-- param NAME TYPE = DEFAULT (CHOICE CHOICE …): …
//	-- column NAME TYPE: …
//
// Below stands one SELECT over the published tables, with $NAME for a parameter.
type KPI struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Meaning string   `json:"meaning"`
	Formula string   `json:"formula"`
	Unit    string   `json:"unit"`
	Source  string   `json:"source"`
	People  string   `json:"people" doc:"the column that says how many people a row is about, or one: each row is about a single person"`
	Params  []Param  `json:"params"`
	Columns []Column `json:"columns"`

	sql   string      // with $1, $2, … in the order of Params
	reads []string    // the published tables it stands on
	last  *projection // of one that is answered from rollups
}

// onePerson says of a KPI that each of its rows is about a single person.
const onePerson = "one"

// aboutPersons reports whether rows are about single persons.
func (k *KPI) aboutPersons() bool { return k.People == onePerson }

// Param is a parameter of a KPI.
type Param struct {
	Name     string   `json:"name"`
	Type     string   `json:"type" enum:"id,count,choice,zone,time,text"`
	Optional bool     `json:"optional" doc:"may be left out: by default, or since no value means all"`
	Default  string   `json:"default,omitempty"`
	Choices  []string `json:"choices,omitempty"`
	Meaning  string   `json:"meaning"`
}

// Column is a column of a KPI's result.
type Column struct {
	Name    string `json:"name"`
	Type    string `json:"type" doc:"bigint, integer, double, varchar, boolean, date or timestamp (UTC)"`
	Meaning string `json:"meaning"`
}

var (
	headLine   = regexp.MustCompile(`^-- ([a-z]+)(?: (.*?))?: (.*)$`)
	paramHead  = regexp.MustCompile(`^(\w+) (id|count|choice|zone|time|text)( optional)?(?: = (\S+))?(?: \(([\w ]+)\))?$`)
	columnHead = regexp.MustCompile(`^(\w+) (bigint|integer|double|varchar|boolean|date|timestamp)$`)
	reference  = regexp.MustCompile(`\$([a-z_]+)`)
)

// loadKPIs reads the catalogue, which the embedding keeps in the order of names.
func loadKPIs() ([]KPI, error) {
	entries, err := kpiFiles.ReadDir("kpi")
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	var kpis []KPI
	for _, e := range entries {
		text, err := kpiFiles.ReadFile(path.Join("kpi", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read catalogue: %w", err)
		}
		k, err := parseKPI(strings.TrimSuffix(e.Name(), ".sql"), string(text))
		if err != nil {
			return nil, fmt.Errorf("kpi %s: %w", e.Name(), err)
		}
		kpis = append(kpis, k)
	}
	return kpis, nil
}

func parseKPI(name, text string) (KPI, error) {
	k := KPI{Name: name, Params: []Param{}, Columns: []Column{}}
	body, err := k.parseHead(text)
	if err != nil {
		return k, err
	}
	if k.Formula == "" || k.Unit == "" || k.Source == "" {
		return k, errors.New("formula, unit and source are required")
	}
	if k.People != onePerson && !slices.ContainsFunc(k.Columns, func(c Column) bool { return c.Name == k.People && c.Type == "bigint" }) {
		return k, errors.New("people must be one, or a column of type bigint")
	}
	if _, ok := kpiDisclosures[name]; !ok && !k.aboutPersons() {
		return k, errors.New("it is not said what of it is shown to those who may not see persons")
	}
	k.reads = readsOf(body)
	if err := k.body(body); err != nil {
		return k, err
	}
	if made, ok := rolledKPIs[name]; ok {
		if k.last, err = project(&k, made.below); err != nil {
			return k, err
		}
	}
	return k, nil
}

// parseHead reads the head and returns the SELECT below it.
func (k *KPI) parseHead(text string) (string, error) {
	lines := strings.Split(text, "\n")
	at := 0
	for ; at < len(lines) && strings.HasPrefix(lines[at], "--"); at++ {
		line := lines[at]
		for at+1 < len(lines) && strings.HasPrefix(lines[at+1], "--   ") {
			at++
			line += " " + strings.TrimSpace(strings.TrimPrefix(lines[at], "--"))
		}
		if err := k.head(line); err != nil {
			return "", err
		}
	}
	if k.Title == "" || k.Meaning == "" || len(k.Columns) == 0 {
		return "", errors.New("title, meaning and columns are required")
	}
	return strings.TrimSpace(strings.Join(lines[at:], "\n")), nil
}

func (k *KPI) head(line string) error {
	m := headLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("head line %q", line)
	}
	switch m[1] {
	case "title":
		k.Title = m[3]
	case "meaning":
		k.Meaning = m[3]
	case "formula":
		k.Formula = m[3]
	case "unit":
		k.Unit = m[3]
	case "source":
		k.Source = m[3]
	case "people":
		k.People = m[3]
	case "param":
		p := paramHead.FindStringSubmatch(m[2])
		if p == nil {
			return fmt.Errorf("parameter %q", m[2])
		}
		k.Params = append(k.Params, Param{Name: p[1], Type: p[2], Optional: p[3] != "" || p[4] != "", Default: p[4], Choices: strings.Fields(p[5]), Meaning: m[3]})
	case "column":
		c := columnHead.FindStringSubmatch(m[2])
		if c == nil {
			return fmt.Errorf("column %q", m[2])
		}
		k.Columns = append(k.Columns, Column{Name: c[1], Type: c[2], Meaning: m[3]})
	default:
		return fmt.Errorf("head line %q", line)
	}
	return nil
}

// body numbers the references to parameters: each must be declared and used.
func (k *KPI) body(sql string) error {
	used := map[string]bool{}
	for _, m := range reference.FindAllStringSubmatch(sql, -1) {
		used[m[1]] = true
	}
	for i, p := range k.Params {
		if !used[p.Name] {
			return fmt.Errorf("parameter %s is not used", p.Name)
		}
		delete(used, p.Name)
		sql = regexp.MustCompile(`\$`+p.Name+`\b`).ReplaceAllLiteralString(sql, fmt.Sprintf("$%d", i+1))
	}
	for name := range used {
		return fmt.Errorf("parameter %s is not declared", name)
	}
	k.sql = sql
	return nil
}

func (db *DB) find(name string) (KPI, error) {
	for _, k := range db.kpis {
		if k.Name == name {
			return k, nil
		}
	}
	return KPI{}, problem.New(404, "kpi_not_found", "There is no KPI %q; the catalogue lists them all.", name)
}
