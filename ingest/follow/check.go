package follow

import (
	"strings"
	"unicode/utf8"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// maxUnsubscribe is how many List-Unsubscribe values a request may have.
const maxUnsubscribe = 16

// check validates what Parse and the registry do not look at and returns how to
// instrument.
func (s *Service) check(req *Request) (Options, error) {
	var opts Options
	base, err := ParseBase(s.BaseURL)
	if err != nil {
		return opts, err
	}
	opts.Base = base
	switch req.Follow {
	case "":
		req.Follow = "required"
	case "required", "if_allowed", "no":
	default:
		return opts, problem.New(422, "follow_invalid", "The field follow is none of required, if_allowed, no.")
	}
	switch req.Pixel {
	case "":
	case "top":
		opts.Pixel = PixelTop
	case "bottom":
		opts.Pixel = PixelBottom
	default:
		return opts, problem.New(422, "pixel_invalid", "The field pixel is neither top nor bottom.")
	}
	if err := checkForm(req); err != nil {
		return opts, err
	}
	if len(req.ListUnsubscribe) > maxUnsubscribe {
		return opts, problem.New(422, "list_unsubscribe_invalid", "The field list_unsubscribe has %d values, the limit is %d.", len(req.ListUnsubscribe), maxUnsubscribe)
	}
	opts.Unsubscribe = req.ListUnsubscribe
	return opts, checkBody(req)
}

// checkForm settles in what form the mail comes and goes.
func checkForm(req *Request) error {
	whole := req.MIME != nil
	if whole && (req.From != "" || req.Subject != "" || req.HTML != "" || req.Text != "" || len(req.ListUnsubscribe) > 0) {
		return problem.New(422, "mime_invalid", "A request with a whole message must not have from, subject, html, text or list_unsubscribe: its header says them.")
	}
	switch req.Output {
	case "":
		req.Output = "html"
		if whole {
			req.Output = "mime"
		}
	case "html":
		if whole {
			return problem.New(422, "output_invalid", "The output of a whole message is mime.")
		}
	case "mime":
	default:
		return problem.New(422, "output_invalid", "The field output is neither html nor mime.")
	}
	return nil
}

func checkBody(req *Request) error {
	switch {
	case len(req.HTML) > MaxHTML:
		return problem.New(413, "html_too_large", "The HTML has %d bytes, the limit is %d.", len(req.HTML), MaxHTML)
	case len(req.Text) > MaxHTML:
		return problem.New(413, "text_too_large", "The text has %d bytes, the limit is %d.", len(req.Text), MaxHTML)
	case !utf8.ValidString(req.HTML) || !utf8.ValidString(req.Text):
		return problem.New(422, "invalid_utf8", "The message is not valid UTF-8.")
	case len(req.Attachments) > registry.MaxAttachments:
		return problem.New(422, "too_many_attachments", "The email has %d attachments, the limit is %d.", len(req.Attachments), registry.MaxAttachments)
	}
	return nil
}

// checkRecipients refuses what would not even be a header of a plain copy; the
// registry looks closer.
func checkRecipients(to []Recipient) error {
	switch {
	case len(to) == 0:
		return problem.New(422, "recipients_missing", "The email has no recipient.")
	case len(to) > registry.MaxRecipients:
		return problem.New(422, "too_many_recipients", "The email has %d recipients, the limit is %d; split it into several emails.", len(to), registry.MaxRecipients)
	}
	for i, r := range to {
		fault := ""
		switch {
		case strings.TrimSpace(r.Address) == "":
			fault = "has no address"
		case len(r.Address) > registry.MaxAddressBytes || strings.ContainsAny(r.Address, "<>\"(),;: \t") || strings.ContainsFunc(r.Address, isControl) || !utf8.ValidString(r.Address):
			fault = "has an address that is none"
		case len(r.Name) > registry.MaxNameBytes || strings.ContainsFunc(r.Name, isControl) || !utf8.ValidString(r.Name):
			fault = "has a name that is too long or has control characters"
		}
		if fault != "" {
			return problem.New(422, "recipient_invalid", "Recipient %d (counted from 0) %s.", i, fault)
		}
	}
	return nil
}

// fits refuses more output than one answer may have.
func fits(size, copies int) error {
	if size*copies > MaxOutput {
		return problem.New(413, "output_too_large", "%d copies of up to %d bytes are more than %d bytes; split the recipients over several requests.", copies, size, MaxOutput)
	}
	return nil
}
