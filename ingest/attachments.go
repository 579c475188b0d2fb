package ingest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"strings"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

const (
	// abandonedAfter is the age at which an attachment that no email has taken is
	// removed: far beyond any upload, and a month of drafts.
	abandonedAfter = 30 * 24 * time.Hour
	// abandonedBatch bounds one look for abandoned attachments.
	abandonedBatch = 1_000
)

// BlobStore is what attachments need of a blob.Store.
type BlobStore interface {
	Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Delete(ctx context.Context, keys ...string) error
}

// Attachments keeps the files that go with emails: rows in the registry, bytes in
// the blob store. Its fields must not change while it is used; it is safe for
// concurrent use.
//
//	row "uploading" ──▶ blob ──▶ row "stored" ──▶ in an email: sent, for good
//	                                  └▶ row "removed" ──▶ blob deleted ──▶ no row
//
// Breaking off anywhere leaves a row that says where the blob may be; Sweep
// finishes what was broken off.
type Attachments struct {
	Registry *registry.Registry
	Store    BlobStore
	Prefix   func(org string) string // key prefix of the organisation's attachments, with a slash at its end
	TempDir  string                  // an upload waits here until its size is known; "" is the system's
}

// Upload stores a file of at most registry.MaxAttachmentBytes, read once from r
// and never held in memory. Problems: those of BeginAttachment,
// attachment_too_large, attachment_empty, content_type_invalid, upload_failed,
// storage_unavailable.
func (s *Attachments) Upload(ctx context.Context, org registry.Org, name, contentType string, follow bool, r io.Reader) (registry.Attachment, error) {
	contentType, err := settleContentType(contentType)
	if err != nil {
		return registry.Attachment{}, err
	}
	// 130 random bits: whoever knows one key knows no other, and none comes twice.
	key := s.Prefix(org.Name) + rand.Text()
	a, err := s.Registry.BeginAttachment(ctx, org.ID, registry.NewAttachment{Name: name, ContentType: contentType, Key: key, Follow: follow})
	if err != nil {
		return a, err
	}
	size, sum, err := s.store(ctx, key, r)
	if err != nil {
		// Sweep does it later when this does not work.
		return registry.Attachment{}, errors.Join(err, s.discard(context.WithoutCancel(ctx), a))
	}
	return s.Registry.FinishAttachment(ctx, org.ID, a.ID, size, sum)
}

// settleContentType returns a media type as it will be sent to browsers.
func settleContentType(text string) (string, error) {
	if text == "" {
		return "application/octet-stream", nil
	}
	kind, params, err := mime.ParseMediaType(text)
	settled := mime.FormatMediaType(kind, params)
	if err != nil || settled == "" || !strings.Contains(kind, "/") || strings.HasPrefix(kind, "multipart/") {
		return "", problem.New(422, "content_type_invalid", "The Content-Type is not a media type that a file can have; leave it out for application/octet-stream.")
	}
	return settled, nil
}

// store copies r to a temporary file, for its size and checksum, and from there
// to the blob store.
func (s *Attachments) store(ctx context.Context, key string, r io.Reader) (size int64, sum string, err error) {
	f, err := os.CreateTemp(s.TempDir, "upload-")
	if err != nil {
		return 0, "", fmt.Errorf("make room for an upload: %w", err)
	}
	defer f.Close()
	// Without its name it is gone with the process, however that ends.
	if err := os.Remove(f.Name()); err != nil {
		return 0, "", fmt.Errorf("make room for an upload: %w", err)
	}
	hash := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, hash), io.LimitReader(r, registry.MaxAttachmentBytes+1))
	switch {
	case size > registry.MaxAttachmentBytes:
		return 0, "", problem.New(413, "attachment_too_large", "The file is larger than %d bytes.", registry.MaxAttachmentBytes)
	case err != nil:
		return 0, "", problem.New(400, "upload_failed", "The file did not arrive whole; send it again.").Because(err)
	case size == 0:
		return 0, "", problem.New(422, "attachment_empty", "The file is empty.")
	}
	if err := s.Store.Put(ctx, key, f, true); err != nil {
		return 0, "", problem.New(503, "storage_unavailable", "The storage did not take the file; try again later.").Because(err)
	}
	return size, hex.EncodeToString(hash.Sum(nil)), nil
}

// Remove takes an attachment that was never sent out of use and deletes its blob.
// Problems: attachment_not_found, attachment_sent.
func (s *Attachments) Remove(ctx context.Context, org event.OrgID, id registry.AttachmentID) error {
	a, err := s.Registry.RemoveAttachment(ctx, org, id)
	if err != nil {
		return err
	}
	// It is gone for everybody now; what is left behind is Sweep's.
	return s.discard(context.WithoutCancel(ctx), a)
}

// discard deletes the blob, then the row, of an attachment that is not in use.
func (s *Attachments) discard(ctx context.Context, a registry.Attachment) error {
	if err := s.Store.Delete(ctx, a.Key); err != nil {
		return problem.New(503, "storage_unavailable", "The storage did not delete the file; that is tried again later.").Because(err)
	}
	return s.Registry.ForgetAttachment(ctx, a.Org, a.ID)
}

// Sweep removes what was abandoned 30 days before now: uploads and removals that
// broke off, and files that no email took. It returns how many. After an error
// the rest is left for the next time.
func (s *Attachments) Sweep(ctx context.Context, now time.Time) (n int, err error) {
	abandoned, err := s.Registry.AbandonedAttachments(ctx, now.Add(-abandonedAfter), abandonedBatch)
	if err != nil {
		return 0, err
	}
	for _, a := range abandoned {
		err := s.Registry.AbandonAttachment(ctx, a.Org, a.ID)
		if code := problem.Of(err).Code; code == "attachment_sent" || code == "attachment_not_found" {
			continue // somebody was faster
		}
		if err == nil {
			err = s.discard(ctx, a)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Open returns the bytes [off, off+n) of a sent attachment.
func (s *Attachments) Open(ctx context.Context, a registry.Attachment, off, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, a.Key, off, n)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, problem.New(404, "attachment_not_found", "The file is not there any more.").Because(err)
	}
	return r, err
}

// Find returns the attachment with this ordinal of an email. Problem:
// attachment_not_found.
func (s *Attachments) Find(ctx context.Context, org event.OrgID, email event.EmailID, ordinal int32) (registry.Attachment, error) {
	return s.Registry.SentAttachment(ctx, org, email, ordinal)
}
