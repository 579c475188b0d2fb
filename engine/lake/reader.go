package lake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// readBuffer is small since a merge has 15 of them per input open at a time.
const readBuffer = 8 << 10

// Reader reads a data file row group by row group. It is not safe for concurrent
// use.
type Reader struct {
	path    string // blob key
	file    *os.File
	release func()
	groups  []parquet.RowGroup
	next    int
	texts   *Texts
	codes   []Code // of the dictionary of the chunk being read

	skipLongs [numLongs]bool
	skipTexts [numTexts]bool
	skipInts  bool
}

// Reader opens f for Next, with all columns. Its bytes are checked against its checksum first, so that a
// damaged blob never becomes part of a new one whose checksum is right: then the
// error is a *CorruptError. f is pinned until Close.
func (l *Lake) Reader(ctx context.Context, f File, texts *Texts) (*Reader, error) {
	return l.reader(ctx, f, texts, true)
}

// Columns opens f for Next with some columns only: the others of Rows have
// arbitrary values. The blob's checksum is not looked at.
func (l *Lake) Columns(ctx context.Context, f File, texts *Texts, longs, textColumns []int) (*Reader, error) {
	r, err := l.reader(ctx, f, texts, false)
	if err != nil {
		return nil, err
	}
	r.skipInts = true
	for c := range r.skipLongs {
		r.skipLongs[c] = !slices.Contains(longs, c)
	}
	for c := range r.skipTexts {
		r.skipTexts[c] = !slices.Contains(textColumns, c)
	}
	return r, nil
}

func (l *Lake) reader(ctx context.Context, f File, texts *Texts, check bool) (*Reader, error) {
	path, release, err := l.Local(ctx, f)
	if err != nil {
		return nil, err
	}
	r, err := openReader(path, f, texts, check)
	if err != nil {
		release()
		return nil, err
	}
	r.release = release
	return r, nil
}

// OpenReader is Lake.Reader for a process without the lake: path is what Local of
// the process that has it returned and keeps.
func OpenReader(path string, f File, texts *Texts) (*Reader, error) {
	return openReader(path, f, texts, true)
}

func openReader(path string, f File, texts *Texts, check bool) (_ *Reader, err error) {
	r := &Reader{path: f.Path, release: func() {}, texts: texts}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.file, err = os.Open(path); err != nil { //nolint:gosec // a path that Local made
		return nil, fmt.Errorf("open data file: %w", err)
	}
	if check {
		if err := checkBytes(f, r.file, io.Discard); err != nil {
			return nil, fmt.Errorf("check data file: %w", err)
		}
	}
	parsed, err := parquet.OpenFile(r.file, f.Bytes, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(readBuffer))
	if err != nil {
		return nil, fmt.Errorf("open data file: %w", &CorruptError{f.Path, err.Error()})
	}
	if n := len(parsed.Root().Columns()); n != numLongs+1+numTexts {
		return nil, fmt.Errorf("open data file: %w", &CorruptError{f.Path, fmt.Sprintf("%d columns", n)})
	}
	r.groups = parsed.RowGroups()
	return r, nil
}

// Close releases the file.
func (r *Reader) Close() error {
	var err error
	if r.file != nil {
		err = r.file.Close()
		r.file = nil
	}
	r.release()
	return err
}

// Next replaces rows by those of the next row group; io.EOF after the last.
func (r *Reader) Next(rows *Rows) error {
	if r.next == len(r.groups) {
		rows.resize(0)
		return io.EOF
	}
	group := r.groups[r.next]
	r.next++
	rows.resize(int(group.NumRows()))
	chunks := group.ColumnChunks()
	for c, at := range longColumn {
		if r.skipLongs[c] {
			continue
		}
		if err := r.longs(chunks[at], rows.Longs[c]); err != nil {
			return r.failed(at, err)
		}
	}
	if !r.skipInts {
		if err := r.ints(chunks[componentColumn], rows.Component); err != nil {
			return r.failed(componentColumn, err)
		}
	}
	for c, at := range textColumn {
		if r.skipTexts[c] {
			continue
		}
		if err := r.textCodes(chunks[at], rows.Texts[c]); err != nil {
			return r.failed(at, err)
		}
	}
	return nil
}

