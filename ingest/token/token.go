// Package token makes and reads the opaque tokens in tracking URLs. A token
// says whose interaction a request is, so that collection needs no lookup, and
// it cannot be forged, read or moved to another organisation or purpose.
//
//	text  = base64url without padding, strict
//	bytes = version 1 │ key id 1 │ nonce 12 │ ciphertext n │ tag 16
//	plain = uvarint org │ uvarint email │ uvarint recipient │ uvarint component │ target
//
// Bytes are sealed with AES-256-GCM under a random 96-bit nonce. The additional
// data is a fixed context string, the version, the key id and the Kind, so that
// an open token is worth nothing as a click token. Numbers are minimal varints
// and base64 leaves no spare bits: one token text has exactly one meaning.
//
// Random nonces allow about 2^32 tokens under one key before a repetition has to
// be reckoned with; rotate the Ring long before.
//
// Invariant: Open accepts a text only if Seal made it, with a key of this Ring
// and for the same Kind. For everything else it does the work of one decoding
// and one decryption and returns ErrInvalid, without a hint why.
package token

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"

	"mailwake/engine/event"
)

// ErrInvalid reports a token that was not sealed by a key of the Ring for the
// kind asked, for whatever reason.
var ErrInvalid = errors.New("token: invalid")

// MaxTarget is the longest target a token carries, in bytes.
const MaxTarget = 2048

const (
	version   = 1
	headerLen = 2
	overhead  = 12 + 16 // nonce and tag

	minPlain = 4
	maxPlain = 5 + 9 + 9 + 5 + MaxTarget // varints of 32 and 63 bits, target
	minRaw   = headerLen + overhead + minPlain
	maxRaw   = headerLen + overhead + maxPlain

	// MaxLen is the length of the longest token text in bytes; a longer text is
	// invalid.
	MaxLen = (maxRaw*8 + 5) / 6

	// PixelLen is what the text of a token without a target takes at most.
	PixelLen = ((headerLen+overhead+maxPlain-MaxTarget)*8 + 5) / 6
)

// encoding is strict: without it, unused bits of the last character could be
// changed freely and one token would have several texts.
var encoding = base64.RawURLEncoding.Strict()

// Kind is the purpose a token is sealed for.
type Kind uint8

// The kinds. The numbers are part of the token format.
const (
	KindInvalid Kind = iota
	KindOpen
	KindClick
	KindAttachment
	KindPreference
	KindReply
)

// Claims is what a token says.
type Claims struct {
	Org       event.OrgID
	Email     event.EmailID
	Recipient event.RecipientID
	Component int32  // ordinal of the link or attachment, from 1; 0 for a pixel
	Target    string // where a click leads; at most MaxTarget bytes, "" for a pixel
}

// Seal appends the text of a new token for kind and c to dst. Two tokens for
// the same claims differ. It is safe for concurrent use.
//
// Claims that no registry gives out are a mistake of the caller: Seal panics
// when the target is over MaxTarget, a number is negative or kind is unknown.
func (r *Ring) Seal(dst []byte, kind Kind, c Claims) []byte {
	if kind == KindInvalid || kind > KindReply || len(c.Target) > MaxTarget || c.Email < 0 || c.Recipient < 0 || c.Component < 0 {
		panic("token: seal of claims outside the format")
	}
	key := r.state.Load().active()
	s := r.scratch.Get().(*scratch)
	defer r.scratch.Put(s)

	plain := binary.AppendUvarint(s.plain[:0], uint64(c.Org))
	plain = binary.AppendUvarint(plain, uint64(c.Email))
	plain = binary.AppendUvarint(plain, uint64(c.Recipient))
	plain = binary.AppendUvarint(plain, uint64(c.Component))
	plain = append(plain, c.Target...)

	raw := append(s.raw[:0], version, key.id)
	raw = key.aead.Seal(raw, nil, plain, s.context(version, key.id, kind))
	return encoding.AppendEncode(dst, raw)
}

// Open reads the token text sealed for kind into c, or returns ErrInvalid and
// leaves c alone. Target is a copy; nothing else is allocated. The text is not
// retained. It is safe for concurrent use.
func (r *Ring) Open(kind Kind, text []byte, c *Claims) error {
	s := r.scratch.Get().(*scratch)
	defer r.scratch.Put(s)

	raw, ok := s.decode(text)
	key, known := r.state.Load().key(raw[1])
	context := s.context(raw[0], raw[1], kind)
	plain, err := key.aead.Open(s.plain[:0], nil, raw[headerLen:], context)
	if err != nil || !ok || !known || raw[0] != version || !parse(plain, c) {
		return ErrInvalid
	}
	return nil
}

// scratch is the working memory of one Seal or Open; it keeps the hot path free
// of allocations.
type scratch struct {
	raw   [maxRaw]byte
	plain [maxPlain]byte
	aad   [len(contextPrefix) + 3]byte
}

const contextPrefix = "mailwake token\x00"

func (s *scratch) context(version, keyID byte, kind Kind) []byte {
	n := copy(s.aad[:], contextPrefix)
	s.aad[n], s.aad[n+1], s.aad[n+2] = version, keyID, byte(kind)
	return s.aad[:]
}

// decode returns the bytes of text. For a text that is no token it returns
// other bytes of a token's shape and false, so that the caller has the same
// work to do.
func (s *scratch) decode(text []byte) ([]byte, bool) {
	ok := len(text) <= MaxLen
	if !ok {
		text = text[:MaxLen]
	}
	// The decoder skips line ends, which would give a token more than one text.
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		ok = false
	}
	n, err := encoding.Decode(s.raw[:], text)
	if err != nil {
		ok = false
		n = encoding.DecodedLen(len(text))
	}
	if n < minRaw {
		ok = false
		n = minRaw
	}
	return s.raw[:n], ok
}

// parse reads canonical claims into c; it changes c only when it succeeds.
func parse(b []byte, c *Claims) bool {
	org, b, ok1 := uvarint(b, math.MaxUint32)
	email, b, ok2 := uvarint(b, math.MaxInt64)
	recipient, b, ok3 := uvarint(b, math.MaxInt64)
	component, b, ok4 := uvarint(b, math.MaxInt32)
	if !ok1 || !ok2 || !ok3 || !ok4 || len(b) > MaxTarget {
		return false
	}
	*c = Claims{
		Org:       event.OrgID(org),
		Email:     event.EmailID(email),
		Recipient: event.RecipientID(recipient),
		Component: int32(component),
		Target:    string(b),
	}
	return true
}

// uvarint reads a minimal varint of at most limit and returns the rest of b.
func uvarint(b []byte, limit uint64) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > limit || (n > 1 && b[n-1] == 0) {
		return 0, nil, false
	}
	return v, b[n:], true
}
