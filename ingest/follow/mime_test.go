package follow_test

import (
	"bytes"
	"context"
	"maps"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jhillyerd/enmime/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest/follow"
	"mailwake/ingest/token"
)

// fixed gives every email the ids that checkTag expects of tokens.
type fixed struct {
	wish  bool
	why   string
	links []string
}

func (f *fixed) Decide(event.OrgID, event.RecipientID, event.Kind) registry.Verdict {
	return registry.Verdict{Allow: true}
}

func (f *fixed) RegisterEmail(_ context.Context, org event.OrgID, in registry.NewEmail) (registry.EmailDetail, error) {
	f.wish, f.why, f.links = in.Wish, in.WhyNot, in.Links
	e := registry.EmailDetail{Email: registry.Email{Org: org, ID: 2, Follow: registry.FollowOn}}
	purposes := registry.AllPurposes
	if !in.Wish {
		e.Follow, e.Reasons, purposes = registry.FollowOff, []string{in.WhyNot}, 0
	}
	for _, r := range in.Recipients {
		e.Recipients = append(e.Recipients, registry.Addressee{Recipient: registry.Recipient{ID: 3, Address: r.Address, Name: r.Name}, Purposes: purposes})
	}
	return e, nil
}

func (f *fixed) Attachment(context.Context, event.OrgID, registry.AttachmentID) (registry.Attachment, error) {
	return registry.Attachment{}, nil
}

func testMails(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	paths, err := filepath.Glob("testdata/mail/*.eml")
	for _, p := range paths {
		if all[filepath.Base(p)], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	if err != nil || len(all) < 20 {
		t.Fatalf("%d mails, %v", len(all), err)
	}
	return all
}

// parser is another MIME implementation than the one under test.
var parser = enmime.NewParser(enmime.DisableCharacterDetection(true))

func parts(t *testing.T, raw []byte) (all []*enmime.Part) {
	t.Helper()
	root, err := parser.ReadParts(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	root.DepthMatchAll(func(p *enmime.Part) bool {
		all = append(all, p)
		return false
	})
	return all
}

// TestMails instruments the mails of testdata and reads them back with another
// parser: structure and headers are equal, and only links and pixel differ.
func TestMails(t *testing.T) {
	for name, want := range map[string]struct {
		links   int
		off     string
		recoded bool // charset or transfer encoding cannot stay
	}{
		"01-html-only": {links: 2}, "02-alternative-quoted": {links: 1}, "03-alternative-base64": {links: 6}, "04-mixed-related-pdf": {links: 1},
		"05-calendar": {links: 1}, "06-latin1-quoted": {links: 1}, "07-windows1252-8bit": {links: 1}, "08-iso2022jp": {links: 1},
		"09-shiftjis-base64": {links: 2}, "10-gb18030": {links: 1}, "11-utf16": {links: 1, recoded: true}, "12-text-only": {off: "no_html"},
		"13-no-mime": {off: "no_html"}, "14-broken-html": {links: 4, recoded: true}, "15-wrong-charset": {links: 1}, "16-two-html-parts": {links: 2},
		"17-signed": {off: "sealed"}, "18-forwarded": {links: 1}, "19-lf-unclosed": {links: 1}, "20-nested-headers": {links: 2},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata/mail", name+".eml"))
			if err != nil {
				t.Fatal(err)
			}
			ids := new(fixed)
			s := &follow.Service{Registry: ids, Engine: &log{calls: new([]string)}, Tokens: newRing(t), BaseURL: baseURL, Now: func() time.Time { return sentAt }}
			resp, err := s.Follow(t.Context(), 1, follow.Request{MIME: raw})
			if err != nil {
				t.Fatal(err)
			}
			out := resp.Messages[0].MIME
			if want.off != "" {
				if resp.FollowState != "off" || ids.wish || ids.why != want.off || !bytes.Equal(out, raw) {
					t.Errorf("state %s, why %q, untouched %v", resp.FollowState, ids.why, bytes.Equal(out, raw))
				}
				return
			}
			if resp.FollowState != "on" || len(ids.links) != want.links || resp.Links != want.links {
				t.Fatalf("state %s, links %q, want %d", resp.FollowState, ids.links, want.links)
			}
			samePart(t, s.Tokens, raw, out, resp.Messages[0].MessageID, want.recoded, want.links)
			if want.recoded {
				return
			}
			rest := strings.ReplaceAll(string(out), "\r", "") // what is not HTML is there byte for byte
			for line := range strings.Lines(strings.ReplaceAll(string(raw), "\r", "")) {
				if bytes.Contains(raw, []byte("base64")) || strings.ContainsAny(line, "<>@=") {
					continue
				}
				if !strings.Contains(rest, line) {
					t.Errorf("line %q is gone", line)
				}
			}
		})
	}
}

