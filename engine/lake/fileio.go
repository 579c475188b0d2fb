package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/google/uuid"

	"mailwake/engine/blob"
)

// storeProperty is the catalog property by which iceberg-go's IO finds the
// blob.Store of an open Lake. It is never written into a table.
const storeProperty = "mailwake.store"

const dataSuffix = ".parquet"

// iceberg-go looks file systems up by URL scheme in a registry of the whole
// process, so ours is of the whole process too: one entry per open Lake.
var (
	stores          sync.Map // id -> blob.Store
	registerSchemes sync.Once
)

// registerStore makes s known under the id it returns.
func registerStore(s blob.Store) string {
	registerSchemes.Do(func() {
		taken := iceio.GetRegisteredSchemes()
		for _, scheme := range []string{"file", "abfs", "abfss", "mem"} {
			if slices.Contains(taken, scheme) {
				iceio.Unregister(scheme)
			}
			iceio.Register(scheme, newFileIO)
		}
	})
	id := uuid.NewString()
	stores.Store(id, s)
	return id
}

func unregisterStore(id string) { stores.Delete(id) }

// newFileIO is what iceberg-go calls for every operation. A catalog without our
// property gets what it would get without this package, as far as that is known.
func newFileIO(ctx context.Context, location *url.URL, props map[string]string) (iceio.IO, error) {
	id := props[storeProperty]
	s, ok := stores.Load(id)
	switch {
	case ok:
		return &fileIO{ctx: ctx, store: s.(blob.Store)}, nil
	case id == "" && location.Scheme == "file":
		return iceio.LocalFS{}, nil
	case id == "":
		return nil, fmt.Errorf("open %s: not part of an open lake", location.Redacted())
	default:
		return nil, errors.New("lake is closed")
	}
}

// fileIO is iceberg-go's file system over a blob.Store. What it has written is
// durable when Close or WriteFile returns, as Put promises. It refuses to
// delete data blobs, whatever iceberg-go thinks of them.
type fileIO struct {
	ctx   context.Context //nolint:containedctx // of one operation; the interfaces below have none
	store blob.Store
}

var (
	_ iceio.ReadFileIO      = (*fileIO)(nil)
	_ iceio.WriteFileIO     = (*fileIO)(nil)
	_ iceio.BulkRemovableIO = (*fileIO)(nil)
)

func pathError(op, name string, err error) error {
	if errors.Is(err, blob.ErrNotFound) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// ReadFile implements iceio.ReadFileIO.
func (f *fileIO) ReadFile(name string) ([]byte, error) {
	key, err := keyOf(f.store, name)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	data, err := readBlob(f.ctx, f.store, key)
	if err != nil {
		return nil, pathError("read", name, err)
	}
	return data, nil
}

// readBlob reads all of key.
func readBlob(ctx context.Context, s blob.Store, key string) ([]byte, error) {
	body, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	return data, nil
}

// Open implements iceio.IO. Manifests and metadata are small and read from end
// to end, so the file is fetched whole.
func (f *fileIO) Open(name string) (iceio.File, error) {
	data, err := f.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &readFile{bytes.NewReader(data), name}, nil
}

// Create implements iceio.WriteFileIO; the file appears with Close.
func (f *fileIO) Create(name string) (iceio.FileWriter, error) {
	if _, err := keyOf(f.store, name); err != nil {
		return nil, pathError("create", name, err)
	}
	return &writeFile{io: f, name: name}, nil
}

// WriteFile implements iceio.WriteFileIO. Names contain UUIDs, so that what is
// there already under a name is the same bytes, from an earlier try.
func (f *fileIO) WriteFile(name string, p []byte) error {
	key, err := keyOf(f.store, name)
	if err != nil {
		return pathError("write", name, err)
	}
	if written, ok := f.ctx.Value(writtenKey{}).(*[]string); ok {
		*written = append(*written, key)
	}
	if err := f.store.Put(f.ctx, key, bytes.NewReader(p), false); err != nil {
		return pathError("write", name, err)
	}
	return nil
}

// writtenKey is the context key of the *[]string that collects what is written.
type writtenKey struct{}

// Remove implements iceio.IO; removing what is gone is right.
func (f *fileIO) Remove(name string) error {
	_, err := f.DeleteFiles(f.ctx, []string{name})
	return err
}

// DeleteFiles implements iceio.BulkRemovableIO.
func (f *fileIO) DeleteFiles(ctx context.Context, names []string) (deleted []string, err error) {
	var keys []string
	for _, name := range names {
		key, errKey := keyOf(f.store, name)
		if errKey == nil && strings.HasSuffix(key, dataSuffix) {
			errKey = errors.New("data blobs are not iceberg-go's to delete")
		}
		if errKey != nil {
			err = errors.Join(err, pathError("remove", name, errKey))
			continue
		}
		keys = append(keys, key)
		deleted = append(deleted, name)
	}
	if errDelete := f.store.Delete(ctx, keys...); errDelete != nil {
		return nil, errors.Join(err, fmt.Errorf("remove %d files: %w", len(keys), errDelete))
	}
	return deleted, err
}

// readFile is a file held in memory.
type readFile struct {
	*bytes.Reader
	name string
}

func (r *readFile) Close() error               { return nil }
func (r *readFile) Stat() (fs.FileInfo, error) { return fileInfo{path.Base(r.name), r.Size()}, nil }

type fileInfo struct {
	name string
	size int64
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return 0o444 }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return false }
func (i fileInfo) Sys() any           { return nil }

// writeFile collects a file in memory; bytes.Buffer gives it Write and ReadFrom.
type writeFile struct {
	bytes.Buffer
	io     *fileIO
	name   string
	closed bool
}

// Close stores the file, once.
func (w *writeFile) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.io.WriteFile(w.name, w.Bytes())
}
