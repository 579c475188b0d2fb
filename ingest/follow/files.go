package follow

import (
	"fmt"
	"html"
	"strings"

	"mailwake/ingest/token"
)

// FileLink is a followed attachment as a message shows it.
type FileLink struct {
	Name, URL string
	Size      int64 // bytes
}

const (
	filesHead = `<div style="margin:16px 0;font-family:sans-serif;font-size:14px">`
	filesTail = `</div>`
)

// appendFiles appends the list of followed attachments.
func appendFiles(dst []byte, files []FileLink) []byte {
	dst = append(dst, filesHead...)
	for _, f := range files {
		dst = fmt.Appendf(dst, `<div>&#128206; <a href="%s">%s</a> (%s)</div>`, f.URL, entities(f.Name), sizeText(f.Size))
	}
	return append(dst, filesTail...)
}

// entities writes text for HTML in ASCII, which any charset carries.
func entities(s string) string {
	var b strings.Builder
	for _, r := range html.EscapeString(s) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

func sizeText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// fileBound returns how long one file's entry in a list is at most.
func (b Base) fileBound(name string) int {
	return len(b.text) + token.PixelLen + 12*len(name) + 100 // 3 per byte in the URL, up to 8 as an entity
}

// file returns the address of an attachment. The name in it is there for people;
// nothing looks at it.
func (b Base) file(ring *token.Ring, c token.Claims, name string) string {
	dst := append([]byte(b.text), "/a/"...)
	dst = append(ring.Seal(dst, token.KindAttachment, c), '/')
	for i := range len(name) {
		ch := name[i]
		if 'a' <= ch && ch <= 'z' || 'A' <= ch && ch <= 'Z' || '0' <= ch && ch <= '9' || ch == '.' || ch == '-' || ch == '_' {
			dst = append(dst, ch)
		} else {
			dst = fmt.Appendf(dst, "%%%02X", ch)
		}
	}
	return string(dst)
}
