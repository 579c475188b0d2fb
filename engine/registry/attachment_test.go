package registry

import (
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
)

// file uploads an attachment of 3 bytes.
func file(t *testing.T, r *Registry, o event.OrgID, name string, follow bool) Attachment {
	t.Helper()
	a, err := r.BeginAttachment(t.Context(), o, NewAttachment{Name: name, ContentType: "text/plain", Key: "k/" + name, Follow: follow})
	if err == nil {
		a, err = r.FinishAttachment(t.Context(), o, a.ID, 3, strings.Repeat("a", 64))
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAttachmentLife(t *testing.T) {
	r := fresh(t)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	a, err := r.BeginAttachment(t.Context(), acme, NewAttachment{Name: "a.pdf", ContentType: "application/pdf", Key: "k/1", Follow: true})
	if err != nil || a.ID != 1 || a.State != AttachmentUploading {
		t.Fatalf("%+v, %v", a, err)
	}
	_, err = r.Attachment(t.Context(), acme, a.ID)
	wantCode(t, err, "attachment_not_found")
	if a, err = r.FinishAttachment(t.Context(), acme, a.ID, 7, "ab"); err != nil || a.Size != 7 {
		t.Fatalf("%+v, %v", a, err)
	}
	if got, err := r.Attachment(t.Context(), acme, a.ID); err != nil || got != a {
		t.Errorf("%+v, %v; want %+v", got, err, a)
	}
	_, err = r.Attachment(t.Context(), beta, a.ID)
	wantCode(t, err, "attachment_not_found")
	_, err = r.RemoveAttachment(t.Context(), beta, a.ID)
	wantCode(t, err, "attachment_not_found")
	if got, err := r.FollowAttachment(t.Context(), acme, a.ID, false); err != nil || got.Follow {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := r.RemoveAttachment(t.Context(), acme, a.ID); err != nil || got.Key != "k/1" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = r.Attachment(t.Context(), acme, a.ID)
	wantCode(t, err, "attachment_not_found")
	_, err = r.RemoveAttachment(t.Context(), acme, a.ID)
	wantCode(t, err, "attachment_not_found")
	if err := r.ForgetAttachment(t.Context(), acme, a.ID); err != nil {
		t.Error(err)
	}
	if b := file(t, r, acme, "b", true); b.ID != 2 {
		t.Errorf("id %d after a removal, want 2", b.ID)
	}
	if b := file(t, r, beta, "c", true); b.ID != 1 {
		t.Errorf("first id of another organisation is %d", b.ID)
	}
}

func TestAttachmentSent(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	a, b := file(t, r, acme, "a", true), file(t, r, acme, "b", false)
	in := mail("a@example.com")
	in.Attachments = []AttachmentID{b.ID, a.ID}
	e := register(t, r, acme, in)
	if len(e.Attachments) != 2 || e.Attachments[0].ID != b.ID || e.Attachments[0].Followed || !e.Attachments[1].Followed || e.Attachments[1].Ordinal != 2 {
		t.Fatalf("%+v", e.Attachments)
	}
	if got, err := r.SentAttachment(t.Context(), acme, e.ID, 2); err != nil || got.ID != a.ID || !got.Sent {
		t.Errorf("%+v, %v", got, err)
	}
	for _, ordinal := range []int32{0, 3, -1} {
		_, err := r.SentAttachment(t.Context(), acme, e.ID, ordinal)
		wantCode(t, err, "attachment_not_found")
	}
	_, err := r.RemoveAttachment(t.Context(), acme, a.ID)
	wantCode(t, err, "attachment_sent")
	_, err = r.FollowAttachment(t.Context(), acme, a.ID, false)
	wantCode(t, err, "attachment_sent")
	wantCode(t, r.AbandonAttachment(t.Context(), acme, a.ID), "attachment_sent")
	if err := r.ForgetAttachment(t.Context(), acme, a.ID); err != nil {
		t.Error(err)
	}
	if got, err := r.Attachment(t.Context(), acme, a.ID); err != nil || got.State != AttachmentStored {
		t.Errorf("%+v, %v", got, err)
	}
	again := register(t, r, acme, in) // one file may go with several emails
	if got, err := r.Email(t.Context(), acme, again.ID); err != nil || len(got.Attachments) != 2 || got.Attachments[1] != again.Attachments[1] {
		t.Errorf("%+v, %v", got.Attachments, err)
	}
}

func TestAttachmentFaults(t *testing.T) {
	r := fresh(t)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	for _, name := range []string{"", ".", "..", "...", "a/b", `a\b`, "../x", "a\r\nb", "a\x00", " a", "a ", "\xff", "pdf.\u202eexe", "\u2066x", strings.Repeat("n", 256)} {
		_, err := r.BeginAttachment(t.Context(), acme, NewAttachment{Name: name, ContentType: "text/plain", Key: "k"})
		wantCode(t, err, "attachment_name_invalid")
	}
	for _, ct := range []string{"", "text/plain\r\nX: y", strings.Repeat("x", 256)} {
		_, err := r.BeginAttachment(t.Context(), acme, NewAttachment{Name: "n", ContentType: ct, Key: "k"})
		wantCode(t, err, "content_type_invalid")
	}
	theirs := file(t, r, beta, "theirs", true)
	other := file(t, r, beta, "other", true)
	mine := file(t, r, acme, "mine", true)
	unfinished, err := r.BeginAttachment(t.Context(), acme, NewAttachment{Name: "u", ContentType: "text/plain", Key: "k/u"})
	if err != nil {
		t.Fatal(err)
	}
	for code, ids := range map[string][]AttachmentID{
		"attachment_unknown":   {mine.ID, unfinished.ID},
		"attachment_duplicate": {mine.ID, mine.ID},
		"too_many_attachments": make([]AttachmentID, MaxAttachments+1),
	} {
		in := mail("a@example.com")
		in.Attachments = ids
		_, err := r.RegisterEmail(t.Context(), acme, in)
		wantCode(t, err, code)
	}
	if got, err := r.Attachment(t.Context(), acme, mine.ID); err != nil || got.Sent {
		t.Errorf("sent with an email that was refused: %+v, %v", got, err)
	}
	if other.ID != 2 || theirs.ID != 1 {
		t.Fatal("the ids of the other organisation do not cover this one's")
	}
	if err := disableIf(r, acme, true); err != nil {
		t.Fatal(err)
	}
	_, err = r.BeginAttachment(t.Context(), acme, NewAttachment{Name: "n", ContentType: "text/plain", Key: "k/n"})
	wantCode(t, err, "feature_disabled")
	_, err = r.BeginAttachment(t.Context(), 99, NewAttachment{Name: "n", ContentType: "text/plain", Key: "k/n"})
	wantCode(t, err, "org_not_found")
}

func TestAbandonedAttachments(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	unused, sent := file(t, r, acme, "unused", true), file(t, r, acme, "sent", true)
	broken, err := r.BeginAttachment(t.Context(), acme, NewAttachment{Name: "broken", ContentType: "text/plain", Key: "k/broken"})
	if err != nil {
		t.Fatal(err)
	}
	in := mail("a@example.com")
	in.Attachments = []AttachmentID{sent.ID}
	register(t, r, acme, in)
	if all, err := r.AbandonedAttachments(t.Context(), unused.CreatedAt.Time(), 10); err != nil || len(all) != 0 {
		t.Errorf("too early: %+v, %v", all, err)
	}
	later := unused.CreatedAt.Time().Add(time.Hour)
	all, err := r.AbandonedAttachments(t.Context(), later, 10)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, a := range all {
		if a.ID != unused.ID && a.ID != broken.ID {
			t.Errorf("%+v is not abandoned", a)
		}
		if err := r.AbandonAttachment(t.Context(), acme, a.ID); err != nil {
			t.Error(err)
		}
		if err := r.ForgetAttachment(t.Context(), acme, a.ID); err != nil {
			t.Error(err)
		}
	}
	if all, err := r.AbandonedAttachments(t.Context(), later, 10); err != nil || len(all) != 0 {
		t.Errorf("left %+v, %v", all, err)
	}
}
