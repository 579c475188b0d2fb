// Package follow makes an email followed: it registers the email, gives every
// recipient a copy whose links lead through mailwake and that holds one
// transparent pixel, and notes that it was sent.
//
//	HTML ──Parse──▶ Template ──Render, per recipient──▶ HTML
//	                    │ targets                ▲ tokens
//	                    ▼                        │
//	              RegisterEmail ─────── ids ─────┘──▶ Append(sent)
//
// Four things change in the HTML and nothing else: the value of the href of an
// a or area element that leads to the web, the markers data-no-track and
// clicktracking=off of such elements, which are cut out, the pixel, and a list of
// links to followed attachments, which are put in. Comments, conditional comments, scripts, styles and the contents of
// noscript are not looked into. Every place of a link has its own ordinal, also
// when two lead to the same target. A target is the attribute's value with
// entities decoded and white space around it removed, otherwise byte for byte.
//
// A recipient who refuses all of it gets the message as it came; one who refuses
// part of it a copy without that part. Mails (RFC 5322) are changed in the same
// way inside their HTML part, see package message.
//
// Invariant: taking back those changes gives the original bytes, and what
// a mail client reads from the copy is the original with other targets.
package follow

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

const (
	// MaxHTML is the largest HTML accepted, in bytes. Mail providers clip far
	// smaller ones; images inside the text account for the rest.
	MaxHTML = 2 << 20

	// MaxLinks is how many followed links an email may have, and how many
	// untracked ones a Template lists.
	MaxLinks = registry.MaxLinks

	// clipped is the size from which the pixel goes to the top unless told
	// otherwise: Gmail cuts messages at 102 kB and what is below is not loaded.
	clipped = 100_000
)

// Pixel says where the pixel goes.
type Pixel uint8

// The places. A pixel at the top is at the start of the body, one at the bottom
// at its end. PixelAuto is the bottom, or the top in messages that are at risk
// of being clipped.
const (
	PixelAuto Pixel = iota
	PixelTop
	PixelBottom
)

// Options says how to instrument a message.
type Options struct {
	Pixel       Pixel
	Base        Base     // links below it are mailwake's own already
	Unsubscribe []string // List-Unsubscribe, whole values or their targets, which are never wrapped
	ASCII       bool     // links with other characters are not followed: what they are is not known
}

// Untracked is a link that stays as it is.
type Untracked struct {
	URL    string `json:"url" doc:"The link as it stands, shortened when long."`
	Reason string `json:"reason" doc:"Why it is not followed: empty, fragment, relative, not_web, unsubscribe, marked, own_link, too_long, userinfo, control_character, backslash, no_host, charset or malformed."`
}

// Template is a parsed message, ready to be rendered for any number of
// recipients. It is immutable and safe for concurrent use.
type Template struct {
	html      string
	edits     []edit // by place, without overlap; one is the pixel's, one the files'
	targets   []string
	untracked []Untracked
}

// edit replaces html[start:end].
type edit struct {
	start, end int
	what       editKind
	ordinal    int32 // of a link, from 1
}

type editKind uint8

const (
	editCut editKind = iota
	editLink
	editFiles
	editPixel
)

// Parse finds what has to change in html. Problems: html_too_large (413),
// invalid_utf8 and too_many_links (422).
func Parse(html string, opts Options) (*Template, error) {
	if len(html) > MaxHTML {
		return nil, problem.New(413, "html_too_large", "The HTML has %d bytes, the limit is %d.", len(html), MaxHTML)
	}
	if !utf8.ValidString(html) {
		return nil, problem.New(422, "invalid_utf8", "The HTML is not valid UTF-8.")
	}
	s := newScanner(html, opts)
	if err := s.run(); err != nil {
		return nil, err
	}
	t := &s.template
	pixel := opts.Pixel
	if pixel == PixelAuto {
		pixel = PixelBottom
		if t.SizeBound(opts.Base) > clipped {
			pixel = PixelTop
		}
	}
	at := s.bottom()
	if pixel == PixelTop {
		at = s.top
	}
	bottom := s.bottom()
	t.edits = append(t.edits, edit{start: bottom, end: bottom, what: editFiles}, edit{start: at, end: at, what: editPixel})
	sortEdits(t.edits)
	return t, nil
}

// Targets returns where the followed links lead: the one with ordinal n at n-1.
// The caller must not change it.
func (t *Template) Targets() []string { return t.targets }

// Untracked returns the links that stay as they are, at most MaxLinks of them.
// The caller must not change it.
func (t *Template) Untracked() []Untracked { return t.untracked }

// Copy says what one recipient's copy holds. The zero value is the message
// without its markers. Addresses must consist of characters that mean nothing in
// HTML, in an attribute with or without quotes, as URLs of Base do.
type Copy struct {
	// Link appends the address that stands for the link with the given ordinal and
	// target; nil leaves the links as they are.
	Link  func(dst []byte, ordinal int32, target string) []byte
	Pixel string // address of the image; "" is none
	Files []FileLink
}

// Render appends one recipient's copy to dst.
func (t *Template) Render(dst []byte, c Copy) []byte {
	from := 0
	for _, e := range t.editsFor(c.shape()) {
		dst = append(dst, t.html[from:e.start]...)
		dst = t.replacement(dst, e, c)
		from = e.end
	}
	return append(dst, t.html[from:]...)
}

// shape tells which edits a Copy has.
type shape struct{ links, pixel, files bool }

func (c Copy) shape() shape { return shape{c.Link != nil, c.Pixel != "", len(c.Files) > 0} }

func (t *Template) editsFor(s shape) []edit {
	if s == (shape{true, true, true}) {
		return t.edits
	}
	return slices.DeleteFunc(slices.Clone(t.edits), func(e edit) bool {
		return e.what == editLink && !s.links || e.what == editPixel && !s.pixel || e.what == editFiles && !s.files
	})
}

// replacement appends what takes the place of e. It is ASCII.
func (t *Template) replacement(dst []byte, e edit, c Copy) []byte {
	switch e.what {
	case editLink:
		return c.Link(dst, e.ordinal, t.targets[e.ordinal-1])
	case editPixel:
		return append(append(append(dst, pixelHead...), c.Pixel...), pixelTail...)
	case editFiles:
		return appendFiles(dst, c.Files)
	}
	return dst
}

// The pixel is not hidden by style: some clients do not load hidden images.
const (
	pixelHead = `<img src="`
	pixelTail = `" width="1" height="1" alt="" border="0" style="border:0;width:1px;height:1px">`
)

// SizeBound returns how long a copy with addresses of base is at most, in bytes,
// without the list of files.
func (t *Template) SizeBound(base Base) int {
	size := len(t.html) + len(pixelHead) + len(pixelTail) + base.pixelBound()
	for _, target := range t.targets {
		size += base.linkBound(target)
	}
	return size
}

// sortEdits orders edits by place. They never overlap. Where several begin at one
// place, what is put in comes first, files before the pixel.
func sortEdits(edits []edit) {
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Or(a.start-b.start, a.end-b.end, int(a.what)-int(b.what)) })
}
