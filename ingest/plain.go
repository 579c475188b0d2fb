package ingest

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// plain is a request as nearly all are: a GET of HTTP/1.1 for a path of ours, whole,
// without a body, with nothing in its headers that bears on the connection. Its texts
// are those of the bytes that it was parsed from.
//
// What is not plain is fasthttp's to judge. So parse never has to say what is wrong
// with a request: it need not know a rule that it does not use, but what it accepts
// fasthttp must read in the same way (FuzzPlain).
type plain struct {
	path   []byte // without a query
	values [plainFields][]byte
	seen   uint8 // a bit for each of values
}

// The headers whose values count.
const (
	plainHost = iota
	plainUserAgent
	plainForwarded
	plainPurpose
	plainSecPurpose
	plainXMoz
	plainFields
)

var (
	getSlash = []byte("GET /")
	http11   = []byte(" HTTP/1.1")
)

// parse reads the request at the start of b and returns its length, or 0 if it is not
// plain, or not whole.
func (q *plain) parse(b []byte) (length int) {
	*q = plain{}
	end := bytes.IndexByte(b, '\n')
	if end < len(getSlash)+len(http11)+1 || !bytes.HasPrefix(b, getSlash) || b[end-1] != '\r' {
		return 0
	}
	target, ok := bytes.CutSuffix(b[len(getSlash)-1:end-1], http11)
	if !ok || !only(target, inTarget) {
		return 0
	}
	q.path, _, _ = bytes.Cut(target, query)
	for at := end + 1; ; at += end + 1 {
		end = bytes.IndexByte(b[at:], '\n')
		if end < 1 || b[at+end-1] != '\r' {
			return 0
		}
		if end == 1 {
			if q.seen&(1<<plainHost) == 0 {
				return 0
			}
			return at + 2
		}
		if !q.header(b[at : at+end-1]) {
			return 0
		}
	}
}

// header takes a line "name: value" and reports whether it is plain.
func (q *plain) header(line []byte) bool {
	colon := 0
	for colon < len(line) && plainBytes[line[colon]]&inName != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return false
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " ")
	if !controlFree(value) {
		return false
	}
	switch len(name) {
	case 4:
		return !is(name, "host") || len(value) > 0 && only(value, inHost) && q.take(plainHost, value)
	case 5:
		return !is(name, "x-moz") || q.take(plainXMoz, value)
	case 6:
		return !is(name, "expect")
	case 7:
		return !is(name, "upgrade") && !is(name, "trailer") && (!is(name, "purpose") || q.take(plainPurpose, value))
	case 10:
		return (!is(name, "connection") || is(value, "keep-alive")) && (!is(name, "user-agent") || q.take(plainUserAgent, value))
	case 11:
		return !is(name, "sec-purpose") || q.take(plainSecPurpose, value)
	case 14:
		return !is(name, "content-length")
	case 15:
		return !is(name, "x-forwarded-for") || q.take(plainForwarded, value)
	case 16:
		return !is(name, "proxy-connection")
	case 17:
		return !is(name, "transfer-encoding")
	}
	return true
}

// take keeps the value of a header. Which of two counts is not for here to say.
func (q *plain) take(field int, value []byte) bool {
	first := q.seen&(1<<field) == 0
	q.seen |= 1 << field
	q.values[field] = value
	return first
}

// is reports whether b is the lower-case text, whatever its case.
func is(b []byte, text string) bool {
	if len(b) != len(text) {
		return false
	}
	for i := range b {
		if c := b[i]; c != text[i] && (c < 'A' || c > 'Z' || c|0x20 != text[i]) {
			return false
		}
	}
	return true
}

// Where a byte is plain.
const (
	inTarget = 1 << iota
	inName
	inHost
)

var plainBytes = func() (where [256]uint8) {
	allow := func(chars string, in uint8) {
		for i := range len(chars) {
			where[chars[i]] |= in
		}
	}
	const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	allow(alphanumeric+"-_./~?&=+:;,@!$'()*", inTarget)
	allow(alphanumeric+"-_", inName)
	allow(alphanumeric+"-.:", inHost)
	return where
}()

func only(b []byte, in uint8) bool {
	for _, c := range b {
		if plainBytes[c]&in == 0 {
			return false
		}
	}
	return true
}

// controlFree reports whether b has no control characters, eight bytes at a time: a byte
// below 0x20 is one that borrows when 0x20 is taken off, and a DEL is 0 once 0x7f is.
func controlFree(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		word := binary.LittleEndian.Uint64(b)
		del := word ^ ones*0x7f
		if ((word-ones*0x20)&^word|(del-ones)&^del)&highs != 0 {
			return false
		}
	}
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
}

// stringOf returns b as a string that is valid as long as b is not changed.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
