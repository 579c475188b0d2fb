package ingest

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"mailwake/engine/registry"
)

func TestPreferenceLanguages(t *testing.T) {
	o := openOffice(t)
	for accept, want := range map[string]string{
		"": "en", "en-GB,en;q=0.9": "en", "de": "de", "de-AT,de;q=0.9,en;q=0.5": "de", "fr-CA, en;q=0.1": "fr", "es-MX": "es", "es-419,es;q=0.9": "es",
		"pt-BR,fr;q=0.7,en;q=0.3": "fr", "ja": "en", "*": "en", "x-klingon, de;q=0.1": "de", ";;;q=": "en", "gsw-CH,de-CH;q=0.8": "de",
		strings.Repeat("a,", 3000) + "de": "en",
	} {
		resp, body := o.visit("GET", o.page(1, 1), nil, "Accept-Language", accept)
		text, _ := textIn(want, "Ltd of acme")
		if resp.StatusCode != 200 || !strings.Contains(body, `<html lang="`+want+`">`) || resp.Header.Get("Content-Language") != want || !strings.Contains(body, html.EscapeString(text.Title)) {
			t.Errorf("%.40q: %d %s", accept, resp.StatusCode, resp.Header.Get("Content-Language"))
		}
	}
}

// Every text exists in every language, and no two languages share one by mistake.
func TestPreferenceTextsAreComplete(t *testing.T) {
	var walk func(path string, v reflect.Value, out map[string]string)
	walk = func(path string, v reflect.Value, out map[string]string) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i), out)
			}
		case reflect.Array:
			for i := range v.Len() {
				walk(fmt.Sprint(path, i), v.Index(i), out)
			}
		case reflect.String:
			out[path] = v.String()
		}
	}
	seen := map[string]string{}
	for _, text := range pageTexts {
		texts := map[string]string{}
		walk("", reflect.ValueOf(text), texts)
		for path, s := range texts {
			if s == "" || strings.TrimSpace(s) != s {
				t.Errorf("%s%s is %q", text.Locale, path, s)
			}
			if other, twice := seen[path+s]; twice {
				t.Errorf("%s%s is as in %s", text.Locale, path, other)
			}
			seen[path+s] = text.Locale
		}
		if shown := text.with("Acme").shown(); strings.Contains(shown, "ORG") || len(shown) > registry.MaxProofTextBytes {
			t.Errorf("%s: %d bytes shown, or a title missing", text.Locale, len(shown))
		}
	}
}

// words is what a reader sees of a page, line by line.
func words(t *testing.T, body string) string {
	t.Helper()
	var b strings.Builder
	z, hidden := html.NewTokenizer(strings.NewReader(body)), ""
	for {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.StartTagToken:
			if name, _ := z.TagName(); string(name) == "style" || string(name) == "title" {
				hidden = string(name)
			}
		case html.EndTagToken:
			if name, _ := z.TagName(); string(name) == hidden {
				hidden = ""
			}
		case html.TextToken:
			if s := strings.TrimSpace(string(z.Text())); s != "" && hidden == "" {
				b.WriteString(s + "\n")
			}
		}
	}
}

// The text in the ledger is what the page says, whole and in its order: what the
// page says beyond it is the address and what holds at present.
func TestPreferenceProofIsThePage(t *testing.T) {
	o := openOffice(t)
	for _, text := range pageTexts {
		_, body := o.visit("GET", o.page(1, 1), nil, "Accept-Language", text.Locale)
		shown := text.with("Ltd of acme")
		var rest []string
		want := strings.Split(shown.shown(), "\n")
		for line := range strings.Lines(words(t, body)) {
			if line = strings.TrimSuffix(line, "\n"); len(want) > 0 && line == want[0] {
				want = want[1:]
			} else {
				rest = append(rest, line)
			}
		}
		if len(want) > 0 {
			t.Errorf("%s: the page does not say %q\n%s", text.Locale, want[0], words(t, body))
		}
		if got := strings.Join(rest, "|"); got != text.For+"|b…@example.com"+strings.Repeat("|"+text.Recorded, 4) {
			t.Errorf("%s: the page also says %s", text.Locale, got)
		}
	}
}

