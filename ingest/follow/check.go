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
	if len(req.ListUnsubscribe) > maxUnsubscribe {
		return opts, problem.New(422, "list_unsubscribe_invalid", "The field list_unsubscribe has %d values, the limit is %d.", len(req.ListUnsubscribe), maxUnsubscribe)
	}
	opts.Unsubscribe = req.ListUnsubscribe
	return opts, checkBody(req)
}

func checkBody(req *Request) error {
	switch {
	case len(req.HTML) > MaxHTML:
		return problem.New(413, "html_too_large", "The HTML has %d bytes, the limit is %d.", len(req.HTML), MaxHTML)
	case len(req.Text) > MaxHTML:
		return problem.New(413, "text_too_large", "The text has %d bytes, the limit is %d.", len(req.Text), MaxHTML)
	case !utf8.ValidString(req.HTML) || !utf8.ValidString(req.Text):
		return problem.New(422, "invalid_utf8", "The message is not valid UTF-8.")
	case len(req.To) == 0:
		return problem.New(422, "recipients_missing", "The email has no recipient.")
	case len(req.To) > registry.MaxRecipients:
		return problem.New(422, "too_many_recipients", "The email has %d recipients, the limit is %d; split it into several emails.", len(req.To), registry.MaxRecipients)
	}
	for i, r := range req.To {
		if strings.TrimSpace(r.Address) == "" {
			return problem.New(422, "recipient_invalid", "Recipient %d (counted from 0) has no address.", i)
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
