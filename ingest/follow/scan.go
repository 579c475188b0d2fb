package follow

import (
	"strings"

	"golang.org/x/net/html"

	"mailwake/engine/problem"
)

// longTag is the length of a tag, in bytes, from which the tokenizer is made
// anew: it keeps a table that grows with a tag's attributes and is cleared, at
// its full size, for each tag that follows, which junk turns into minutes.
const longTag = 512

// scanner walks through a message once and collects a Template.
type scanner struct {
	template    Template
	base        Base
	ascii       bool
	unsubscribe map[string]bool
	marked      int // links with a marker, bounded since each is parsed again

	top                  int // where a pixel at the top goes, so far
	topRank              topRank
	bodyEnd, documentEnd int // the last </body> and </html>; -1 none
	safeEnd              int // end of the last thing that leaves a pixel behind it visible
	rawStart             int // where the element began whose text is not markup; -1 none
	rawName              string
}

// topRank orders the places for a pixel at the top: the higher, the better.
type topRank uint8

const (
	topStart topRank = iota
	topDoctype
	topHTML
	topHead
	topBody
)

// rawText names the elements whose contents are not markup for the tokenizer.
var rawText = map[string]bool{
	"iframe": true, "noembed": true, "noframes": true, "noscript": true, "plaintext": true,
	"script": true, "style": true, "textarea": true, "title": true, "xmp": true,
}

func newScanner(html string, opts Options) *scanner {
	s := &scanner{base: opts.Base, ascii: opts.ASCII, unsubscribe: unsubscribeTargets(opts.Unsubscribe), bodyEnd: -1, documentEnd: -1, rawStart: -1}
	s.template.html = html
	if strings.HasPrefix(html, "\ufeff") {
		s.top = len("\ufeff") // a byte order mark counts at the very start only
	}
	s.safeEnd = s.top
	return s
}

func (s *scanner) run() error {
	text := s.template.html
	z := html.NewTokenizer(strings.NewReader(text))
	for at := 0; ; {
		tt := z.Next()
		if tt == html.ErrorToken {
			return nil // the end, or a tag that the end cuts off and nobody will read
		}
		end := at + len(z.Raw())
		if err := s.token(z, tt, at, end); err != nil {
			return err
		}
		if end-at > longTag && (tt == html.StartTagToken || tt == html.SelfClosingTagToken) {
			inside := ""
			if s.rawStart >= 0 {
				inside = s.rawName
			}
			z = html.NewTokenizerFragment(strings.NewReader(text[end:]), inside)
		}
		at = end
	}
}

// token takes in the token text[at:end].
func (s *scanner) token(z *html.Tokenizer, tt html.TokenType, at, end int) error {
	raw := s.template.html[at:end]
	switch tt {
	case html.TextToken:
		if s.rawStart < 0 {
			// At the very end these begin a tag that would swallow the pixel.
			s.safeEnd = at + len(strings.TrimSuffix(strings.TrimSuffix(raw, "</"), "<"))
		}
		return nil
	case html.CommentToken:
		if !finishedComment(raw) {
			return nil
		}
	case html.DoctypeToken:
		if !strings.HasSuffix(raw, ">") {
			return nil
		}
		s.offerTop(topDoctype, end)
	case html.EndTagToken:
		s.endTag(z, at, end)
	case html.StartTagToken, html.SelfClosingTagToken:
		if err := s.startTag(z, raw, at, end); err != nil {
			return err
		}
	}
	if s.rawStart < 0 {
		s.safeEnd = end
	}
	return nil
}

// finishedComment reports whether a comment is closed. What is not a comment
// proper (<?x>, </ >, <!x>) ends at the first angle bracket.
func finishedComment(raw string) bool {
	if text, ok := strings.CutPrefix(raw, "<!--"); ok {
		return text == ">" || text == "->" || strings.HasSuffix(text, "-->") || strings.HasSuffix(text, "--!>")
	}
	return strings.HasSuffix(raw, ">")
}

func (s *scanner) offerTop(rank topRank, at int) {
	if rank > s.topRank {
		s.top, s.topRank = at, rank
	}
}

func (s *scanner) endTag(z *html.Tokenizer, at, end int) {
	name, _ := z.TagName()
	if s.rawStart >= 0 && string(name) == s.rawName {
		s.rawStart = -1
	}
	switch string(name) {
	case "head":
		s.offerTop(topHead, end)
	case "body":
		s.bodyEnd = at
	case "html":
		s.documentEnd = at
	}
}

func (s *scanner) startTag(z *html.Tokenizer, raw string, at, end int) error {
	nameBytes, hasAttributes := z.TagName()
	name := string(nameBytes)
	switch {
	case name == "html":
		s.offerTop(topHTML, end)
	case name == "body":
		s.offerTop(topBody, end)
	case rawText[name]:
		s.rawStart, s.rawName = at, name
	case (name == "a" || name == "area") && hasAttributes && strings.IndexByte(raw, 0) < 0:
		return s.link(pairs(z), raw, at)
	}
	return nil
}

// link takes in the tag of a link, which begins at at.
func (s *scanner) link(understood []pair, raw string, at int) error {
	places := attributes(raw)
	target, linked, marked := "", false, false
	for _, p := range understood {
		marked = marked || isMarker(p.key, p.value)
		if p.key == "href" {
			target, linked = strings.Trim(p.value, htmlSpace), true
		}
	}
	known := agree(places, understood)
	if marked {
		if s.marked++; s.marked > MaxLinks {
			return problem.New(422, "too_many_links", "The HTML has more than %d links marked as not to follow.", MaxLinks)
		}
		if known {
			s.cutMarkers(understood, places, raw, at)
		}
	}
	if !linked {
		return nil
	}
	reason := s.untrackable(target)
	switch {
	case marked:
		reason = "marked"
	case reason == "" && !known:
		reason = "malformed"
	}
	t := &s.template
	if reason != "" {
		if len(t.untracked) < MaxLinks {
			t.untracked = append(t.untracked, Untracked{URL: shorten(target), Reason: reason})
		}
		return nil
	}
	if len(t.targets) == MaxLinks {
		return problem.New(422, "too_many_links", "The HTML has more than %d links to follow.", MaxLinks)
	}
	t.targets = append(t.targets, target)
	for _, a := range places {
		if a.key == "href" {
			t.edits = append(t.edits, edit{start: at + a.valueStart, end: at + a.valueEnd, what: editLink, ordinal: int32(len(t.targets))})
			break
		}
	}
	return nil
}

// cutMarkers takes the markers out of a tag, unless the rest would then mean
// something else.
func (s *scanner) cutMarkers(understood []pair, places []attribute, raw string, at int) {
	var cuts []edit
	for _, p := range understood {
		if !isMarker(p.key, p.value) {
			continue
		}
		for _, a := range places { // doubles go too
			if a.key == p.key {
				start, end := cutOf(raw, a)
				cuts = append(cuts, edit{start: start, end: end, what: editCut})
			}
		}
	}
	sortEdits(cuts)
	if !withoutMarkers(raw, cuts, understood) {
		return
	}
	for _, c := range cuts {
		c.start, c.end = at+c.start, at+c.end
		s.template.edits = append(s.template.edits, c)
	}
}

// bottom returns where a pixel at the bottom goes.
func (s *scanner) bottom() int {
	switch {
	case s.bodyEnd >= 0:
		return s.bodyEnd
	case s.documentEnd >= 0:
		return s.documentEnd
	}
	return s.safeEnd
}