// Every field is named and reachable without a mouse or a script.
func TestPreferencePageIsAccessible(t *testing.T) {
	o := openOffice(t)
	o.submit(o.page(1, 1), "open", "denied", "click", "allowed")
	_, body := o.visit("GET", o.page(1, 1)+"?saved=1", nil)
	root, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	count, checked, ids := map[string]int{}, []string{}, map[string]bool{}
	var walk func(n *html.Node, inside map[string]bool)
	walk = func(n *html.Node, inside map[string]bool) {
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		if n.Type == html.ElementNode {
			count[n.Data]++
			if id := attributes["id"]; id != "" {
				if ids[id] {
					t.Errorf("two elements have the id %s", id)
				}
				ids[id] = true
			}
			if attributes["type"] == "radio" {
				if !inside["label"] || !inside["fieldset"] || !ids[attributes["aria-describedby"]] {
					t.Errorf("a choice without label, group or description: %v", attributes)
				}
				if _, ok := attributes["checked"]; ok {
					checked = append(checked, attributes["name"]+"="+attributes["value"])
				}
			}
			if _, ok := attributes["tabindex"]; ok {
				t.Error("the order of fields is changed")
			}
		}
		below := map[string]bool{n.Data: true}
		for k := range inside {
			below[k] = true
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, below)
		}
	}
	walk(root, nil)
	if count["fieldset"] != 4 || count["legend"] != 4 || count["button"] != 3 || count["h1"] != 1 || count["main"] != 1 || count["form"] != 1 || count["script"] != 0 {
		t.Errorf("elements %v", count)
	}
	if got := strings.Join(checked, " "); got != "open=denied click=allowed" {
		t.Errorf("checked: %s", got)
	}
	if !strings.Contains(body, `name="viewport" content="width=device-width, initial-scale=1"`) {
		t.Error("the page is not made for phones")
	}
}

// Colours have the contrast that WCAG 2.2 AA asks for, by day and by night.
func TestPreferenceContrast(t *testing.T) {
	schemes := regexp.MustCompile(`:root \{[^}]*--ink[^}]*\}`).FindAllString(pageStyle, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d colour schemes", len(schemes))
	}
	for i, scheme := range schemes {
		colour := map[string]float64{}
		for _, m := range regexp.MustCompile(`--(\w+): #(\w+)`).FindAllStringSubmatch(scheme, -1) {
			colour[m[1]] = luminance(t, m[2])
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{{"ink", "paper", 7}, {"faint", "paper", 4.5}, {"mark", "paper", 4.5}, {"ink", "note", 4.5}, {"line", "paper", 3}} {
			a, b := max(colour[pair.front], colour[pair.back]), min(colour[pair.front], colour[pair.back])
			if ratio := (a + 0.05) / (b + 0.05); ratio < pair.least {
				t.Errorf("scheme %d: %s on %s has contrast %.1f, want %.1f", i, pair.front, pair.back, ratio, pair.least)
			}
		}
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(v) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// What the organisation and its recipients are called cannot become markup.
func TestPreferenceEscapes(t *testing.T) {
	o := openOffice(t)
	evil, err := o.reg.CreateOrg(t.Context(), registry.NewOrg{Name: "evil", Title: `<script>alert(1)</script>"'&`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.reg.RegisterEmail(t.Context(), evil.ID, registry.NewEmail{From: "a@b.example", Wish: true, Recipients: []registry.NewRecipient{{Address: "&'long.name@example.com"}}}); err != nil {
		t.Fatal(err)
	}
	_, body := o.visit("GET", o.page(evil.ID, 1), nil)
	if strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, "&amp;…@example.com") || strings.Contains(body, "long.name") {
		t.Error(body)
	}
	o.submit(o.page(evil.ID, 1), "all", "denied")
	if e := o.ledger(evil.ID); len(e) != 1 || !strings.Contains(e[0].Text, "<script>alert(1)</script>") {
		t.Errorf("%+v", e)
	}
}

func TestMasked(t *testing.T) {
	for address, want := range map[string]string{
		"bob@example.com": "b…@example.com", "b@example.com": "b…@example.com", "ünal.y@b.example": "ü…@b.example", "a@b@c.example": "a…@c.example",
		"bob": "…", "": "…", "@example.com": "…@example.com",
	} {
		if got := masked(address); got != want {
			t.Errorf("%q is shown as %q, want %q", address, got, want)
		}
	}
}
