package registry

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"mailwake/engine/problem"
)

// Limits of one request. Lengths are in bytes of UTF-8.
const (
	MaxOrgNameBytes = 63 // a DNS label; also fits every blob store's container and prefix rules
	MaxTitleBytes   = 200
	MaxKeyNameBytes = 100

	MaxRecipients   = 10_000 // of one email; larger campaigns are several emails
	MaxLinks        = 1_000  // of one email
	MaxAddressBytes = 320    // 64 + 1 + 255, the longest address of RFC 3696
	MaxNameBytes    = 256
	MaxPersonBytes  = 256
	MaxSenderBytes  = 998 // a header line of RFC 5322, as for the subject
	MaxSubjectBytes = 998
	MaxTemplate     = 256
	MaxURLBytes     = 2_048
	maxReasonBytes  = 64 // a name, not a sentence

	MaxExternalIDBytes = MaxPersonBytes
	MaxAddresses       = 100     // of one person
	MaxPeople          = 10_000  // of one PutPeople: some seconds of the one writer
	MaxChanges         = 500_000 // of one SetPreferences: a 10 MB file with short lines has fewer
	MaxProofTextBytes  = 16 << 10
	MaxSourceBytes     = 100
	MaxFormBytes       = 100
	MaxLocaleBytes     = 35 // the longest that RFC 5646 asks implementations to take
	MaxEvidenceBytes   = 1_000
)

// checkOrgName holds name to [a-z0-9][a-z0-9-]{0,62}.
func checkOrgName(name string) error {
	fault := ""
	switch {
	case name == "":
		fault = "is empty"
	case len(name) > MaxOrgNameBytes:
		fault = "is longer than " + strconv.Itoa(MaxOrgNameBytes) + " characters"
	case name[0] == '-':
		fault = "begins with a hyphen"
	case strings.ContainsFunc(name, func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	}):
		fault = "has characters other than a-z, 0-9 and hyphen"
	}
	if fault == "" {
		return nil
	}
	return problem.New(422, "org_name_invalid", "The organisation's name %s.", fault)
}

// textFault says what is wrong with a single-line text, "" when nothing is. The
// answer never holds the text itself.
func textFault(s string, limit int, optional bool) string {
	switch {
	case s == "" && !optional:
		return "is empty"
	case len(s) > limit:
		return "is longer than " + strconv.Itoa(limit) + " bytes"
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case strings.ContainsFunc(s, isControl):
		return "has control characters"
	}
	return ""
}

// isControl reports C0, DEL, C1 and the two Unicode line separators: what could
// break a header, a log line or a terminal.
func isControl(r rune) bool {
	return r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029'
}
