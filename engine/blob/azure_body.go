package blob

import (
	"context"
	"crypto/md5" //nolint:gosec // the checksum Azure keeps; it guards against damage, not against people
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// section is a part of a body that is sent in one request, read without a copy
// of it. An HTTP transport may still be reading after its request has failed,
// so detach cuts it off from the body, which belongs to the caller again.
type section struct {
	off, size int64
	mu        struct {
		sync.Mutex
		r   io.ReadSeeker // nil after detach
		pos int64
		err error // of r
	}
}

func newSection(r io.ReadSeeker, off, size int64) *section {
	s := &section{off: off, size: size}
	s.mu.r = r
	return s
}

var errDetached = errors.New("body read after its request was over")

// Read implements io.Reader. It seeks every time: sections share the body.
func (s *section) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.r == nil {
		return 0, errDetached
	}
	left := s.size - s.mu.pos
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := 0, error(nil)
	if _, err = s.mu.r.Seek(s.off+s.mu.pos, io.SeekStart); err == nil {
		n, err = s.mu.r.Read(p[:min(int64(len(p)), left)])
	}
	s.mu.pos += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if s.mu.pos < s.size {
			err = fmt.Errorf("body ends %d bytes early: %w", s.size-s.mu.pos, io.ErrUnexpectedEOF)
		}
	}
	s.mu.err = err
	return n, err
}

// Seek implements io.Seeker.
func (s *section) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += s.mu.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	s.mu.pos = offset
	return offset, nil
}

// Close implements io.Closer; the body stays open.
func (s *section) Close() error { return nil }

// detach waits for a Read under way and makes all later ones fail.
func (s *section) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.r = nil
}

// md5 returns the checksum of the section and rewinds it.
func (s *section) md5(ctx context.Context) ([]byte, error) {
	h := md5.New() //nolint:gosec // see the import
	if _, err := io.Copy(h, &ctxReader{ctx, s}); err != nil {
		return nil, &bodyError{err}
	}
	_, err := s.Seek(0, io.SeekStart)
	return h.Sum(nil), err
}

// blame returns the error of the body, if it had one, in place of err, the one
// of the request.
func (s *section) blame(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.mu.err != nil {
		return &bodyError{s.mu.err}
	}
	return err
}

// bodyError is the caller's own error: not Azure's, and not transient.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// azureBody translates the errors of reading.
type azureBody struct {
	ctx context.Context
	io.ReadCloser
}

func (b *azureBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = azureError(b.ctx, err)
	}
	return n, err
}

// azureInfo allows for fields that the service leaves out.
func azureInfo(key string, size *int64, modified *time.Time) Info {
	i := Info{Key: key}
	if size != nil {
		i.Size = *size
	}
	if modified != nil {
		i.Modified = *modified
	}
	return i
}

// uploadID keeps the blocks of one upload apart from those of others.
type uploadID string

func newUploadID() uploadID { return uploadID(rand.Text()) }

// block names the n-th block. All names of an upload have the same length, as
// the service wants it.
func (u uploadID) block(n int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d", string(u), n))
}
