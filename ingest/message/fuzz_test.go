package message_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"mailwake/ingest/message"
)

// FuzzCopy holds any input to the invariants: a copy without changes is the
// message but for blind recipients; replacing texts by themselves keeps them; and
// a copy can be parsed again into as many HTML parts.
func FuzzCopy(f *testing.F) {
	for _, raw := range mails(f) {
		f.Add([]byte(raw), uint16(3))
	}
	f.Add([]byte("Content-Type: text/html; charset=SJIS\nContent-Transfer-Encoding: base64\n\n002B"), uint16(3)) // half a character at its end
	f.Add([]byte("m:\nContent-Type: text/html; charset=utf-16\n\n//a0b\r"), uint16(3))                           // whose last byte is no line end
	f.Add([]byte("A: b\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n--x--"), uint16(0))
	f.Fuzz(func(t *testing.T, raw []byte, at uint16) {
		m, err := message.Parse(raw)
		if err != nil {
			return
		}
		same := m.AppendCopy(nil, message.Copy{})
		if added, ok := bytes.CutPrefix(same, raw); ok && len(bytes.Trim(added, "\r\n")) == 0 {
			same = raw
		}
		if blind := strings.Contains(strings.ToLower(string(raw)), "bcc"); !blind && !bytes.Equal(same, raw) {
			t.Fatalf("%q became %q", raw, same)
		}
		m.Field("Subject")
		m.Addresses()
		parts, _ := m.HTML()
		var bodies []message.Replaced
		var want []string
		for _, p := range parts {
			text, ok := m.Text(p)
			if !ok {
				want = append(want, "")
				continue
			}
			if !utf8.ValidString(text.UTF8) {
				t.Fatalf("text %q", text.UTF8)
			}
			i := min(int(at), len(text.UTF8))
			for i < len(text.UTF8) && !utf8.RuneStart(text.UTF8[i]) {
				i++
			}
			bodies = append(bodies, message.Replaced{Body: text.At([]int{i, i}), With: [][]byte{[]byte("<here>")}})
			want = append(want, text.UTF8[:i]+"<here>"+text.UTF8[i:])
		}
		out := m.AppendCopy(nil, message.Copy{Bodies: bodies, MessageID: "<a@b>", Files: []message.File{m.File("f", "text/plain", []byte("x"))}})
		if len(out) > message.MaxBytes {
			return
		}
		again, err := message.Parse(out)
		if err != nil {
			return // a header at its limit has grown, or there was no field to begin with
		}
		back, _ := again.HTML()
		if len(back) != len(parts) {
			t.Fatalf("%d HTML parts became %d\n%q\n%q", len(parts), len(back), raw, out)
		}
		for i, p := range back {
			text, ok := again.Text(p)
			if want[i] == "" {
				continue
			}
			if got, expect := plainEnds(text), want[i]; !ok || !strings.HasPrefix(strings.TrimRight(got, " \t\r\n"), strings.TrimRight(strings.ReplaceAll(expect, "\r\n", "\n"), " \t\r\n")) {
				t.Fatalf("part %d says %q, want %q\n%q\n%q", i, got, expect, raw, out)
			}
		}
	})
}

// plainEnds returns a text with one kind of line end.
func plainEnds(text *message.Text) string {
	if text == nil {
		return ""
	}
	return strings.ReplaceAll(text.UTF8, "\r\n", "\n")
}