func (r *Reader) failed(column int, err error) error {
	return fmt.Errorf("read column %d of row group %d of %s: %w", column, r.next-1, r.path, err)
}

// errPages says that the pages of a column chunk are not what Write makes.
var errPages = errors.New("pages do not fit the table's layout")

// pages calls read with each page of chunk and the place of its first row.
func pages(chunk parquet.ColumnChunk, rows int, read func(page parquet.Page, at, n int) error) (err error) {
	p := chunk.Pages()
	defer func() { err = errors.Join(err, p.Close()) }()
	for at := 0; at < rows; {
		page, err := p.ReadPage()
		if err != nil {
			return err
		}
		n := int(page.NumValues())
		if n > rows-at {
			err = errPages
		} else {
			err = read(page, at, n)
		}
		parquet.Release(page)
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}

func (r *Reader) longs(chunk parquet.ColumnChunk, dst []int64) error {
	return pages(chunk, len(dst), func(page parquet.Page, at, n int) error {
		if page.Dictionary() != nil || page.NumNulls() != 0 {
			return errPages
		}
		data := page.Data()
		if copy(dst[at:], data.Int64()) != n {
			return errPages
		}
		return nil
	})
}

func (r *Reader) ints(chunk parquet.ColumnChunk, dst []int32) error {
	var values []int32
	return pages(chunk, len(dst), func(page parquet.Page, at, n int) error {
		if page.NumNulls() != 0 {
			return errPages
		}
		raw, dict := page.Data(), page.Dictionary()
		data := raw.Int32()
		if len(data) != n {
			return errPages
		}
		if dict == nil {
			copy(dst[at:], data)
			return nil
		}
		if values == nil {
			for i := range dict.Len() {
				values = append(values, dict.Index(int32(i)).Int32()) //nolint:gosec // a dictionary fits a page
			}
		}
		for i, index := range data {
			dst[at+i] = values[index]
		}
		return nil
	})
}

// textCodes turns the texts of a chunk into codes: each entry of the dictionary
// once, then rows by index. Pages without dictionary, to which a chunk with very
// many texts changes over, are looked up text by text.
func (r *Reader) textCodes(chunk parquet.ColumnChunk, dst []Code) error {
	known := false
	return pages(chunk, len(dst), func(page parquet.Page, at, n int) error {
		dict, levels := page.Dictionary(), page.DefinitionLevels()
		if page.NumNulls() == 0 {
			levels = nil
		}
		if dict == nil {
			return r.plain(page, levels, dst[at:at+n])
		}
		if !known {
			known = true
			r.codes = r.codes[:0]
			for i := range dict.Len() {
				r.codes = append(r.codes, r.texts.codeOf(dict.Index(int32(i)).ByteArray())) //nolint:gosec // see above
			}
		}
		raw := page.Data()
		indices := raw.Int32()
		if levels == nil {
			if len(indices) != n {
				return errPages
			}
			for i, index := range indices {
				dst[at+i] = r.codes[index]
			}
			return nil
		}
		for i, level := range levels {
			if level == 0 {
				dst[at+i] = 0
				continue
			}
			dst[at+i] = r.codes[indices[0]]
			indices = indices[1:]
		}
		return nil
	})
}

func (r *Reader) plain(page parquet.Page, levels []byte, dst []Code) error {
	raw := page.Data()
	data, offsets := raw.ByteArray()
	for i := range dst {
		if levels != nil && levels[i] == 0 {
			dst[i] = 0
			continue
		}
		if len(offsets) < 2 {
			return errPages
		}
		dst[i] = r.texts.codeOf(data[offsets[0]:offsets[1]])
		offsets = offsets[1:]
	}
	return nil
}
