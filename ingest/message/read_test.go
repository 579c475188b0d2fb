package message_test

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
)

// decodeMail reads the body of a mail that has one part, without this package.
func decodeMail(t testing.TB, raw string) string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	body := m.Body
	switch m.Header.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return string(text)
}

func base64Lines(text string) string {
	s, out := base64.StdEncoding.EncodeToString([]byte(text)), ""
	for len(s) > 60 {
		out, s = out+s[:60]+"\r\n", s[60:]
	}
	return out + s
}
