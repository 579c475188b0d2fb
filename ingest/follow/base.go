package follow

import (
	"fmt"
	"net/url"
	"strings"

	"mailwake/ingest/token"
)

// Base is the address of the public plane as recipients see it, without a slash
// at its end: https://t.example.com, or with a path. Make one with ParseBase.
type Base struct {
	text  string
	noURL string // text without the scheme
}

// ParseBase checks an address. It wants http or https, a host, and no more than
// a port and a path of plain characters, so that URLs below it need no escaping
// anywhere in HTML.
func ParseBase(address string) (Base, error) {
	text := strings.TrimRight(address, "/")
	u, err := url.Parse(text)
	if err != nil {
		return Base{}, fmt.Errorf("public address: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || strings.ContainsFunc(text, notPlain) {
		return Base{}, fmt.Errorf("public address %q: want http:// or https://, a host and plain characters", address)
	}
	_, rest, _ := strings.Cut(text, "://")
	return Base{text: text, noURL: rest}, nil
}

func notPlain(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~:/[]", r))
}

// owns reports whether target is a tracking address below the base, under either scheme.
func (b Base) owns(target string) bool {
	if b.noURL == "" {
		return false
	}
	_, rest, _ := strings.Cut(target, "://")
	if len(rest) < len(b.noURL)+3 || !strings.EqualFold(rest[:len(b.noURL)], b.noURL) {
		return false
	}
	switch rest[len(b.noURL) : len(b.noURL)+3] {
	case "/o/", "/c/", "/a/":
		return true
	}
	return false
}

func (b Base) appendLink(dst []byte, ring *token.Ring, c token.Claims) []byte {
	dst = append(append(dst, b.text...), "/c/"...)
	return ring.Seal(dst, token.KindClick, c)
}

func (b Base) pixel(ring *token.Ring, c token.Claims) string {
	dst := append([]byte(b.text), "/o/"...)
	return string(append(ring.Seal(dst, token.KindOpen, c), ".gif"...))
}

func (b Base) pixelBound() int { return len(b.text) + len("/o/.gif") + token.PixelLen }

func (b Base) linkBound(target string) int {
	return len(b.text) + len("/c/") + token.PixelLen + (len(target)*8+5)/6
}
