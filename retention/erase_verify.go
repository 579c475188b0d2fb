package retention

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// ErasureVerified says what a verification searched and where it found something.
type ErasureVerified struct {
	Blobs   int      `json:"blobs" doc:"Blobs of the organisation searched: data files decoded, manifests, metadata, attachments."`
	Rows    int64    `json:"rows" doc:"Rows of data files looked at."`
	Rollups int      `json:"rollups" doc:"Rollups of data files searched, decoded."`
	Files   int      `json:"files" doc:"Files of the server's folder searched: registry, log, catalog, caches."`
	Bytes   int64    `json:"bytes"`
	Found   []string `json:"found" doc:"Where something is left; empty when nothing is."`
	Copies  int      `json:"copies" doc:"Versions, snapshots and soft-deleted copies that the storage account keeps; they cannot be searched."`
}

// VerifyErasure searches everything again for what an erasure removed: rows of its
// recipients in every data file, referred to or not, their numbers among the bounds
// of manifests and in rollups, and records. With texts, such as the address, which
// are kept nowhere, also every byte of the store, decompressed, and of the server's
// own files. Problem: erasure_not_found.
func (k *Keeper) VerifyErasure(ctx context.Context, org event.OrgID, id registry.ErasureID, texts []string) (*ErasureVerified, error) {
	o, err := k.org(org)
	if err != nil {
		return nil, err
	}
	r := k.opts.Removals
	e, err := r.Registry.Erasure(ctx, org, id)
	if err != nil {
		return nil, err
	}
	v := &verifying{k: k, c: (&Policy{Erased: e.Recipients}).cull(k.opts.Now()), out: &ErasureVerified{Found: []string{}}}
	for _, t := range texts {
		if t = strings.ToLower(strings.TrimSpace(t)); t != "" {
			v.texts = append(v.texts, []byte(t))
		}
	}
	if err := r.Shred(ctx); err != nil { // into files, where it is searched
		return nil, err
	}
	traces, err := r.Registry.SearchErased(ctx, org, e.Person, e.Recipients, nil)
	if err != nil {
		return nil, err
	}
	for _, table := range traces.Records {
		v.found("registry: " + table)
	}
	for _, part := range []func() error{func() error { return v.blobs(ctx, o) }, func() error { return v.rollups(org) }, func() error { return v.folder(ctx, r.Dir) }, func() error { return v.copies(ctx, o) }} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return v.out, nil
}

type verifying struct {
	k     *Keeper
	c     *cull
	texts [][]byte // lower case
	out   *ErasureVerified
}

func (v *verifying) found(where string) { v.out.Found = append(v.out.Found, where) }

func (v *verifying) has(data []byte) bool {
	data = bytes.ToLower(data)
	for _, t := range v.texts {
		if bytes.Contains(data, t) {
			return true
		}
	}
	return false
}

// blobs searches everything below the organisation's prefix.
func (v *verifying) blobs(ctx context.Context, o registry.Org) error {
	store := v.k.opts.Removals.Store
	for info, err := range store.List(ctx, v.k.opts.Lake.Prefix(o.Name)) {
		if err != nil {
			return err
		}
		v.out.Blobs++
		v.out.Bytes += info.Size
		found := false
		if strings.HasSuffix(info.Key, ".parquet") {
			found, err = v.parquet(ctx, lake.File{Path: info.Key, Bytes: info.Size})
		} else {
			found, err = v.blob(ctx, info.Key)
		}
		if err != nil {
			return err
		}
		if found {
			v.found("blob: " + info.Key)
		}
	}
	return nil
}

func (v *verifying) parquet(ctx context.Context, f lake.File) (found bool, err error) {
	texts := lake.NewTexts()
	r, err := v.k.opts.Lake.Columns(ctx, f, texts, []int{lake.RecipientID},
		[]int{lake.Kind, lake.Actor, lake.Reason, lake.Device, lake.Client, lake.OS, lake.Source, lake.UserAgent, lake.Network})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var rows lake.Rows
	seen := map[lake.Code]bool{}
	for {
		switch err := r.Next(&rows); {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return false, err
		}
		v.out.Rows += int64(rows.Len())
		for i, id := range rows.Longs[lake.RecipientID] {
			found = found || v.c.has(id)
			for column := range rows.Texts {
				if code := rows.Texts[column][i]; len(v.texts) > 0 && !seen[code] {
					seen[code] = true
					found = found || v.has([]byte(texts.Value(code)))
				}
			}
		}
	}
}

// blob searches one that is no data file; manifests and table metadata are compressed.
func (v *verifying) blob(ctx context.Context, key string) (found bool, err error) {
	body, err := v.k.opts.Removals.Store.Get(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	switch {
	case strings.HasSuffix(key, ".avro"):
		return lake.SearchManifest(body, v.has, v.c.holds)
	case strings.HasSuffix(key, ".gz.metadata.json"):
		text, err := gzip.NewReader(body)
		if err != nil {
			return false, err
		}
		return v.stream(text)
	default:
		return v.stream(body)
	}
}

// rollups searches what queries keep of data files: numbers of recipients, encoded.
func (v *verifying) rollups(org event.OrgID) (err error) {
	search := v.k.opts.Removals.Rollups
	if search == nil {
		return nil
	}
	n, holding, err := search(org, v.c.holds)
	v.out.Rollups = n
	for _, name := range holding {
		v.found("rollup: " + name)
	}
	return err
}

// stream searches all of r, across the borders of what is read at a time.
func (v *verifying) stream(r io.Reader) (bool, error) {
	const part = 1 << 20
	if len(v.texts) == 0 {
		return false, nil
	}
	longest := 0
	for _, t := range v.texts {
		longest = max(longest, len(t))
	}
	buf, kept := make([]byte, part+longest), 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		if v.has(buf[:kept+n]) {
			return true, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(buf, buf[kept+n-longest:kept+n])
	}
}

// folder searches the server's own files byte by byte.
func (v *verifying) folder(ctx context.Context, dir string) error {
	if dir == "" || len(v.texts) == 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // went away meanwhile
		case err != nil || !d.Type().IsRegular():
			return err
		}
		f, err := os.Open(path) //nolint:gosec // below the server's folder
		if errors.Is(err, fs.ErrNotExist) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		found, err := v.stream(f)
		if info, errInfo := f.Stat(); errInfo == nil {
			v.out.Bytes += info.Size()
		}
		v.out.Files++
		if found {
			rel, _ := filepath.Rel(dir, path)
			v.found("file: " + rel)
		}
		return errors.Join(err, f.Close(), ctx.Err())
	})
}

// copies counts what the account keeps of blobs that are gone.
func (v *verifying) copies(ctx context.Context, o registry.Org) error {
	c, ok := blob.CopiesOf(v.k.opts.Removals.Store)
	if !ok {
		return nil
	}
	for _, err := range c.Copies(ctx, v.k.opts.Lake.Prefix(o.Name)) {
		if err != nil {
			return err
		}
		v.out.Copies++
	}
	return nil
}
