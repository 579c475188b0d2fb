package follow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/follow"
	"mailwake/ingest/token"
)

func (f *fixture) answer(t *testing.T, address string, state registry.Preference, purposes registry.Purposes) {
	t.Helper()
	err := f.registry.SetPreferences(t.Context(), f.org, []registry.PreferenceChange{{Address: address, Purposes: purposes, State: state}},
		registry.Proof{Source: "test", Actor: registry.BySystem()})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) policy(t *testing.T, change func(*registry.Policy)) {
	t.Helper()
	p := registry.DefaultPolicy()
	change(&p)
	if _, err := f.registry.SetPolicy(t.Context(), f.org, p, registry.BySystem()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) must(t *testing.T, req follow.Request) follow.Response {
	t.Helper()
	resp, err := f.service.Follow(t.Context(), f.org, req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// files keeps blobs in memory.
type files map[string]string

func (f files) Get(_ context.Context, key string, _, _ int64) (io.ReadCloser, error) {
	text, ok := f[key]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (f *fixture) upload(t *testing.T, name, text string, followed bool) registry.AttachmentID {
	t.Helper()
	if f.service.Files == nil {
		f.service.Files = files{}
	}
	a, err := f.registry.BeginAttachment(t.Context(), f.org, registry.NewAttachment{Name: name, ContentType: "text/plain", Key: "k/" + name, Follow: followed})
	if err == nil {
		a, err = f.registry.FinishAttachment(t.Context(), f.org, a.ID, int64(len(text)), "")
	}
	if err != nil {
		t.Fatal(err)
	}
	f.service.Files.(files)["k/"+name] = text
	return a.ID
}

func TestBlocked(t *testing.T) {
	f := newFixture(t)
	f.answer(t, "kim@customer.example", registry.Denied, registry.AllPurposes)
	_, err := f.service.Follow(t.Context(), f.org, request())
	p := problem.Of(err)
	blockers, _ := p.Members["blockers"].([]follow.Blocker)
	if p.Code != "follow_blocked" || p.Status != 409 || p.Members["email_id"] != int64(1) || len(blockers) != 1 || len(f.log.events) != 0 {
		t.Fatalf("%v, members %v", err, p.Members)
	}
	if b := blockers[0]; b.Address != "kim@customer.example" || b.Person != "c-7" || !slices.Equal(b.Reasons, []string{"recipient_denied"}) {
		t.Errorf("blocker %+v", b)
	}
	if strings.Contains(err.Error(), "@") {
		t.Errorf("the error's text holds an address: %v", err)
	}
	stored, err := f.registry.Email(t.Context(), f.org, 1)
	if err != nil || stored.Follow != registry.FollowBlocked || !stored.Wished || stored.SentAt != 0 || len(stored.Blockers()) != 1 {
		t.Errorf("stored %+v, %v", stored.Email, err)
	}

	f.answer(t, "kim@customer.example", registry.Allowed, registry.AllPurposes)
	again := request()
	again.Retry = 1
	if resp := f.must(t, again); resp.EmailID != 1 || resp.FollowState != "on" || len(f.log.events) != 2 {
		t.Errorf("retry: %+v", resp)
	}
	if _, err := f.service.Follow(t.Context(), f.org, again); problem.Of(err).Code != "email_not_blocked" {
		t.Errorf("retry of a sent email: %v", err)
	}
}

func TestBlockedIfAllowed(t *testing.T) {
	f := newFixture(t)
	f.answer(t, "kim@customer.example", registry.Denied, registry.AllPurposes)
	req := request()
	req.Follow = "if_allowed"
	resp := f.must(t, req)
	if resp.FollowState != "blocked" || resp.EmailID != 1 || !slices.Equal(resp.Reasons, []string{"recipient_denied"}) || len(resp.Blockers) != 1 || resp.Links != 0 || len(f.log.events) != 0 {
		t.Fatalf("%+v", resp)
	}
	for _, m := range resp.Messages {
		if m.HTML != req.HTML || m.MessageID != "" || len(m.Purposes) != 0 || m.RecipientID == 0 {
			t.Errorf("%+v", m)
		}
	}
}

func TestFollowOthers(t *testing.T) {
	f := newFixture(t)
	f.policy(t, func(p *registry.Policy) { p.OnRefusal = registry.RefusalFollowOthers })
	f.answer(t, "kim@customer.example", registry.Denied, registry.AllPurposes)
	resp := f.must(t, request())
	if resp.FollowState != "on" || len(resp.Blockers) != 1 || len(resp.Messages) != 2 {
		t.Fatalf("%+v", resp)
	}
	addresses(t, resp.Messages[0].HTML)
	if m := resp.Messages[1]; m.HTML != request().HTML || m.MessageID != "" || len(m.Purposes) != 0 {
		t.Errorf("the refusing recipient's copy: %+v", m)
	}
	if len(f.log.events) != 1 || f.log.events[0].Recipient != event.RecipientID(resp.Messages[0].RecipientID) {
		t.Errorf("sent events %+v", f.log.events)
	}
	f.answer(t, "jo@customer.example", registry.Denied, registry.AllPurposes)
	if _, err := f.service.Follow(t.Context(), f.org, request()); problem.Of(err).Code != "follow_blocked" {
		t.Errorf("nobody left: %v", err)
	}
}

// TestPartialRefusals goes through all sets of refused purposes but the full one.
func TestPartialRefusals(t *testing.T) {
	for refused := registry.Purposes(0); refused < registry.AllPurposes; refused++ {
		f := newFixture(t)
		id := f.upload(t, "a.txt", "content", true)
		if refused != 0 {
			f.answer(t, "jo@customer.example", registry.Denied, refused)
		}
		for _, output := range []string{"html", "mime"} {
			req := request()
			req.Attachments, req.Output = []follow.FileRef{{ID: int64(id)}}, output
			resp := f.must(t, req)
			m := resp.Messages[0]
			text := m.HTML + strings.ReplaceAll(strings.ReplaceAll(string(m.MIME), "=\r\n", ""), "=3D", "=")
			has := map[registry.Purpose]bool{
				registry.PurposeOpen: strings.Contains(text, baseURL+"/o/"), registry.PurposeClick: strings.Contains(text, baseURL+"/c/"),
				registry.PurposeAttachment: strings.Contains(text, baseURL+"/a/"), registry.PurposeReply: m.MessageID != "",
			}
			for purpose, there := range has {
				if there == refused.Has(purpose) {
					t.Errorf("refused %v, %s: %s is %v", refused.Names(), output, purpose, there)
				}
			}
			direct := refused.Has(registry.PurposeAttachment)
			if output == "html" && (len(m.Attach) == 1) != direct || output == "mime" && strings.Contains(text, "Content-Disposition: attachment") != direct {
				t.Errorf("refused %v, %s: attached %+v", refused.Names(), output, m.Attach)
			}
			if !slices.Equal(m.Purposes, (registry.AllPurposes &^ refused).Names()) {
				t.Errorf("refused %v: purposes %v", refused.Names(), m.Purposes)
			}
		}
		if len(f.log.events) != 4 {
			t.Errorf("refused %v: %d sent events", refused.Names(), len(f.log.events))
		}
	}
}

func TestAttachments(t *testing.T) {
	f := newFixture(t)
	followed, direct := f.upload(t, "Größe \"1\" & <2>.txt", "followed content", true), f.upload(t, "direct.txt", "direct content", false)
	req := request()
	req.Attachments, req.Output, req.Text = []follow.FileRef{{ID: int64(direct)}, {ID: int64(followed)}}, "mime", "plain text"
	resp := f.must(t, req)
	for i, m := range resp.Messages {
		all := parts(t, m.MIME)
		if len(all) != 5 || all[0].ContentType != "multipart/mixed" || all[1].ContentType != "multipart/alternative" || all[4].FileName != "direct.txt" || string(all[4].Content) != "direct content" {
			t.Fatalf("%d parts in\n%s", len(all), m.MIME)
		}
		if strings.TrimSpace(string(all[2].Content)) != "plain text" {
			t.Errorf("text %q", all[2].Content)
		}
		html := string(all[3].Content)
		_, rest, _ := strings.Cut(html, baseURL+"/a/")
		text, _, _ := strings.Cut(rest, "/")
		checkToken(t, f, token.KindAttachment, text, token.Claims{Org: f.org, Email: 1, Recipient: event.RecipientID(i + 1), Component: 2})
		if !strings.Contains(html, "/Gr%C3%B6%C3%9Fe%20%221%22%20%26%20%3C2%3E.txt\">Gr&#246;&#223;e &#34;1&#34; &amp; &lt;2&gt;.txt</a> (16 bytes)") {
			t.Errorf("link in %s", html)
		}
		if bytes.Contains(m.MIME, []byte("followed content")) {
			t.Error("a followed file is in the mail")
		}
	}
	if _, err := f.registry.RemoveAttachment(t.Context(), f.org, followed); problem.Of(err).Code != "attachment_sent" {
		t.Errorf("removed after it was sent: %v", err)
	}
	req.Attachments = append(req.Attachments, follow.FileRef{ID: 99})
	if _, err := f.service.Follow(t.Context(), f.org, req); problem.Of(err).Code != "attachment_unknown" {
		t.Errorf("unknown file: %v", err)
	}
}

func TestAttachmentsOfUnfollowedMail(t *testing.T) {
	f := newFixture(t)
	id := f.upload(t, "a.txt", "content", true)
	req := request()
	req.Follow, req.Attachments = "no", []follow.FileRef{{ID: int64(id)}}
	if resp := f.must(t, req); len(resp.Messages[0].Attach) != 1 || resp.Messages[0].HTML != req.HTML {
		t.Errorf("%+v", resp.Messages[0])
	}
	req.Output = "mime"
	f.disable()
	if resp := f.must(t, req); !bytes.Contains(resp.Messages[0].MIME, []byte("Y29udGVudA==")) {
		t.Errorf("%s", resp.Messages[0].MIME)
	}
	f.service.Files = files{}
	if _, err := f.service.Follow(t.Context(), f.org, req); problem.Of(err).Code != "storage_unavailable" {
		t.Errorf("blob that cannot be read: %v", err)
	}
}

// TestAttachToMails adds a file to every mail of testdata for somebody who refuses
// links to it, and reads the result with another parser.
func TestAttachToMails(t *testing.T) {
	for name, raw := range testMails(t) {
		f := newFixture(t)
		id := f.upload(t, "päper.txt", "content of the file", false)
		resp := f.must(t, follow.Request{MIME: raw, To: []follow.Recipient{{Address: "jo@customer.example"}}, Attachments: []follow.FileRef{{ID: int64(id)}}})
		before, after := parts(t, raw), parts(t, resp.Messages[0].MIME)
		last := after[len(after)-1]
		if after[0].ContentType != "multipart/mixed" || last.FileName != "päper.txt" || string(last.Content) != "content of the file" || last.Disposition != "attachment" {
			t.Errorf("%s: last part %s %q of\n%s", name, last.ContentType, last.FileName, resp.Messages[0].MIME)
		}
		wrapped := before[0].ContentType != "multipart/mixed"
		if want := len(before) + 1; len(after) != want && !(wrapped && len(after) == want+1) {
			t.Errorf("%s: %d parts became %d", name, len(before), len(after))
		}
		for i, b := range before {
			a := after[i]
			if wrapped {
				a = after[i+1]
			}
			if i == 0 && !wrapped || b.ContentType == "text/html" || len(b.Content) == 0 {
				continue
			}
			if a.ContentType == "" {
				a.ContentType = "text/plain" // what a part without the field is
			}
			if a.ContentType != b.ContentType || !bytes.Equal(bytes.TrimSpace(a.Content), bytes.TrimSpace(b.Content)) {
				t.Errorf("%s: part %d (%s) became %s %q", name, i, b.ContentType, a.ContentType, a.Content)
			}
		}
	}
}
