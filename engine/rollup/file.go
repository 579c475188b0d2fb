package rollup

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"mailwake/engine/event"
)

// maxRecipient bounds recipients' ids, which are dense: tables are indexed by them.
const maxRecipient = 1 << 28

// ErrDamaged says that a rollup is not, or not any more, what a Builder wrote.
var ErrDamaged = errors.New("rollup is damaged")

// Suffix ends the names of rollups, which begin with those of their data files.
const Suffix = ".rollup"

// Source names a data file.
type Source struct {
	Path  string
	Bytes int64
}

// In is the path of the source's rollup in dir.
func (s Source) In(dir string) string { return filepath.Join(dir, filepath.Base(s.Path)+Suffix) }

// File is the open rollup of a data file. It is not safe for concurrent use.
type File struct {
	Source Source
	Rows   int64 // of the data file

	file   *os.File
	shapes []Shape
	ids    []uint32 // the State's numbers of shapes
	of     *shapes  // whose numbers these are
	pairs  section
	told   section
	people section
	emails []emailEntry
	digest uint64 // the sum of theirs
	near   int    // in emails: where the last search ended
	block  block  // of the last pair that was looked up
	stream stream // of the last email that was read whole
}

const footerBytes = 8 + 4 + 4 + len(magic)

// Open opens the rollup of source at path. ErrDamaged or os.ErrNotExist if there
// is none that is whole, of this version, and of source.
func Open(path string, source Source) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	if filepath.Base(source.Path) != f.Source.Path || source.Bytes != f.Source.Bytes {
		return nil, errors.Join(ErrDamaged, f.Close())
	}
	f.Source = source
	return f, nil
}

// open opens the rollup at path, whatever data file it is of: Source has the name
// of that without its folder.
func open(path string) (f *File, err error) {
	file, err := os.Open(path) //nolint:gosec // the caller's folder
	if err != nil {
		return nil, fmt.Errorf("open rollup: %w", err)
	}
	f = &File{file: file}
	opened := f // a return of an error sets f to nil
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	index, err := readIndex(file)
	if err != nil {
		return nil, err
	}
	r := &reader{buf: index}
	f.Source.Path = r.text()
	f.Source.Bytes = r.number()
	f.Rows = r.number()
	for range r.count() {
		if f.shapes = append(f.shapes, r.shape()); r.bad {
			return nil, ErrDamaged
		}
	}
	for _, s := range []*section{&f.pairs, &f.told, &f.people} {
		s.read(r)
	}
	f.readEmails(r)
	if r.bad || len(r.buf) > 0 {
		return nil, ErrDamaged
	}
	return f, nil
}

func readIndex(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	footer := make([]byte, footerBytes)
	end := info.Size() - int64(footerBytes)
	if end < int64(len(magic)) {
		return nil, ErrDamaged
	}
	if _, err := file.ReadAt(footer, end); err != nil {
		return nil, fmt.Errorf("read rollup: %w", err)
	}
	at := binary.LittleEndian.Uint64(footer)
	if string(footer[16:]) != magic || binary.LittleEndian.Uint32(footer[12:]) != version || at > uint64(end) {
		return nil, ErrDamaged
	}
	index := make([]byte, end-int64(at))
	if _, err := file.ReadAt(index, int64(at)); err != nil {
		return nil, fmt.Errorf("read rollup: %w", err)
	}
	if crc32.Checksum(index, castagnoli) != binary.LittleEndian.Uint32(footer[8:]) {
		return nil, ErrDamaged
	}
	return index, nil
}

func (s *section) read(r *reader) {
	n := r.count()
	if n > uint64(len(r.buf)) {
		r.bad = true
		return
	}
	s.blocks = make([]blockEntry, n)
	var last blockEntry
	for i := range s.blocks {
		last.first.email += event.EmailID(r.count())
		last.first.recipient += event.RecipientID(r.number())
		last.at += r.count()
		last.size, last.sum = uint32(r.count()), uint32(r.count())
		s.blocks[i] = last
	}
}

func (f *File) readEmails(r *reader) {
	n := r.count()
	if n > uint64(len(r.buf)) {
		r.bad = true
		return
	}
	f.emails = make([]emailEntry, n)
	before := event.EmailID(0)
	for i := range f.emails {
		e := &f.emails[i]
		packed := r.count()
		e.email, e.reported = before+event.EmailID(packed>>1), packed&1 != 0
		e.min = r.at()
		e.max = e.min + event.Micros(r.count())
		e.digest = r.fixed()
		f.digest += e.digest
		before = e.email
	}
}

// number gives the file's shapes their numbers in s.
func (f *File) number(s *shapes) {
	if f.of == s {
		return
	}
	f.of, f.ids = s, f.ids[:0]
	for i := range f.shapes {
		f.ids = append(f.ids, s.id(&f.shapes[i]))
	}
	f.stream.more = false
}

// wrap says of an error which file it is about.
func (f *File) wrap(err error) error { return &FileError{File: f, Err: err} }

// FileError is an error of reading a rollup.
type FileError struct {
	File *File
	Err  error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("rollup of %s: %v", filepath.Base(e.File.Source.Path), e.Err)
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// entry returns what is known of an email, nil if the file does not hold it.
// Searches in the order of emails go on where the last one ended.
func (f *File) entry(email event.EmailID) *emailEntry {
	from, to := 0, len(f.emails)
	for step := 1; f.near < to && f.emails[f.near].email < email; step *= 2 {
		from = f.near + 1
		if f.near += step; f.near < len(f.emails) && f.emails[f.near].email >= email {
			to = f.near + 1
		}
	}
	i, ok := slices.BinarySearchFunc(f.emails[from:to], email, func(e emailEntry, id event.EmailID) int { return cmp.Compare(e.email, id) })
	f.near = from + i
	if !ok {
		return nil
	}
	return &f.emails[f.near]
}
