package lake

import (
	"errors"
	"fmt"
	"io"

	"github.com/twmb/avro/ocf"

	"mailwake/engine/event"
)

// SearchManifest looks through a manifest or a list of manifests, decompressed: for
// texts that are wanted, in any of its values, and for bounds of recipient_id that
// are the number of somebody who is.
func SearchManifest(r io.Reader, text func([]byte) bool, recipient func(event.RecipientID) bool) (found bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("search manifest: %w", err)
		}
	}()
	file, err := ocf.NewReader(r)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	s := manifestSearch{text, recipient}
	for name, value := range file.Metadata() {
		if s.in(name) || s.in(value) {
			return true, nil
		}
	}
	for {
		var entry any
		switch err := file.Decode(&entry); {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
		if s.in(entry) {
			return true, nil
		}
	}
}

type manifestSearch struct {
	text      func([]byte) bool
	recipient func(event.RecipientID) bool
}

func (s *manifestSearch) in(value any) bool {
	switch v := value.(type) {
	case string:
		return s.text([]byte(v))
	case []byte:
		return s.text(v)
	case []any:
		for _, one := range v {
			if s.in(one) {
				return true
			}
		}
	case map[string]any:
		for _, one := range v {
			if s.in(one) {
				return true
			}
		}
		return s.bound(v)
	}
	return false
}

// bound judges an entry of a manifest's lower_bounds or upper_bounds.
func (s *manifestSearch) bound(entry map[string]any) bool {
	field, _ := entry["key"].(int32)
	value, _ := entry["value"].([]byte)
	id, ok := micros(value)
	return ok && int(field) == fieldRecipientID && s.recipient(event.RecipientID(id))
}
