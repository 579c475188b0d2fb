package follow_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailwake/ingest/follow"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const baseURL = "https://track.example.com"

func base(t testing.TB) follow.Base {
	t.Helper()
	b, err := follow.ParseBase(baseURL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// render makes a copy whose tokens are the ordinals.
func render(tpl *follow.Template) string {
	return string(tpl.Render(nil, follow.Copy{Link: func(dst []byte, ordinal int32, _ string) []byte {
		return fmt.Appendf(dst, "%s/c/link-%d", baseURL, ordinal)
	}, Pixel: baseURL + "/o/pixel.gif"}))
}

const pixel = `<img src="https://track.example.com/o/pixel.gif" width="1" height="1" alt="" border="0" style="border:0;width:1px;height:1px">`

func parse(t testing.TB, html string, opts follow.Options) *follow.Template {
	t.Helper()
	opts.Base = base(t)
	tpl, err := follow.Parse(html, opts)
	if err != nil {
		t.Fatal(err)
	}
	return tpl
}

// describe is the golden form: what was found, then the copy.
func describe(tpl *follow.Template) []byte {
	var b bytes.Buffer
	for i, target := range tpl.Targets() {
		fmt.Fprintf(&b, "link %d: %s\n", i+1, target)
	}
	for _, u := range tpl.Untracked() {
		fmt.Fprintf(&b, "%s: %s\n", u.Reason, u.URL)
	}
	b.WriteString("----\n" + render(tpl))
	return b.Bytes()
}

func TestGoldenMails(t *testing.T) {
	mails, err := filepath.Glob("../../cmd/mailwake/demo/*.html")
	if err != nil || len(mails) != 4 {
		t.Fatalf("%d mails, %v", len(mails), err)
	}
	for _, path := range mails {
		name := strings.TrimSuffix(filepath.Base(path), ".html")
		t.Run(name, func(t *testing.T) {
			html, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			opts := follow.Options{Unsubscribe: []string{"<mailto:leave@acme.example>, <https://news.acme.example/unsubscribe?list=harbour&who=7f3a>"}}
			if name == "newsletter" {
				opts.Pixel = follow.PixelTop
			}
			tpl := parse(t, string(html), opts)
			checkReversible(t, string(html), tpl)
			got := describe(tpl)
			golden := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s:\n%s", golden, got)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	const link1 = baseURL + "/c/link-1"
	long := "https://x.example/" + strings.Repeat("a", 2048-len("https://x.example/"))
	for name, test := range map[string]struct {
		in, out string // out "" is in, unchanged
		found   string // target, or reason after !
	}{
		"double quotes":       {`<a href="https://x.example/">x</a>`, `<a href="` + link1 + `">x</a>`, "https://x.example/"},
		"single quotes":       {`<a href='http://x.example/"q"'>`, `<a href='` + link1 + `'>`, `http://x.example/"q"`},
		"no quotes":           {`<a href=https://x.example/?a=b>`, `<a href=` + link1 + `>`, "https://x.example/?a=b"},
		"no quotes, slash":    {`<a href=https://x.example/>`, `<a href=` + link1 + `>`, "https://x.example/"},
		"case and spacing":    {"<A\n\tID=x HREF = \"HTTPS://X.example\"  CLASS='y' >", "<A\n\tID=x HREF = \"" + link1 + "\"  CLASS='y' >", "HTTPS://X.example"},
		"area":                {`<area href="http://x.example" />`, `<area href="` + link1 + `" />`, "http://x.example"},
		"trimmed":             {"<a href=\" \n\thttps://x.example/ \r\n\">", `<a href="` + link1 + `">`, "https://x.example/"},
		"entities":            {`<a href="https://x.example/?a=1&amp;b=2&#38;c=3&#x26;d=&quot;&lt;">`, `<a href="` + link1 + `">`, `https://x.example/?a=1&b=2&c=3&d="<`},
		"no entities":         {`<a href="https://x.example/?a&copy=1&amp=2&lang=de&notit;&sect">`, `<a href="` + link1 + `">`, `https://x.example/?a&copy=1&amp=2&lang=de&notit;§`},
		"escapes":             {`<a href="https://x.example/%41%2f%zz%?q=%2B+%20#%23(a)[b]{c}">`, `<a href="` + link1 + `">`, `https://x.example/%41%2f%zz%?q=%2B+%20#%23(a)[b]{c}`},
		"IDN and port":        {`<a href="https://bücher.example:8443/ü?ü#ü">`, `<a href="` + link1 + `">`, "https://bücher.example:8443/ü?ü#ü"},
		"IPv6":                {`<a href="http://[2001:db8::1]:80/">`, `<a href="` + link1 + `">`, "http://[2001:db8::1]:80/"},
		"space inside":        {`<a href="https://x.example/a b">`, `<a href="` + link1 + `">`, "https://x.example/a b"},
		"at in the path":      {`<a href="https://x.example/@me?x=a@b">`, `<a href="` + link1 + `">`, "https://x.example/@me?x=a@b"},
		"first href counts":   {`<a href="https://x.example/1" href="https://x.example/2">`, `<a href="` + link1 + `" href="https://x.example/2">`, "https://x.example/1"},
		"slash between":       {`<a/href="https://x.example/"/class=x>`, `<a/href="` + link1 + `"/class=x>`, "https://x.example/"},
		"no space between":    {`<a class="x"href="https://x.example/"id=y>`, `<a class="x"href="` + link1 + `"id=y>`, "https://x.example/"},
		"odd attributes":      {`<a =href="no" x==" href="https://x.example/">`, `<a =href="no" x==" href="` + link1 + `">`, "https://x.example/"},
		"greater in value":    {`<a title="a > b" href="https://x.example/">`, `<a title="a > b" href="` + link1 + `">`, "https://x.example/"},
		"href in a value":     {`<a title='href="https://no.example"' href="https://x.example/">`, `<a title='href="https://no.example"' href="` + link1 + `">`, "https://x.example/"},
		"longest":             {`<a href="` + long + `">`, `<a href="` + link1 + `">`, long},
		"too long":            {`<a href="` + long + `b">`, "", "!too_long"},
		"mailto":              {`<a href="MailTo:a@x.example">`, "", "!not_web"},
		"tel":                 {`<a href="tel:+1">`, "", "!not_web"},
		"sms":                 {`<a href="sms:+1">`, "", "!not_web"},
		"data":                {`<a href="data:text/html,x">`, "", "!not_web"},
		"cid":                 {`<a href="cid:a@b">`, "", "!not_web"},
		"javascript":          {`<a href="javascript:alert(1)">`, "", "!not_web"},
		"ftp":                 {`<a href="ftp://x.example/">`, "", "!not_web"},
		"fragment":            {`<a href="#x">`, "", "!fragment"},
		"relative":            {`<a href="/x?u=https://x.example">`, "", "!relative"},
		"relative to scheme":  {`<a href="//x.example/">`, "", "!relative"},
		"placeholder":         {`<a href="{{url}}">`, "", "!relative"},
		"placeholder as host": {`<a href="https://{{host}}/">`, "", "!malformed"},
		"empty":               {`<a href="">`, "", "!empty"},
		"blank":               {"<a href=' \n'>", "", "!empty"},
		"no value":            {`<a href>`, "", "!empty"},
		"no href":             {`<a name="x">`, "", ""},
		"one slash":           {`<a href="https:/x.example">`, "", "!malformed"},
		"no host":             {`<a href="https:///x">`, "", "!no_host"},
		"port only":           {`<a href="https://:80/">`, "", "!no_host"},
		"user":                {`<a href="https://bank.example@evil.example/">`, "", "!userinfo"},
		"backslash":           {`<a href="https://x.example\@evil.example/">`, "", "!backslash"},
		"control":             {`<a href="https://x.example/&#10;Set-Cookie: a">`, "", "!control_character"},
		"tab inside":          {"<a href=\"ht\ttps://x.example/\">", "", "!control_character"},
		"C1 control":          {"<a href=\"https://x.example/\u0085\">", "", "!control_character"},
		"line separator":      {"<a href=\"https://x.example/&#x2028;\">", "", "!control_character"},
		"NUL in the tag":      {"<a title=\x00 href=\"https://x.example/\">", "", ""},
		"own click":           {`<a href="HTTP://Track.Example.com/c/AbC">`, "", "!own_link"},
		"own pixel":           {`<a href="https://track.example.com/o/AbC.gif">`, "", "!own_link"},
		"own site":            {`<a href="https://track.example.com/company">`, `<a href="` + link1 + `">`, "https://track.example.com/company"},
		"not own":             {`<a href="https://track.example.com.evil.example/c/x">`, `<a href="` + link1 + `">`, "https://track.example.com.evil.example/c/x"},
		"unsubscribe":         {`<a href=" https://x.example/leave?a=1&amp;b=2">`, "", "!unsubscribe"},
		"nearly unsubscribe":  {`<a href="https://x.example/leave?a=1&b=2#">`, `<a href="` + link1 + `">`, "https://x.example/leave?a=1&b=2#"},
		"marked":              {`<a href="https://x.example/" data-no-track>`, `<a href="https://x.example/">`, "!marked"},
		"marked first":        {`<a DATA-NO-TRACK="1" href="https://x.example/">`, `<a href="https://x.example/">`, "!marked"},
		"marked by name":      {`<a href="https://x.example/" clicktracking="OFF" id=x>`, `<a href="https://x.example/" id=x>`, "!marked"},
		"marked on":           {`<a href="https://x.example/" clicktracking=on>`, `<a href="` + link1 + `" clicktracking=on>`, "https://x.example/"},
		"marked twice":        {`<a data-no-track clicktracking=off data-no-track=2 href="https://x.example/">`, `<a href="https://x.example/">`, "!marked"},
		"marked, no space":    {`<a data-no-track=""href="https://x.example/">`, `<a href="https://x.example/">`, "!marked"},
		"marked before slash": {`<a href=https://x.example data-no-track/>`, `<a href=https://x.example />`, "!marked"},
		"marked between":      {`<a x data-no-track ="" =y href="https://x.example/">`, "", "!marked"},
		"marked without link": {`<a data-no-track name=x>`, `<a name=x>`, ""},
		"marker elsewhere":    {`<p data-no-track>`, "", ""},
		"link element":        {`<link href="https://x.example/">`, "", ""},
		"abbreviation":        {`<abbr href="https://x.example/">`, "", ""},
		"comment":             {`<!-- <a href="https://x.example/"> -->`, "", ""},
		"conditional":         {`<!--[if mso]><a href="https://x.example/"><![endif]-->`, "", ""},
		"revealed":            {`<!--[if !mso]><!--><a href="https://x.example/"><!--<![endif]-->`, `<!--[if !mso]><!--><a href="` + link1 + `"><!--<![endif]-->`, "https://x.example/"},
		"script":              {`<script>"<a href='https://x.example/'>"</script>`, "", ""},
		"style":               {`<style><a href="https://x.example/"></style>`, "", ""},
		"textarea":            {`<textarea><a href="https://x.example/"></textarea>`, "", ""},
		"end tag":             {`</a href="https://x.example/">`, "", ""},
		"long raw text tag":   {`<title x="` + strings.Repeat("y", 600) + `"><a href="https://x.example/"></title>`, "", ""},
		"behind a long tag":   {`<p x="` + strings.Repeat("y", 600) + `"><a href="https://x.example/">`, `<p x="` + strings.Repeat("y", 600) + `"><a href="` + link1 + `">`, "https://x.example/"},
		"cut off":             {`<a href="https://x.example/"`, "", ""},
		"text":                {`a < b & href="https://x.example/" &amp; </`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			tpl := parse(t, test.in, follow.Options{Pixel: follow.PixelTop, Unsubscribe: []string{"https://x.example/leave?a=1&b=2"}})
			checkReversible(t, test.in, tpl)
			found := ""
			for _, target := range tpl.Targets() {
				found += target
			}
			for _, u := range tpl.Untracked() {
				found += "!" + u.Reason
			}
			if found != test.found {
				t.Errorf("found %q, want %q", found, test.found)
			}
			want := test.out
			if want == "" {
				want = test.in
			}
			if got := strings.Replace(render(tpl), pixel, "", 1); got != want {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
		})
	}
}

func TestOrdinals(t *testing.T) {
	tpl := parse(t, `<a href="http://b.example">1</a><a href="#">-</a><a href="http://a.example">2</a><a href="http://b.example">3</a>`, follow.Options{})
	if got := strings.Join(tpl.Targets(), " "); got != "http://b.example http://a.example http://b.example" {
		t.Errorf("targets %s", got)
	}
	if got := render(tpl); !strings.Contains(got, `/c/link-2">2<`) || !strings.Contains(got, `/c/link-3">3<`) {
		t.Error(got)
	}
}

func TestPixelPlaces(t *testing.T) {
	for name, test := range map[string]struct{ in, top, bottom string }{
		"document":                 {"<html><head></head><body class=x>a</body></html>", "<html><head></head><body class=x>|a</body></html>", "<html><head></head><body class=x>a|</body></html>"},
		"no body":                  {"<!doctype html><html><head></head>a</html>\n", "<!doctype html><html><head></head>|a</html>\n", "<!doctype html><html><head></head>a|</html>\n"},
		"no head":                  {"<!doctype html><html>a", "<!doctype html><html>|a", "<!doctype html><html>a|"},
		"doctype only":             {"<!doctype html>a", "<!doctype html>|a", "<!doctype html>a|"},
		"fragment":                 {"<p>a", "|<p>a", "<p>a|"},
		"empty":                    {"", "|", "|"},
		"byte order mark":          {"\ufeff<p>a", "\ufeff|<p>a", "\ufeff<p>a|"},
		"body in comment":          {"<!--<body>-->a<!--</body>-->", "|<!--<body>-->a<!--</body>-->", "<!--<body>-->a<!--</body>-->|"},
		"quoted mail":              {"<body>a<body>b</body>c</body>", "<body>|a<body>b</body>c</body>", "<body>a<body>b</body>c|</body>"},
		"open comment":             {"<p>a<!-- b>", "|<p>a<!-- b>", "<p>a|<!-- b>"},
		"open script":              {"<p>a<script>b", "|<p>a<script>b", "<p>a|<script>b"},
		"open textarea":            {"<p>a<textarea>b</title>", "|<p>a<textarea>b</title>", "<p>a|<textarea>b</title>"},
		"closed title, open style": {"<title>a</title>b<style>", "|<title>a</title>b<style>", "<title>a</title>b|<style>"},
		"cut-off tag":              {"<p>a<b class='", "|<p>a<b class='", "<p>a|<b class='"},
		"cut-off end tag":          {"a</", "|a</", "a|</"},
		"cut-off markup":           {"a<", "|a<", "a|<"},
		"cut-off doctype":          {"<!doctype", "|<!doctype", "|<!doctype"},
		"text with a slash":        {"a/", "|a/", "a/|"},
	} {
		t.Run(name, func(t *testing.T) {
			for place, want := range map[follow.Pixel]string{follow.PixelTop: test.top, follow.PixelBottom: test.bottom, follow.PixelAuto: test.bottom} {
				got := strings.Replace(render(parse(t, test.in, follow.Options{Pixel: place})), pixel, "|", 1)
				if got != want {
					t.Errorf("place %d: %q, want %q", place, got, want)
				}
			}
		})
	}
	long := "<body>" + strings.Repeat("x", 100_000)
	if got := render(parse(t, long, follow.Options{})); !strings.HasPrefix(got, "<body>"+pixel) {
		t.Error("the pixel of a message that gets clipped is not at its top")
	}
}
