package query

import (
	"embed"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"mailwake/engine/event"
)

// The published schema. Each table is a file of the folder surface: a head as a
// KPI's, and one SELECT over the tables before it in the list and over
//
//	surface_rows      the View's events, each once
//	consent_denied    recipients with what they refuse, of the store
//	consent_granted   recipients with what they allow, of the store
//	catalog_…         emails, recipients, links and attachments, of the store
//
// Consent, the age limit and the right to see persons are inside the SELECTs: a
// query that has no other tables cannot step around them. A process that feeds
// its own base tables (an analyst's worker) publishes the same way.
//
//go:embed surface/*.sql
var surfaceFiles embed.FS

// surfaceOrder lists the tables such that each stands on those before it.
var surfaceOrder = []string{"interactions", "emails", "recipients", "links", "attachments", "templates", "engagement", "days"}

// TableDoc documents a published table.
type TableDoc struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Meaning string   `json:"meaning"`
	Columns []Column `json:"columns"`
}

// published is a table of the surface, ready to be put into queries.
type published struct {
	TableDoc
	text  string             // the SELECT; a template where form is set
	form  *template.Template // nil where the text is the same for everybody
	needs []string           // tables before it that it reads
}

// surfaceTables is filled once, from files that a test has read before.
var surfaceTables = must(loadSurface())

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func loadSurface() ([]published, error) {
	var tables []published
	for _, name := range surfaceOrder {
		text, err := surfaceFiles.ReadFile(path.Join("surface", name+".sql"))
		if err != nil {
			return nil, fmt.Errorf("read published table: %w", err)
		}
		var head KPI
		body, err := head.parseHead(string(text))
		if err != nil {
			return nil, fmt.Errorf("published table %s: %w", name, err)
		}
		t := published{TableDoc: TableDoc{Name: name, Title: head.Title, Meaning: head.Meaning, Columns: head.Columns}, text: body}
		if strings.Contains(body, "{{") {
			if t.form, err = template.New(name).Parse(body); err != nil {
				return nil, fmt.Errorf("published table %s: %w", name, err)
			}
		}
		for _, other := range tables {
			if mentions(body, other.Name) {
				t.needs = append(t.needs, other.Name)
			}
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// mentions reports whether text has name as a word of its own. A text that has it
// in a comment mentions it too, which costs a little and harms nothing.
func mentions(text, name string) bool {
	return regexp.MustCompile(`\b` + name + `\b`).MatchString(text)
}

// Schema documents the published tables, in the order they are listed to people.
func Schema() []TableDoc {
	docs := make([]TableDoc, len(surfaceTables))
	for i, t := range surfaceTables {
		docs[i] = t.TableDoc
		docs[i].Columns = slices.Clone(t.Columns)
	}
	return docs
}

// readsOf returns the published tables that a SELECT of ours reads, those below
// them included, in the order of the surface.
func readsOf(text string) []string {
	need := map[string]bool{}
	for _, t := range slices.Backward(surfaceTables) {
		if need[t.Name] || mentions(text, t.Name) {
			need[t.Name] = true
			for _, below := range t.needs {
				need[below] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(surfaceOrder), func(name string) bool { return !need[name] })
}

// base is what stands below the published tables in one query.
type base struct {
	own      []string // SELECTs of events that mailwake observed itself; without double
	reported []string // SELECTs of events that others reported, and may have twice
	optIn    bool
	denied   bool // somebody refuses something
	persons  bool // recipients are shown with address and name
	oldest   event.Micros
}

// surfaceArgs is what the templates see.
type surfaceArgs struct {
	OptIn, Denied, Persons bool
	Oldest                 string // an SQL expression; "" without limit
}

// with returns the head of a query: the named tables of the surface.
func (b *base) with(names []string) (string, error) {
	var out strings.Builder
	args := surfaceArgs{OptIn: b.optIn, Denied: b.denied, Persons: b.persons}
	if b.oldest != 0 {
		args.Oldest = fmt.Sprintf("make_timestamp(%d)", int64(b.oldest))
	}
	glue := "WITH "
	for _, t := range surfaceTables {
		if !slices.Contains(names, t.Name) {
			continue
		}
		if t.Name == "interactions" {
			fmt.Fprintf(&out, "%ssurface_rows AS NOT MATERIALIZED (\n%s)", glue, b.rows())
			glue = ",\n"
		}
		fmt.Fprintf(&out, "%s%s AS NOT MATERIALIZED (\n", glue, t.Name)
		glue = ",\n"
		if t.form == nil {
			out.WriteString(t.text)
		} else if err := t.form.Execute(&out, args); err != nil {
			return "", fmt.Errorf("publish %s: %w", t.Name, err)
		}
		out.WriteString(")")
	}
	out.WriteString("\n")
	return out.String(), nil
}

// rows joins the SELECTs of events. What others reported is shown once however
// often it came: as it came first. Email and recipient are the same in all copies;
// they partition too, so that a filter on them reaches the files.
func (b *base) rows() string {
	parts := slices.Clone(b.own)
	if len(b.reported) > 0 {
		parts = append(parts, "SELECT "+allColumns+` FROM (
SELECT *, row_number() OVER (PARTITION BY email_id, recipient_id, event_id ORDER BY received_at, occurred_at) AS copy FROM (
`+strings.Join(b.reported, "\nUNION ALL ")+")\n) WHERE copy = 1")
	}
	if len(parts) == 0 {
		return nothing
	}
	return strings.Join(parts, "\nUNION ALL ")
}
