package follow_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailwake/engine/problem"
	"mailwake/ingest/follow"
)

func TestLimits(t *testing.T) {
	link := `<a href="https://x.example/">x</a>`
	for name, test := range map[string]struct {
		in, code string
		status   int
	}{
		"20 MB":            {strings.Repeat("x", 20<<20), "html_too_large", 413},
		"one byte more":    {strings.Repeat("x", follow.MaxHTML+1), "html_too_large", 413},
		"10,000 links":     {strings.Repeat(link, 10_000), "too_many_links", 422},
		"one link more":    {strings.Repeat(link, follow.MaxLinks+1), "too_many_links", 422},
		"not UTF-8":        {"<p>\xff", "invalid_utf8", 422},
		"half a surrogate": {"\xed\xa0\x80", "invalid_utf8", 422},
		"most links":       {strings.Repeat(link, follow.MaxLinks), "", 0},
		"largest":          {strings.Repeat("x", follow.MaxHTML), "", 0},
	} {
		_, err := follow.Parse(test.in, follow.Options{Base: base(t)})
		switch p := problem.Of(err); {
		case test.code == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.code != "" && (err == nil || p.Code != test.code || p.Status != test.status):
			t.Errorf("%s: %v", name, err)
		}
	}
	many := strings.Repeat(`<a href="#x">x</a>`, follow.MaxLinks+7)
	if got := len(parse(t, many, follow.Options{}).Untracked()); got != follow.MaxLinks {
		t.Errorf("%d untracked links are listed", got)
	}
}

// Junk of the largest size: each has once made some parser need minutes. All of
// them take well under a second; the bound leaves room for the race detector.
func TestJunkDoesNotBlowUp(t *testing.T) {
	size := follow.MaxHTML
	if testing.Short() {
		size /= 8
	}
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	var names strings.Builder
	for i := 0; names.Len() < size/2; i++ {
		fmt.Fprintf(&names, " a%x", i)
	}
	half := strings.Repeat("<b>", size/8)
	for name, in := range map[string]string{
		"nested":         fill("<div>"),
		"nested links":   fill("<a name=x>"),
		"open comments":  fill("<!--"),
		"declarations":   fill("<!"),
		"instructions":   fill("<?"),
		"brackets":       fill("<"),
		"end tags":       fill("</"),
		"titles":         fill("<title>"),
		"scripts":        fill("<script><!--"),
		"entities":       "<a href='" + fill("&")[20:] + "'>",
		"quotes":         "<a " + fill("\"'")[20:] + ">",
		"one long tag":   "<a" + names.String() + " href=http://x.example>",
		"tags behind it": "<p" + names.String() + ">" + half,
		"equals signs":   "<a " + fill("=")[20:] + ">",
		"slashes":        "<a " + fill("/")[20:] + ">",
		"markers":        "<a " + fill(" data-no-track")[20:] + ">",
		"marked links":   fill("<a data-no-track>"),
		"attributes":     fill("<a a b c d e f g h i j k l m n o p>"),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := follow.Parse(in, follow.Options{Base: base(t)})
			if err != nil && problem.Of(err).Code != "too_many_links" {
				t.Error(err)
			}
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("took %v", took)
			} else {
				t.Logf("%d bytes took %v", len(in), took)
			}
		})
	}
}