var pixelTag = regexp.MustCompile(`<img src="` + regexp.QuoteMeta(baseURL) + `/o/[\w-]+\.gif" [^>]*>`)

func samePart(t *testing.T, ring *token.Ring, raw, out []byte, messageID string, recoded bool, links int) {
	t.Helper()
	before, after := parts(t, raw), parts(t, out)
	if len(before) != len(after) {
		t.Fatalf("%d parts became %d\n%s", len(before), len(after), out)
	}
	ordinal, pixels := int32(0), 0
	for i, b := range before {
		a := after[i]
		html := b.ContentType == "text/html" && b.Disposition != "attachment"
		sameHeader(t, b.Header, a.Header, i == 0, html && recoded, messageID)
		if b.PartID != a.PartID || b.ContentType != a.ContentType || b.Boundary != a.Boundary || b.ContentID != a.ContentID || b.FileName != a.FileName || !recoded && b.Charset != a.Charset {
			t.Errorf("part %s: %s %s became %s %s", b.PartID, b.ContentType, b.Charset, a.ContentType, a.Charset)
		}
		if !html {
			if !bytes.Equal(b.Content, a.Content) || !bytes.Equal(b.Epilogue, a.Epilogue) {
				t.Errorf("part %s (%s) has changed:\n%q\n%q", b.PartID, b.ContentType, b.Content, a.Content)
			}
			continue
		}
		all := pieces(string(a.Content))
		if tag := pixelTag.Find(a.Content); tag != nil {
			pixels++
			all = withoutPixel(t, all, string(tag))
		}
		want := slices.DeleteFunc(pieces(string(b.Content)), func(p piece) bool { return p.raw == "" })
		if len(all) != len(want) {
			t.Fatalf("%d pieces became %d\n%q\n%q", len(want), len(all), b.Content, a.Content)
		}
		for j, w := range want {
			if all[j].raw != w.raw {
				checkTag(t, ring, w, all[j], &ordinal)
			}
		}
	}
	if pixels != 1 || int(ordinal) != links {
		t.Errorf("%d pixels, %d links changed", pixels, ordinal)
	}
	var claims token.Claims
	if err := ring.OpenMessageID(after[0].Header.Get("Message-Id"), &claims); err != nil || claims != (token.Claims{Org: 1, Email: 2, Recipient: 3}) {
		t.Errorf("Message-ID says %+v, %v", claims, err)
	}
}

func sameHeader(t *testing.T, before, after textproto.MIMEHeader, root, recoded bool, messageID string) {
	t.Helper()
	before, after = maps.Clone(before), maps.Clone(after)
	if root {
		if got := after["Message-Id"]; len(got) != 1 || got[0] != messageID {
			t.Errorf("Message-ID %q, want %q", got, messageID)
		}
		delete(before, "Message-Id")
		delete(after, "Message-Id")
		delete(before, "Bcc")
	}
	if recoded {
		for _, name := range []string{"Content-Type", "Content-Transfer-Encoding"} {
			delete(before, name)
			delete(after, name)
		}
	}
	for name, values := range before {
		if !slices.Equal(values, after[name]) {
			t.Errorf("%s: %q became %q", name, values, after[name])
		}
		delete(after, name)
	}
	if len(after) > 0 {
		t.Errorf("new header fields %v", after)
	}
}
