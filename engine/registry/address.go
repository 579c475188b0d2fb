package registry

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// maxDomainBytes is the longest domain name in its ASCII form, without the final dot.
const maxDomainBytes = 253

// addressKey returns the form under which an address is matched: the local part
// in lower case and Unicode form C, the domain in lower-case ASCII (IDNA). Mail
// systems that tell local parts apart by case are not known in practice, so
// Ann@example.com and ann@EXAMPLE.com are one person. Nothing else is folded:
// dots and +tags stay. Quoted local parts and address literals are refused.
//
// The address must be trimmed. fault says what is wrong with it, without
// repeating any of it; "" when nothing is.
func addressKey(address string) (key, fault string) {
	if fault := textFault(address, MaxAddressBytes, false); fault != "" {
		return "", fault
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", "has no @"
	}
	local, domain := address[:at], address[at+1:]
	if local == "" || domain == "" {
		return "", "has nothing before or after the @"
	}
	if strings.ContainsFunc(local, notAtom) {
		return "", "has a character before the @ that is not allowed there"
	}
	domain, err := idna.Lookup.ToASCII(domain)
	if err != nil || !isDomain(domain) {
		return "", "has no valid domain after the @"
	}
	return norm.NFC.String(strings.ToLower(local)) + "@" + domain, ""
}

// notAtom reports what may not be in an unquoted local part (RFC 5322 atom, with
// the letters of RFC 6531). Dots are taken anywhere, as some providers gave out
// addresses with two in a row.
func notAtom(r rune) bool {
	if r < utf8.RuneSelf {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", r))
	}
	return !unicode.IsPrint(r)
}

func isDomain(ascii string) bool {
	if len(ascii) > maxDomainBytes {
		return false
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}
