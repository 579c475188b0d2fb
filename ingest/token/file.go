package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Text returns the keys in the form ParseRing reads: a line per key with its id,
// the 32 secret bytes in base64 and the time it was made (RFC 3339), oldest first.
// The last line is the active key. It is secret.
func (r *Ring) Text() []byte { return r.state.Load().text() }

func (s *state) text() []byte {
	var b bytes.Buffer
	for _, k := range s.keys {
		fmt.Fprintf(&b, "%d %s %s\n", k.id, base64.StdEncoding.EncodeToString(k.secret[:]), k.created.Format(time.RFC3339))
	}
	return b.Bytes()
}

// ParseRing reads the form of Text, from a file or an environment value. Blank
// lines and lines that start with # are skipped; a semicolon may stand for a
// line end. Errors name the line and never show key material.
func ParseRing(text string) (*Ring, error) {
	var keys []*key
	for i, line := range strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == ';' }) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("parse token keys: entry %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	r, err := ringOf(keys)
	if err != nil {
		return nil, fmt.Errorf("parse token keys: %w", err)
	}
	return r, nil
}

func parseKey(line string) (*key, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return nil, fmt.Errorf("%d fields where id, key and time are wanted", len(fields))
	}
	id, err := strconv.ParseUint(fields[0], 10, 8)
	if err != nil {
		return nil, errors.New("the id is not a number from 0 to 255")
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil || len(secret) != keyLen {
		return nil, fmt.Errorf("the key is not %d bytes in base64", keyLen)
	}
	created, err := time.Parse(time.RFC3339, fields[2])
	if err != nil {
		return nil, errors.New("the time is not RFC 3339")
	}
	k := &key{id: byte(id), created: created.UTC()}
	copy(k.secret[:], secret)
	return k, k.open()
}

// LoadRing reads the keys of a file. A file that everyone can read is refused.
// The error of a missing file is fs.ErrNotExist.
func LoadRing(path string) (*Ring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load token keys: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("load token keys: %s is open to everyone (mode %04o); make it 0600", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load token keys: %w", err)
	}
	r, err := ParseRing(string(text))
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return r, nil
}

// OpenRing reads the keys of a file, or makes the first key at now and stores
// it there when the file is missing. One process at a time may do this.
func OpenRing(path string, now time.Time) (*Ring, error) {
	r, err := LoadRing(path)
	if !errors.Is(err, os.ErrNotExist) {
		return r, err
	}
	if r, err = NewRing(now); err != nil {
		return nil, err
	}
	if err := WriteFile(path, r.Text()); err != nil {
		return nil, err
	}
	return r, nil
}

// WriteFile replaces the file at path by text, mode 0600. After a crash the
// file holds the old text or the new one, and once WriteFile has returned, the
// new one.
func WriteFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write token keys: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write token keys: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync key folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync key folder: %w", err)
	}
	return nil
}
