package follow_test

import (
	"errors"
	"fmt"
	stdhtml "html"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"mailwake/engine/problem"
	"mailwake/ingest/follow"
	"mailwake/ingest/token"
)

func newRing(t testing.TB) *token.Ring {
	t.Helper()
	ring, err := token.NewRing(time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// piece is a token of a message; text that nothing parts is one piece.
type piece struct {
	raw, name string // name of a start tag
	attr      []html.Attribute
}

func pieces(in string) []piece {
	var all []piece
	z := html.NewTokenizer(strings.NewReader(in))
	at := 0
	text := false
	for {
		tt := z.Next()
		end := at + len(z.Raw())
		if tt == html.ErrorToken {
			end = len(in) // with a tag that the end cuts off
			tt = html.TextToken
		}
		p := piece{raw: in[at:end]}
		if tt == html.StartTagToken || tt == html.SelfClosingTagToken {
			tag := z.Token()
			p.name, p.attr = tag.Data, tag.Attr
		}
		if tt == html.TextToken && text {
			all[len(all)-1].raw += p.raw
		} else {
			all = append(all, p)
		}
		text = tt == html.TextToken
		if at = end; at == len(in) {
			return all
		}
	}
}

// withoutPixel takes the image out and joins the text it parted.
func withoutPixel(t testing.TB, all []piece, raw string) []piece {
	t.Helper()
	i := slices.IndexFunc(all, func(p piece) bool { return p.raw == raw })
	if i < 0 {
		t.Fatalf("a mail client does not see the pixel in %q", all)
	}
	joined := slices.Delete(all, i, i+1)
	if i > 0 && i < len(joined) && isText(joined[i-1]) && isText(joined[i]) {
		joined[i-1].raw += joined[i].raw
		joined = slices.Delete(joined, i, i+1)
	}
	return slices.DeleteFunc(joined, func(p piece) bool { return p.raw == "" })
}

// isText reports whether the tokenizer, asked again, takes all of p for text or
// for a tag that never ends.
func isText(p piece) bool {
	if p.name != "" {
		return false
	}
	z := html.NewTokenizer(strings.NewReader(p.raw))
	tt := z.Next()
	return tt == html.TextToken || tt == html.ErrorToken
}

// checkReversible holds tpl to the invariant of the package: the copy is in but
// for hrefs, markers and the pixel, and every changed href opens to the target
// that a mail client would read in the original.
func checkReversible(t testing.TB, in string, tpl *follow.Template) {
	t.Helper()
	ring := newRing(t)
	pixelURL := baseURL + "/o/" + string(ring.Seal(nil, token.KindOpen, token.Claims{Org: 1})) + ".gif"
	out := string(tpl.Render([]byte("before"), follow.Copy{Link: func(dst []byte, ordinal int32, target string) []byte {
		dst = append(dst, baseURL+"/c/"...)
		return ring.Seal(dst, token.KindClick, token.Claims{Org: 1, Email: 2, Recipient: 3, Component: ordinal, Target: target})
	}, Pixel: pixelURL}))
	out, ok := strings.CutPrefix(out, "before")
	if !ok || len(out) > tpl.SizeBound(base(t)) {
		t.Fatalf("Render does not append, or %d bytes are over the bound of %d", len(out), tpl.SizeBound(base(t)))
	}
	want := slices.DeleteFunc(pieces(in), func(p piece) bool { return p.raw == "" })
	got := withoutPixel(t, pieces(out), strings.Replace(pixel, baseURL+"/o/pixel.gif", pixelURL, 1))
	if len(got) != len(want) {
		t.Fatalf("%d pieces became %d\n in %q\nout %q", len(want), len(got), in, out)
	}
	ordinal := int32(0)
	for i, w := range want {
		if got[i].raw != w.raw {
			checkTag(t, ring, w, got[i], &ordinal)
		}
	}
	if int(ordinal) != len(tpl.Targets()) {
		t.Fatalf("%d links changed, %d targets", ordinal, len(tpl.Targets()))
	}
}

// checkTag compares a changed tag with its original.
func checkTag(t testing.TB, ring *token.Ring, in, out piece, ordinal *int32) {
	t.Helper()
	if (in.name != "a" && in.name != "area") || out.name != in.name {
		t.Fatalf("%q became %q", in.raw, out.raw)
	}
	attr := slices.DeleteFunc(slices.Clone(in.attr), func(a html.Attribute) bool {
		return a.Key == "data-no-track" || (a.Key == "clicktracking" && strings.EqualFold(strings.Trim(a.Val, " \t\n\f\r"), "off"))
	})
	marked := len(attr) != len(in.attr)
	if len(attr) != len(out.attr) {
		t.Fatalf("%q became %q", in.raw, out.raw)
	}
	for i, a := range attr {
		if out.attr[i] == a {
			continue
		}
		if marked || a.Key != "href" || out.attr[i].Key != "href" {
			t.Fatalf("%q became %q", in.raw, out.raw)
		}
		*ordinal++
		checkLink(t, ring, in.raw, out.raw, a.Val, out.attr[i].Val, *ordinal)
	}
}

func checkLink(t testing.TB, ring *token.Ring, in, out, original, link string, ordinal int32) {
	t.Helper()
	want := token.Claims{Org: 1, Email: 2, Recipient: 3, Component: ordinal, Target: strings.Trim(original, " \t\n\f\r")}
	var got token.Claims
	text, ok := strings.CutPrefix(link, baseURL+"/c/")
	if err := ring.Open(token.KindClick, []byte(text), &got); !ok || err != nil || got != want {
		t.Fatalf("%q opens to %+v, %v; want %+v", link, got, err, want)
	}
	head, tail, _ := strings.Cut(out, link)
	if !strings.HasPrefix(in, head) || !strings.HasSuffix(in, tail) || len(head)+len(tail) > len(in) {
		t.Fatalf("%q became %q", in, out)
	}
}

func FuzzInstrument(f *testing.F) {
	mails, err := filepath.Glob("../../cmd/mailwake/demo/*.html")
	if err != nil || len(mails) == 0 {
		f.Fatal(mails, err)
	}
	for _, path := range mails {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), byte(follow.PixelTop))
	}
	for _, in := range []string{
		"", "<", "</", "<a", "<a href", "<a href=", "<a href=\"http://x", "<a/data-no-track/href=http://x/>", "<!--<a href=http://x>--!><a href=http://x>",
		"<title><a href=http://x>", "<a data-no-track =a href='http://x' data-no-track>", "\ufeff<!doctype html><html><head></head><body>x</body></html>",
		"<a clicktracking=' OFF' href=http://x>", "<plaintext><a href=http://x>", "<svg><a href='http://x'/></svg>", "<a href='http://x&#0;'>", "<a\x00href=http://x>",
		"<a href=http://x&amp>", "<script><!--<script></script><a href=http://x>--></script>", "<a" + strings.Repeat(" x", 400) + " href=http://x><title><b>", "<?x <a href=http://x>",
		"<!--!>", "<!---!>", "<!-->", "<!--->", "<!---->",
	} {
		f.Add(in, byte(follow.PixelBottom))
	}
	f.Fuzz(func(t *testing.T, in string, place byte) {
		tpl, err := follow.Parse(in, follow.Options{Pixel: follow.Pixel(place % 3), Base: base(t)})
		if err != nil {
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Status/100 != 4 {
				t.Fatalf("Parse = %v", err)
			}
			return
		}
		checkReversible(t, in, tpl)
	})
}

