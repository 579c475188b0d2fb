package reply

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/text/encoding/htmlindex"

	"mailwake/engine/problem"
)

func read(t *testing.T, text string) *Message {
	t.Helper()
	m, err := Read(strings.NewReader(text), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRead(t *testing.T) {
	m := read(t, "From someone Thu Jan  1 00:00:00 2026\r\n"+
		"Received: from x by y;\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n"+
		"FROM: =?iso-8859-1?Q?J=F6rg_K=FCster?= <joerg@example.com>, other@example.com\r\n"+
		"subject: =?utf-8?B?UmU6IEFuZ2Vib3Q=?=\r\n =?utf-8?Q?_f=C3=BCr_Sie?=\r\n"+
		"Date: Thu, 01 Jan 2026 10:00:00 +0100 (CET)\r\n"+
		"Message-ID: <own@example.com>\r\n"+
		"In-Reply-To: <parent@example.com> (a comment)\r\n"+
		"References: <root@example.com>\r\n <grand@example.com> <par\r\n ent@example.com>\r\n"+
		"To: \"Plus + sign\" <r+"+strings.Repeat("A", 46)+"@example.com>, x+short@example.com\r\n"+
		"Delivered-To: r+"+strings.Repeat("B", 46)+"@example.com\r\n"+
		"\r\nIn-Reply-To: <body@example.com>\r\n")
	if m.from != "joerg@example.com" || m.subject != "Re: Angebot für Sie" || m.id != "own@example.com" || m.automatic != "" {
		t.Errorf("%+v", m)
	}
	if want := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC); !m.date.Equal(want) {
		t.Errorf("date %v", m.date)
	}
	if want := []parent{{"parent@example.com", ByInReplyTo}, {"grand@example.com", ByReferences}, {"root@example.com", ByReferences}}; !slices.Equal(m.parents, want) {
		t.Errorf("parents %v", m.parents)
	}
	if want := []string{strings.Repeat("A", 46), strings.Repeat("B", 46)}; !slices.Equal(m.tokens, want) {
		t.Errorf("tokens %v", m.tokens)
	}
}

// Mails that break the grammar as real ones do.
func TestReadTolerates(t *testing.T) {
	for name, text := range map[string]string{
		"bare line feeds":        "Subject: a\nIn-Reply-To: <p@x>\n\nbody",
		"mixed line ends":        "Subject: a\r\nIn-Reply-To: <p@x>\n\r\nbody",
		"no body":                "Subject: a\r\nIn-Reply-To: <p@x>",
		"line without a colon":   "Subject: a\r\nnonsense\r\nIn-Reply-To: <p@x>\r\n\r\n",
		"line with a colon":      ": odd\r\nIn-Reply-To: <p@x>\r\n\r\n",
		"space before a colon":   "In-Reply-To : <p@x>\r\n\r\n",
		"bytes that are no text": "X-Odd: \xff\xfe\x00\r\nIn-Reply-To: <p@x>\r\n\r\n",
		"name that is none":      "X\x80Y: a\r\nIn-Reply-To: <p@x>\r\n\r\n",
		"no angle brackets":      "In-Reply-To: p@x\r\n\r\n",
		"folded at the start":    "In-Reply-To:\r\n <p@x>\r\n\r\n",
		"twice":                  "In-Reply-To: <p@x>\r\nIn-Reply-To: <p@x>\r\n\r\n",
		"open bracket":           "In-Reply-To: <p@x> <q@x\r\n\r\n",
	} {
		if m := read(t, text); len(m.parents) != 1 || m.parents[0].id != "p@x" {
			t.Errorf("%s: %+v", name, m.parents)
		}
	}
}

// The subject arrives whatever charset it is written in, encoded twice over.
func TestCharsets(t *testing.T) {
	for charset, text := range map[string]string{
		"utf-8": "Re: Grüße 🙂", "iso-8859-1": "Re: Grüße", "iso-8859-15": "Re: 5 €", "windows-1252": "Re: “Grüße”", "koi8-r": "Re: Привет",
		"windows-1251": "Re: Привет", "shift_jis": "Re: こんにちは", "iso-2022-jp": "Re: こんにちは", "euc-jp": "Re: こんにちは", "gb2312": "Re: 你好",
		"gb18030": "Re: 你好", "big5": "Re: 你好", "euc-kr": "Re: 안녕", "windows-1256": "Re: مرحبا",
	} {
		e, err := htmlindex.Get(charset)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := e.NewEncoder().String(text)
		if err != nil {
			t.Fatal(err)
		}
		for what, word := range map[string]string{
			"B": "=?" + charset + "?B?" + base64.StdEncoding.EncodeToString([]byte(raw)) + "?=", "Q": mime.QEncoding.Encode(charset, raw),
		} {
			if m := read(t, "Subject: "+word+"\r\n\r\n"); m.subject != text {
				t.Errorf("%s %s: %q, want %q", charset, what, m.subject, text)
			}
		}
	}
	for _, odd := range []string{"=?nonsense?B?QUJD?=", "=?utf-8?B?***?=", "=?utf-8?X?abc?=", "=?utf-8?Q?=", "\xff\xfe"} {
		read(t, "Subject: "+odd+"\r\n\r\n")
	}
}

func TestAutomatic(t *testing.T) {
	for _, tc := range []struct{ header, want string }{
		{"Subject: Re: hello", ""},
		{"Auto-Submitted: no", ""},
		{"Auto-Submitted: No (says a person)", ""},
		{"Auto-Submitted: auto-replied", ReasonAutoSubmitted},
		{"auto-submitted: AUTO-GENERATED; owner-email=\"a@b\"", ReasonAutoSubmitted},
		{"Auto-Submitted: auto-notified", ReasonAutoSubmitted},
		{"Auto-Submitted: something-new", ReasonAutoSubmitted},
		{"Precedence: bulk", ReasonPrecedence},
		{"Precedence: Auto_Reply", ReasonPrecedence},
		{"Precedence: junk", ReasonPrecedence},
		{"Precedence: list", ""},
		{"Precedence: first-class", ""},
		{"X-Autoreply: yes", ReasonAutoReply},
		{"X-AutoReply: no", ""},
		{"X-Autorespond:", ReasonAutoReply},
		{"X-Autorespond: Re: hello", ReasonAutoReply},
		{"Return-Path: <>", ReasonNullReturnPath},
		{"Return-Path: <a@example.com>", ""},
		{"Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"", ReasonDeliveryReport},
		{"Content-Type: multipart/report; boundary=a=b=c; report-type=\"delivery-status\"", ReasonDeliveryReport},
		{"Content-Type: Multipart/Report;\r\n report-type=disposition-notification;\r\n boundary=x", ReasonReceipt},
		{"Content-Type: multipart/report; report-type=feedback-report; boundary=x", ReasonAutomaticReport},
		{"Content-Type: multipart/mixed; boundary=x", ""},
		{"Content-Type: text/plain; charset=utf-8", ""},
		{"X-Body: x\r\n\r\nAuto-Submitted: auto-replied", ""},
	} {
		if m := read(t, tc.header+"\r\n\r\nbody"); m.automatic != tc.want {
			t.Errorf("%s: %q, want %q", tc.header, m.automatic, tc.want)
		}
	}
	if m, err := Read(strings.NewReader("Subject: x\r\n\r\n"), nil, true); err != nil || m.automatic != ReasonNullReturnPath {
		t.Errorf("null sender: %+v, %v", m, err)
	}
}

func TestSubjects(t *testing.T) {
	for _, tc := range []struct {
		subject, want string
		marked        bool
	}{
		{"Re: Offer", "offer", true}, {"RE:Offer", "offer", true}, {"AW: Re: Offer", "offer", true}, {"Antw.: Offer", "antw.: offer", false},
		{"Re[3]: Offer", "offer", true}, {"Re (2) : Offer", "offer", true}, {"RE : Offer", "offer", true}, {"[EXT] Re: [list] Offer", "offer", true},
		{"SV: Offer", "offer", true}, {"R: Offer", "offer", true}, {"回复：Offer", "offer", true}, {"Rép : Offer", "offer", true},
		{"Offer", "offer", false}, {"Fwd: Offer", "fwd: offer", false}, {"Re: Fwd: Offer", "fwd: offer", true}, {"WG: Offer", "wg: offer", false},
		{"Re: Offer:  two\tthings", "offer: two things", true}, {"Re: STRASSE", "strasse", true}, {"Re: Straße", "strasse", true},
		{"Re:", "", true}, {"", "", false}, {"[only]", "[only]", false}, {"Regarding: x", "regarding: x", false}, {strings.Repeat("Re: ", 900) + "x", "x", true},
	} {
		if got, marked := answered(tc.subject); got != tc.want || marked != tc.marked {
			t.Errorf("%.40q: %q, %v; want %q, %v", tc.subject, got, marked, tc.want, tc.marked)
		}
	}
}

func TestIdentity(t *testing.T) {
	base := "From: a@x\r\nSubject: s\r\nDate: Thu, 01 Jan 2026 10:00:00 +0000\r\nIn-Reply-To: <p@x>\r\n"
	same := read(t, base+"\r\nbody").id
	for name, text := range map[string]string{
		"another route": "Received: by y\r\n" + base + "\r\nother body", "empty id": base + "Message-ID:\r\n\r\n",
	} {
		if id := read(t, text).id; id != same {
			t.Errorf("%s: another identity", name)
		}
	}
	for name, text := range map[string]string{
		"author": strings.Replace(base, "a@x", "b@x", 1), "time": strings.Replace(base, "10:00", "10:01", 1),
		"subject": strings.Replace(base, "s\r", "t\r", 1), "parent": strings.Replace(base, "p@x", "q@x", 1), "id": base + "Message-ID: <i@x>\r\n",
	} {
		if id := read(t, text+"\r\n").id; id == same {
			t.Errorf("%s: the same identity", name)
		}
	}
}

// bomb nests multiparts to 10 MB.
func bomb() string {
	var b strings.Builder
	b.WriteString("From: a@x\r\nIn-Reply-To: <p@x>\r\n")
	for i := 0; b.Len() < 10<<20; i++ {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String()
}

// What is below the header costs no memory, whatever it is.
func TestBombs(t *testing.T) {
	many := "From: a@x\r\nIn-Reply-To: <p@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 10<<20/7)
	for name, text := range map[string]string{
		"nested": bomb(), "parts": many, "one line": "From: a@x\r\nIn-Reply-To: <p@x>\r\n\r\n" + strings.Repeat("x", 10<<20),
	} {
		var before, after runtime.MemStats
		in := strings.NewReader(text)
		runtime.ReadMemStats(&before)
		m, err := Read(in, nil, false)
		runtime.ReadMemStats(&after)
		if err != nil || len(m.parents) != 1 {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

func TestReadLimits(t *testing.T) {
	long := strings.Repeat("x", MaxHeader)
	for name, tc := range map[string]struct{ text, code string }{
		"header":            {"From: a@x\r\n" + strings.Repeat("X-A: "+strings.Repeat("y", 500)+"\r\n", 1000) + "\r\n", "header_too_large"},
		"one field":         {"X-A: " + long + "\r\n\r\n", "header_too_large"},
		"header unended":    {strings.Repeat("X-A: b\n", MaxHeader), "header_too_large"},
		"empty":             {"", "message_invalid"},
		"body only":         {"\r\nhello", "message_invalid"},
		"no fields":         {"hello world\r\n\r\n", "message_invalid"},
		"many ids":          {"References: " + strings.Repeat("<a@x> ", 40_000) + "\r\n\r\n", ""},
		"many other ids":    {"References: " + strings.Repeat("<", 100_000) + "\r\n\r\n", ""},
		"many addresses":    {"To: " + strings.Repeat("r+"+strings.Repeat("A", 46)+"@x, ", 4_000) + "\r\n\r\n", ""},
		"deep from":         {"From: " + strings.Repeat("(", 200_000) + "\r\n\r\n", ""},
		"from with words":   {"From: " + strings.Repeat("=?utf-8?Q?a?= ", 10_000) + "\r\n\r\n", ""},
		"many short fields": {strings.Repeat("a:\n", 80_000) + "\n", ""},
	} {
		started := time.Now()
		_, err := Read(strings.NewReader(tc.text), nil, false)
		if code := codeOf(err); code != tc.code {
			t.Errorf("%s: %q (%v), want %q", name, code, err, tc.code)
		}
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
	if m := read(t, "References: "+manyIDs()+"\r\n\r\n"); len(m.parents) != maxParents || m.parents[0].id != "199@x" {
		t.Errorf("%d parents from %s", len(m.parents), m.parents[0].id)
	}
}

func manyIDs() string {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, "<%d@x> ", i)
	}
	return b.String()
}

func codeOf(err error) string {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// endless is a body that would fill any memory.
type endless struct{ n int64 }

func (e *endless) Read(b []byte) (int, error) {
	e.n += int64(len(b))
	return copy(b, bytes.Repeat([]byte("x"), len(b))), nil
}

func TestMessageLimit(t *testing.T) {
	head := "From: a@x\r\n\r\n"
	body := new(endless)
	if _, err := Read(io.MultiReader(strings.NewReader(head), body), nil, false); codeOf(err) != "message_too_large" || body.n > MaxMessage+1<<20 {
		t.Errorf("after %d bytes: %v", body.n, err)
	}
	full := io.MultiReader(strings.NewReader(head), io.LimitReader(new(endless), MaxMessage-int64(len(head))))
	if _, err := Read(full, nil, false); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	// A connection that breaks is no message, wherever it does.
	broken := errors.New("broken")
	for _, text := range []string{"", "From: a@x\r\n", head, head + "body"} {
		if _, err := Read(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), nil, false); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", text, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("From: a@x\r\nIn-Reply-To: <p@x>\r\nSubject: =?utf-8?Q?Re:?=\r\n\r\nbody"))
	f.Add([]byte("Content-Type: multipart/report; report-type=delivery-status\r\nTo: r+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Read(bytes.NewReader(raw), []string{string(raw)}, len(raw)%2 == 0)
		if err != nil {
			return
		}
		answered(m.subject)
		if m.id == "" || len(m.parents) > maxParents || len(m.tokens) > maxAddresses {
			t.Errorf("%+v", m)
		}
	})
}
