package message_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mailwake/engine/problem"
	"mailwake/ingest/message"
)

func parse(t testing.TB, raw string) *message.Message {
	t.Helper()
	m, err := message.Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mails(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../follow/testdata/mail/*.eml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d mails, %v", len(files), err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(text)
	}
	return all
}

// TestCopyWithoutChanges holds the package's invariant, also through the text
// machinery with nothing to replace.
func TestCopyWithoutChanges(t *testing.T) {
	for name, raw := range mails(t) {
		m := parse(t, raw)
		want := strings.Replace(raw, "Bcc: Boss <boss@acme.example>\r\n", "", 1)
		if got := string(m.AppendCopy(nil, message.Copy{})); got != want {
			t.Errorf("%s became\n%s", name, got)
		}
		if got := string(m.AppendCopy([]byte("x"), message.Copy{})); got != "x"+want {
			t.Errorf("%s: AppendCopy does not append", name)
		}
	}
}

// TestReplace replaces random stretches of quoted-printable, base64 and 8bit texts
// and reads them back with the standard library.
func TestReplace(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		text := randomText(rng)
		raw, head := encodeAs(rng, text)
		m := parse(t, raw)
		parts, _ := m.HTML()
		content, ok := m.Text(parts[0])
		if !ok || content.UTF8 != text {
			t.Fatalf("seed %d: read %q, want %q", seed, content.UTF8, text)
		}
		var bounds []int
		var with [][]byte
		want, from := "", 0
		for at := 0; at <= len(text); {
			start := at + rng.IntN(200)
			end := start + rng.IntN(2)*rng.IntN(100)
			for start < len(text) && !utf8.RuneStart(text[start]) {
				start++
			}
			for end < len(text) && !utf8.RuneStart(text[end]) {
				end++
			}
			if end < start || end > len(text) || strings.Contains(text[max(0, start-1):min(len(text), end+1)], "\r") {
				at = max(at, end) + 1
				continue
			}
			w := strings.Repeat("https://x.example/?a=b", rng.IntN(12))
			bounds, with = append(bounds, start, end), append(with, []byte(w))
			want, from, at = want+text[from:start]+w, end, end+1
		}
		want += text[from:]
		out := string(m.AppendCopy(nil, message.Copy{Bodies: []message.Replaced{{Body: content.At(bounds), With: with}}}))
		got := decodeMail(t, out)
		if got != want {
			t.Fatalf("seed %d (%s): copy says\n%q\nwant\n%q\nraw %q", seed, head, got, want, out)
		}
		for line := range strings.SplitSeq(out, "\r\n") {
			if limit := 998; len(line) > limit || head == "quoted-printable" && len(line) > 76 {
				t.Fatalf("seed %d (%s): a line of %d bytes", seed, head, len(line))
			}
		}
	}
}

func randomText(rng *rand.Rand) string {
	var b strings.Builder
	words := []string{"a", "word", "<b>", "größer", "=", "==", "=3D", " ", "  ", "\t", "\r\n", "\r\n", "日本", ".", "From ", "<a href=\"x\">", strings.Repeat("y", 70), "-- "}
	for range rng.IntN(120) {
		b.WriteString(words[rng.IntN(len(words))])
	}
	return b.String()
}

func encodeAs(rng *rand.Rand, text string) (raw, encoding string) {
	encoding = []string{"quoted-printable", "base64", "8bit"}[rng.IntN(3)]
	body := text
	switch encoding {
	case "quoted-printable":
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		io.WriteString(w, text)
		w.Close()
		body = b.String()
	case "base64":
		body = base64Lines(text)
	}
	return "From: a@b.example\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body, encoding
}

// TestQuotedPrintableKeepsOtherLines looks at bytes: only the lines with a change
// differ.
func TestQuotedPrintableKeepsOtherLines(t *testing.T) {
	raw := "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"unusual =c3=bc lower case, =\r\nsoft=20\r\n<a href=3D\"https://x.exa=\r\nmple/\">x</a>  \r\nlast=\r\n"
	m := parse(t, raw)
	parts, _ := m.HTML()
	text, _ := m.Text(parts[0])
	start := strings.Index(text.UTF8, "https")
	end := start + len("https://x.example/")
	got := string(m.AppendCopy(nil, message.Copy{Bodies: []message.Replaced{{Body: text.At([]int{start, end}), With: [][]byte{[]byte("http://t.example/c/1")}}}}))
	want := strings.Replace(raw, "https://x.exa=\r\nmple/\">x</a>  \r\n", "http://t.example/c/1\">x</a>\r\n", 1)
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestCharsets(t *testing.T) {
	for name, test := range map[string]struct {
		charset, body string
		text          string
		opaque        bool
		out           string // with the first "<" replaced by "[]"
		header        string // what the copy's header must say
	}{
		"none, utf-8":    {"", "ü<a>", "ü<a>", false, "ü[]a>", ""},
		"none, other":    {"", "\xfc<a>", "ü<a>", true, "\xfc[]a>", ""},
		"ascii lied":     {"us-ascii", "\xfc\x81<a>", "ü\u0081<a>", true, "\xfc\x81[]a>", "us-ascii"},
		"latin-1":        {"iso-8859-1", "\xfc<a>", "ü<a>", false, "\xfc[]a>", "iso-8859-1"},
		"koi8-r":         {"koi8-r", "\xd0\xd2\xd7\xc5\xd4<a>", "првет<a>", false, "\xd0\xd2\xd7\xc5\xd4[]a>", "koi8-r"},
		"unknown":        {"x-none", "\xfc<a>", "ü<a>", true, "\xfc[]a>", "x-none"},
		"utf-8 lied":     {"utf-8", "\xfc<a>", "ü<a>", true, "\xfc[]a>", "utf-8"},
		"iso-2022-jp":    {"iso-2022-jp", "\x1b$B$3\x1b(B<a>", "こ<a>", false, "\x1b$B$3\x1b(B[]a>", "iso-2022-jp"},
		"jp, open state": {"iso-2022-jp", "a<b\x1b$B$3", "a<bこ", false, "a[]b=E3=81=93", "utf-8"},
		"jp, broken":     {"iso-2022-jp", "<\x1b$B\xff\xff\x1b(B", "", false, "", "utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			header := "Content-Type: text/html"
			if test.charset != "" {
				header += "; charset=" + test.charset
			}
			m := parse(t, header+"\r\n\r\n"+test.body)
			parts, _ := m.HTML()
			text, ok := m.Text(parts[0])
			if !ok || text.Opaque != test.opaque || test.text != "" && text.UTF8 != test.text {
				t.Fatalf("%q, opaque %v, %v", text.UTF8, text.Opaque, ok)
			}
			at := strings.IndexByte(text.UTF8, '<')
			got := string(m.AppendCopy(nil, message.Copy{Bodies: []message.Replaced{{Body: text.At([]int{at, at + 1}), With: [][]byte{[]byte("[]")}}}}))
			head, body, _ := strings.Cut(got, "\r\n\r\n")
			if test.out != "" && body != test.out || !strings.Contains(head, test.header) {
				t.Errorf("copy %q, want body %q", got, test.out)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	deep := ""
	for i := range 50 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for name, test := range map[string]struct {
		raw, code string
	}{
		"empty":      {"", "message_invalid"},
		"no header":  {"\r\nHello", "message_invalid"},
		"html":       {"<html><body>Hello</body></html>", "message_invalid"},
		"size":       {"Subject: x\r\n\r\n" + strings.Repeat("x", message.MaxBytes), "message_too_large"},
		"depth":      {deep, "message_too_complex"},
		"parts":      {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 1000), "message_too_complex"},
		"empty ones": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n", 100_000), "message_too_complex"},
		"header":     {"Subject: " + strings.Repeat("x", 300<<10) + "\r\n\r\n", "message_too_complex"},
		"folded":     {"Subject: x\r\n" + strings.Repeat(" x\r\n", 100_000), "message_too_complex"},
		"fields":     {strings.Repeat("A: b\r\n", 5000) + "\r\n", "message_too_complex"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := message.Parse([]byte(test.raw))
			if problem.Of(err).Code != test.code {
				t.Errorf("%v, want %s", err, test.code)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	// What only looks like a delimiter costs no more than a look.
	began := time.Now()
	parse(t, "Content-Type: multipart/mixed; boundary=----\r\n\r\n"+strings.Repeat("-", 20<<20))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a long row of dashes took %v", took)
	}
}

func TestCompose(t *testing.T) {
	m, err := message.Compose(message.Draft{
		From: "Jörg Ößler <joerg@acme.example>", Subject: strings.Repeat("Überraschung ", 20) + strings.Repeat("x", 300), Date: time.Unix(0, 0).UTC(),
		ListUnsubscribe: []string{"https://x.example/leave", "<mailto:leave@x.example>"}, Text: "Hallo\nWelt ", HTML: "<p>Hällo</p>\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	out := m.AppendCopy(nil, message.Copy{MessageID: "<a@b.example>", Header: []string{"To: <x@y.example>"}, Files: []message.File{m.File("ä\"ß.pdf", "application/pdf", []byte("PDF"))}})
	back, err := mail.ReadMessage(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	from, err := back.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != "Jörg Ößler" || from[0].Address != "joerg@acme.example" {
		t.Errorf("From %v, %v", from, err)
	}
	again := parse(t, string(out))
	if got := again.Field("Subject"); got != strings.Repeat("Überraschung ", 20)+strings.Repeat("x", 300) {
		t.Errorf("Subject %q", got)
	}
	if got := back.Header.Get("List-Unsubscribe"); got != "<https://x.example/leave>, <mailto:leave@x.example>" {
		t.Errorf("List-Unsubscribe %q", got)
	}
	if back.Header.Get("To") != "<x@y.example>" || back.Header.Get("Message-ID") != "<a@b.example>" || back.Header.Get("Mime-Version") != "1.0" {
		t.Errorf("header %v", back.Header)
	}
	for line := range strings.SplitSeq(string(out), "\r\n") {
		if len(line) > 78 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
}

func TestComposeRefuses(t *testing.T) {
	good := message.Draft{From: "ann@acme.example", Subject: "x", Text: "x"}
	for code, d := range map[string][]message.Draft{
		"sender_invalid":           {{From: "a"}, {From: "a@b.example\r\nBcc: x@y.example"}, {From: "a@b.example, c@d.example"}, {From: "\"a\nb\" <a@b.example>"}},
		"subject_invalid":          {{From: good.From, Subject: "x\r\nBcc: y@z.example"}, {From: good.From, Subject: "\u2028"}, {From: good.From, Subject: "\xff"}},
		"list_unsubscribe_invalid": {{From: good.From, ListUnsubscribe: []string{"<x>\r\nBcc: y"}}, {From: good.From, ListUnsubscribe: []string{strings.Repeat("x", 999)}}},
	} {
		for _, draft := range d {
			if _, err := message.Compose(draft); problem.Of(err).Code != code {
				t.Errorf("%+v: %v, want %s", draft, err, code)
			}
		}
	}
}
