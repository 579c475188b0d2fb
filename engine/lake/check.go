package lake

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"mailwake/engine/blob"
)

// checkBlob reads the blob of f and compares size and checksum; a difference is
// a *CorruptError.
func checkBlob(ctx context.Context, s blob.Store, f File) error {
	body, err := s.Get(ctx, f.Path, 0, -1)
	if err != nil {
		return err
	}
	return errors.Join(checkBytes(f, body, io.Discard), body.Close())
}

// checkBytes copies r to w and compares what went through with f.
func checkBytes(f File, r io.Reader, w io.Writer) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), r)
	switch {
	case err != nil:
		return err
	case n != f.Bytes:
		return &CorruptError{f.Path, fmt.Sprintf("%d bytes, want %d", n, f.Bytes)}
	case f.Sum != "" && sumOf(h) != f.Sum:
		return &CorruptError{f.Path, "checksum " + sumOf(h) + ", want " + f.Sum}
	}
	return nil
}
