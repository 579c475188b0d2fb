package query

import (
	"bytes"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	const text = `SELECT * FROM (VALUES
 (1, 'short', 0.5::DOUBLE, 'a'), (12345, '日本語のメール', NULL, NULL), (-7, E'tab\there \x1b[31m', 1/3, 'é́ 👍'), (NULL, 'a rather long subject that goes on and on', 1e-9, '')) AS t(id, subject, open_rate, note)`
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, `
   id  subject                                    open_rate  note
─────  ─────────────────────────────────────────  ─────────  ────
    1  short                                          0.500  a
12345  日本語のメール                                     –  –
   -7  tab�here �[31m                                 0.333  é́ 👍
    –  a rather long subject that goes on and on      1e-09
`},
		{40, `
   id  subject           open_rate  note
─────  ────────────────  ─────────  ────
    1  short                 0.500  a
12345  日本語のメール            –  –
   -7  tab�here �[31m        0.333  é́ 👍
    –  a rather long s…      1e-09
`},
		{24, `
id         1
subject    short
open_rate  0.500
note       a
───────────────────
id         12345
subject    日本語のメー…
open_rate  –
note       –
───────────────────
id         -7
subject    tab�here �[3…
open_rate  0.333
note       é́ 👍
───────────────────
id         –
subject    a rather lon…
open_rate  1e-09
note       
`},
	} {
		res := zooResult(t, text)
		var b bytes.Buffer
		if err := res.WriteTable(&b, c.width); err != nil {
			t.Fatal(err)
		}
		if got, want := b.String(), strings.TrimPrefix(c.want, "\n"); got != want {
			t.Errorf("width %d: got\n%s\nwant\n%s", c.width, got, want)
		}
		for line := range strings.Lines(b.String()) {
			if n := columns(strings.TrimRight(line, "\n")); c.width > 0 && n > c.width {
				t.Errorf("width %d: a line takes %d columns: %s", c.width, n, line)
			}
		}
	}
}

func TestTableWithoutRows(t *testing.T) {
	var b bytes.Buffer
	if err := zooResult(t, "SELECT 1 AS a, 'x' AS b WHERE false").WriteTable(&b, 80); err != nil || b.String() != "a  b\n─  ─\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
}

func TestTableSaysItIsCut(t *testing.T) {
	db := newWorld(t).open(nil)
	res, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT 1 AS a FROM range(9)", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if got := string(written(t, res, Table)); got != "a\n─\n1\n(more rows were cut off)\n" {
		t.Errorf("got %q", got)
	}
}