// Random unpleasant URLs, quoted in every way, come back byte for byte.
func TestNastyURLs(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	parts := []string{"&", "&amp;", "&#38;", "%26", "%", "%zz", "+", "[", "]", "(", ")", "{", "}", "'", "\"", "<", ">", "=", "?", "#", ";", ",", " ", "~", "|", "^", "`", "$", "!", "*", "@", ":", "/",
		"ü", "日本", "🙂", "a", "1", "&copy", "&lt", "&notin;", "&unknown;", "&#x41;", "utm_source=x", "%E2%82%AC", "-", "_", ".", "..", "//", "http://y.example", "=3D", "\u00a0", "\u200d"}
	for range 3000 {
		var target strings.Builder
		target.WriteString([]string{"http", "https", "HTTPS", "hTTp"}[rng.IntN(4)] + "://" + []string{"x.example", "bücher.example", "[::1]:8", "xn--bcher-kva.example", "x.example."}[rng.IntN(5)])
		target.WriteString([]string{"/", "?", "#"}[rng.IntN(3)])
		for range rng.IntN(20) {
			target.WriteString(parts[rng.IntN(len(parts))])
		}
		url := strings.TrimRight(target.String(), " ") // white space at the end is not part of a URL
		value := stdhtml.EscapeString(url)
		quote := []string{`"`, `'`, ""}[rng.IntN(3)]
		if quote == "" {
			value = strings.ReplaceAll(value, " ", "&#32;")
		} else if rng.IntN(2) == 0 {
			value = " " + value + "\n"
		}
		in := fmt.Sprintf("<p><a class=x href=%s%s%s>%s</a>", quote, value, quote, stdhtml.EscapeString(url))
		tpl := parse(t, in, follow.Options{})
		if got := tpl.Targets(); len(got) != 1 || got[0] != url {
			t.Fatalf("%q\ngives %q\n want %q", in, got, url)
		}
		checkReversible(t, in, tpl)
	}
}

func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("../../cmd/mailwake/demo/newsletter.html")
	if err != nil {
		b.Fatal(err)
	}
	opts := follow.Options{Base: base(b)}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := follow.Parse(string(text), opts); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	text, err := os.ReadFile("../../cmd/mailwake/demo/newsletter.html")
	if err != nil {
		b.Fatal(err)
	}
	tpl, ring := parse(b, string(text), follow.Options{}), newRing(b)
	var buf []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		buf = tpl.Render(buf[:0], follow.Copy{Link: func(dst []byte, ordinal int32, target string) []byte {
			return ring.Seal(append(dst, baseURL+"/c/"...), token.KindClick, token.Claims{Org: 1, Email: 2, Recipient: 3, Component: ordinal, Target: target})
		}, Pixel: baseURL + "/o/x.gif"})
	}
}
