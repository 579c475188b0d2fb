package token

import "strings"

// MessageID returns the Message-ID of the mail that c tells of, with its angle
// brackets, as mail headers have it: <TOKEN@host>. A reply names it in
// In-Reply-To and References, which is how OpenMessageID finds the mail again.
// The host must be a domain name; the claims need no component or target.
func (r *Ring) MessageID(c Claims, host string) string {
	return "<" + string(r.Seal(nil, KindReply, c)) + "@" + host + ">"
}

// OpenMessageID reads the claims of a Message-ID that MessageID made into c, or
// returns ErrInvalid and leaves c alone. Angle brackets and space around may be
// missing or there; the host is not looked at, since relays and migrations change
// it and the token proves itself.
func (r *Ring) OpenMessageID(id string, c *Claims) error {
	id = strings.Trim(id, " \t\r\n<>")
	text, _, ok := strings.Cut(id, "@")
	if !ok {
		return ErrInvalid
	}
	return r.Open(KindReply, []byte(text), c)
}
