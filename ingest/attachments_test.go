package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

type closet struct {
	*Attachments
	store *blobtest.Faulty
	org   registry.Org
	clock time.Time
	temp  string
}

func newCloset(t *testing.T) *closet {
	t.Helper()
	c := &closet{store: blobtest.NewFaulty(blob.Mem("attachments")), clock: noon, temp: t.TempDir()}
	reg, err := registry.Open(t.Context(), registry.Options{DSN: "sqlite:///" + filepath.Join(t.TempDir(), "registry.db"), Clock: func() time.Time { return c.clock }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	if c.org, err = reg.CreateOrg(t.Context(), registry.NewOrg{Name: "acme"}); err != nil {
		t.Fatal(err)
	}
	c.Attachments = &Attachments{Registry: reg, Store: c.store, TempDir: c.temp, Prefix: func(org string) string { return "warehouse/" + org + "/attachments/" }}
	return c
}

// blobs returns the keys in the store.
func (c *closet) blobs(t *testing.T) (keys []string) {
	t.Helper()
	for info, err := range c.store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// rows counts the rows of attachments that were not sent, whatever their state.
func (c *closet) rows(t *testing.T) int {
	t.Helper()
	all, err := c.Registry.AbandonedAttachments(t.Context(), c.clock.Add(time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestUpload(t *testing.T) {
	c := newCloset(t)
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	a, err := c.Upload(t.Context(), c.org, "a.pdf", "application/PDF; charset=x", true, bytes.NewReader(content))
	if err != nil || a.Size != 1_000_000 || a.ContentType != "application/pdf; charset=x" || len(a.SHA256) != 64 || !a.Follow {
		t.Fatalf("%+v, %v", a, err)
	}
	b, err := c.Upload(t.Context(), c.org, "a.pdf", "", false, bytes.NewReader(content))
	if err != nil || b.ContentType != "application/octet-stream" || b.Key == a.Key || b.SHA256 != a.SHA256 {
		t.Fatalf("%+v, %v", b, err)
	}
	for _, x := range []registry.Attachment{a, b} {
		if random, ok := strings.CutPrefix(x.Key, "warehouse/acme/attachments/"); !ok || len(random) < 26 || blob.CheckKey(x.Key) != nil {
			t.Errorf("key %q", x.Key)
		}
	}
	r, err := c.Open(t.Context(), a, 10, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if part, err := io.ReadAll(r); err != nil || string(part) != "01234567890123456789" {
		t.Errorf("%q, %v", part, err)
	}
	if left, err := os.ReadDir(c.temp); err != nil || len(left) != 0 {
		t.Errorf("temporary files %v, %v", left, err)
	}
	if err := c.Remove(t.Context(), c.org.ID, a.ID); err != nil {
		t.Error(err)
	}
	if keys := c.blobs(t); len(keys) != 1 || keys[0] != b.Key || c.rows(t) != 1 {
		t.Errorf("after removal: blobs %q, %d rows", keys, c.rows(t))
	}
	if _, err := c.Open(t.Context(), a, 0, -1); problem.Of(err).Code != "attachment_not_found" {
		t.Errorf("open after removal: %v", err)
	}
}

// zeros is a body of any length.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestUploadRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		file, contentType string
		body              io.Reader
		code              string
	}{
		"too large":    {"a", "text/plain", zeros{}, "attachment_too_large"},
		"empty":        {"a", "text/plain", strings.NewReader(""), "attachment_empty"},
		"breaks off":   {"a", "text/plain", io.MultiReader(strings.NewReader("x"), errReader{}), "upload_failed"},
		"traversal":    {"../a", "text/plain", strings.NewReader("x"), "attachment_name_invalid"},
		"header":       {"a\r\nX: y", "text/plain", strings.NewReader("x"), "attachment_name_invalid"},
		"type":         {"a", "text", strings.NewReader("x"), "content_type_invalid"},
		"type, header": {"a", "text/plain\r\nX: y", strings.NewReader("x"), "content_type_invalid"},
		"type, long":   {"a", "text/" + strings.Repeat("x", 300), strings.NewReader("x"), "content_type_invalid"},
		"multipart":    {"a", "multipart/mixed; boundary=x", strings.NewReader("x"), "content_type_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloset(t)
			if _, err := c.Upload(t.Context(), c.org, test.file, test.contentType, true, test.body); problem.Of(err).Code != test.code {
				t.Errorf("%v, want %s", err, test.code)
			}
			if c.rows(t) != 0 || len(c.blobs(t)) != 0 {
				t.Errorf("%d rows, blobs %q left", c.rows(t), c.blobs(t))
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

// TestNoBlobWithoutRow lets each call of the store fail, before and after its
// effect, and expects that a later sweep leaves nothing behind.
func TestNoBlobWithoutRow(t *testing.T) {
	for _, op := range []blobtest.Op{blobtest.OpPut, blobtest.OpDelete} {
		for _, when := range []blobtest.When{blobtest.Before, blobtest.After} {
			c := newCloset(t)
			down := true
			c.store.Script(func(o blobtest.Op, _ string) blobtest.Fault {
				if down && (o == op || o == blobtest.OpDelete) {
					return blobtest.Fault{When: when}
				}
				return blobtest.Fault{}
			})
			a, err := c.Upload(t.Context(), c.org, "a", "text/plain", true, strings.NewReader("x"))
			if op == blobtest.OpDelete {
				if err != nil {
					t.Fatal(err)
				}
				err = c.Remove(t.Context(), c.org.ID, a.ID)
			}
			if problem.Of(err).Code != "storage_unavailable" {
				t.Errorf("%s, %v: %v", op, when, err)
			}
			if list, err := c.Registry.Attachments(t.Context(), c.org.ID, 0, 0); err != nil || len(list) != 0 {
				t.Errorf("%s, %v: still there: %+v", op, when, list)
			}
			if c.rows(t) != 1 {
				t.Errorf("%s, %v: %d rows tell of the blob", op, when, c.rows(t))
			}
			down = false
			if n, err := c.Sweep(t.Context(), c.clock.Add(abandonedAfter)); err != nil || n != 0 {
				t.Errorf("%s, %v: %d swept too early, %v", op, when, n, err)
			}
			if n, err := c.Sweep(t.Context(), c.clock.Add(abandonedAfter+time.Hour)); err != nil || n != 1 {
				t.Errorf("%s, %v: %d swept, %v", op, when, n, err)
			}
			if c.rows(t) != 0 || len(c.blobs(t)) != 0 {
				t.Errorf("%s, %v: %d rows, blobs %q left", op, when, c.rows(t), c.blobs(t))
			}
		}
	}
}

func TestSweepLeavesSent(t *testing.T) {
	c := newCloset(t)
	sent, err := c.Upload(t.Context(), c.org, "sent", "text/plain", true, strings.NewReader("x"))
	if err == nil {
		_, err = c.Upload(t.Context(), c.org, "draft", "text/plain", true, strings.NewReader("x"))
	}
	if err == nil {
		_, err = c.Registry.RegisterEmail(context.Background(), c.org.ID, registry.NewEmail{
			From: "a@b.example", Recipients: []registry.NewRecipient{{Address: "c@d.example"}}, Wish: true, Attachments: []registry.AttachmentID{sent.ID},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Sweep(t.Context(), c.clock.Add(abandonedAfter+time.Hour)); err != nil || n != 1 {
		t.Errorf("%d swept, %v", n, err)
	}
	if keys := c.blobs(t); len(keys) != 1 || keys[0] != sent.Key {
		t.Errorf("left %q", keys)
	}
	if err := c.Remove(t.Context(), c.org.ID, sent.ID); problem.Of(err).Code != "attachment_sent" {
		t.Errorf("removed after it was sent: %v", err)
	}
}
