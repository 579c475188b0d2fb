package reply

import (
	"mime"
	"net/textproto"
	"slices"
	"strings"
)

// Reasons for taking a reply for a machine's. Names are stored.
const (
	ReasonAutoSubmitted   = "auto_submitted"    // RFC 3834: Auto-Submitted other than no
	ReasonPrecedence      = "precedence"        // Precedence: bulk, junk, auto_reply
	ReasonAutoReply       = "x_autoreply"       // X-Autoreply, X-Autorespond
	ReasonNullReturnPath  = "empty_return_path" // envelope without sender, as bounces have it
	ReasonDeliveryReport  = "delivery_report"   // multipart/report; report-type=delivery-status
	ReasonReceipt         = "read_receipt"      // multipart/report; report-type=disposition-notification
	ReasonAutomaticReport = "automatic_report"  // another multipart/report
)

// Reasons of replies that people wrote.
const (
	ReasonOtherAddress = "other_address" // From is not an address the email went to: an alias, or a colleague
)

// automatic says why the header is a machine's, "" when nothing speaks for it.
// The most telling mark comes first. A mailing list's Precedence: list is none:
// people's replies come through lists too.
func automatic(h textproto.MIMEHeader, nullSender bool) string {
	if reason := report(h.Get("Content-Type")); reason != "" {
		return reason
	}
	if v := keyword(h.Get("Auto-Submitted")); v != "" && v != "no" {
		return ReasonAutoSubmitted
	}
	if slices.Contains([]string{"bulk", "junk", "auto_reply", "auto-reply"}, keyword(h.Get("Precedence"))) {
		return ReasonPrecedence
	}
	for _, name := range []string{"X-Autoreply", "X-Autorespond"} {
		if values := h[name]; len(values) > 0 && keyword(values[0]) != "no" {
			return ReasonAutoReply
		}
	}
	if path := h["Return-Path"]; nullSender || len(path) > 0 && strings.TrimSpace(path[0]) == "<>" {
		return ReasonNullReturnPath
	}
	return ""
}

// report says what kind of report a Content-Type declares. A malformed one is
// looked at by eye: some bounces forget to quote their boundary.
func report(contentType string) string {
	contentType = strings.ToLower(cut(contentType))
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind, _, _ = strings.Cut(contentType, ";")
		params = map[string]string{}
		if _, after, ok := strings.Cut(contentType, "report-type="); ok {
			params["report-type"] = keyword(strings.ReplaceAll(after, `"`, ""))
		}
	}
	if strings.TrimSpace(kind) != "multipart/report" {
		return ""
	}
	switch params["report-type"] {
	case "delivery-status":
		return ReasonDeliveryReport
	case "disposition-notification":
		return ReasonReceipt
	}
	return ReasonAutomaticReport
}

// keyword returns a field's first word in lower case, without parameters and
// comments.
func keyword(field string) string {
	field = strings.TrimSpace(cut(field))
	if i := strings.IndexAny(field, "; \t("); i >= 0 {
		field = field[:i]
	}
	return strings.ToLower(field)
}
