package ingest

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

const (
	// maxImport bounds an import in bytes: half a million lines of CSV.
	maxImport = 16 << 20
	// maxImportLine bounds one line of NDJSON: all of its fields at their own limits.
	maxImportLine = 64 << 10
	// maxFaults is how many faulty lines an answer lists; all are counted.
	maxFaults = 100
)

// LineFault is what is wrong with one line of an import.
type LineFault struct {
	Line    int    `json:"line" doc:"From 1, the header of CSV included."`
	Field   string `json:"field,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// importFile is an import as far as it was read.
type importFile struct {
	lines   int // with a preference, good or bad
	changes []registry.PreferenceChange
	at      []int // per change, its line
	faulty  int
	keep    int
	faults  []LineFault // the first of them, keep at most
}

// columns are the fields of an import by name: those of NewPreference.
var columns = func() (names []string) {
	t := reflect.TypeFor[NewPreference]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}()

// parseCSV reads lines of comma-separated values as they arrive. The first line
// names the columns. An error is that of r; faults of lines are in the result.
func parseCSV(r io.Reader) (*importFile, error) {
	f := &importFile{keep: maxFaults}
	reader := csv.NewReader(&bomSkipper{r: bufio.NewReader(r)})
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err == io.EOF {
		f.fault(1, fault{"", "line_invalid", "there is no header line"})
		return f, nil
	}
	if err != nil {
		return f, f.csvFault(err)
	}
	header = slices.Clone(header)
	seen := map[string]bool{}
	for _, name := range header {
		if !slices.Contains(columns, name) || seen[name] {
			f.fault(1, fault{printable(name), "line_invalid", "the columns are, each once: " + strings.Join(columns, ", ")})
		}
		seen[name] = true
	}
	if f.faulty > 0 {
		return f, nil
	}
	for {
		record, err := reader.Read()
		if err == io.EOF {
			return f, nil
		}
		if err != nil {
			if err := f.csvFault(err); err != nil {
				return f, err
			}
			continue
		}
		line, _ := reader.FieldPos(0)
		f.addRecord(line, header, record)
	}
}

func (f *importFile) addRecord(line int, header, record []string) {
	var p NewPreference
	into := map[string]*string{
		"kind": &p.Kind, "external_id": &p.ExternalID, "address": &p.Address, "follow": &p.Follow, "open": &p.Open,
		"click": &p.Click, "attachment": &p.Attachment, "reply": &p.Reply, "evidence": &p.Evidence,
	}
	for i, name := range header {
		if !utf8.ValidString(record[i]) {
			f.lines++
			f.fault(line, fault{name, "invalid_utf8", "the text is not valid UTF-8"})
			return
		}
		if text, ok := into[name]; ok {
			*text = strings.Clone(record[i])
		} else if record[i] != "" { // recipient_id
			id, err := strconv.ParseInt(record[i], 10, 64)
			if err != nil || id < 1 {
				f.lines++
				f.fault(line, fault{name, "preference_subject_invalid", "the number of a recipient is a whole number from 1"})
				return
			}
			p.RecipientID = id
		}
	}
	f.add(line, &p)
}

// csvFault notes a line that is no CSV; an error that is not the line's comes back.
func (f *importFile) csvFault(err error) error {
	wrong, ok := errors.AsType[*csv.ParseError](err)
	if !ok {
		return err
	}
	message := "the line is not CSV: a quote is out of place or missing"
	if errors.Is(wrong.Err, csv.ErrFieldCount) {
		message = "the line has not as many fields as the header"
	}
	f.lines++
	f.fault(wrong.StartLine, fault{"", "line_invalid", message})
	return nil
}

// parseNDJSON reads one JSON object a line as they arrive; see parseCSV.
func parseNDJSON(r io.Reader) (*importFile, error) {
	f := &importFile{keep: maxFaults}
	scan := bufio.NewScanner(&bomSkipper{r: bufio.NewReader(r)})
	scan.Buffer(nil, maxImportLine)
	line := 1
	for ; scan.Scan(); line++ {
		text := bytes.TrimSpace(scan.Bytes())
		if len(text) == 0 {
			continue
		}
		if !utf8.Valid(text) {
			f.lines++
			f.fault(line, fault{"", "invalid_utf8", "the line is not valid UTF-8"})
			continue
		}
		var p NewPreference
		if wrong := decodeLine(text, &p); wrong != nil {
			f.lines++
			f.fault(line, *wrong)
			continue
		}
		f.add(line, &p)
	}
	if errors.Is(scan.Err(), bufio.ErrTooLong) {
		f.lines++
		f.fault(line, fault{"", "line_invalid", fmt.Sprintf("the line is longer than %d bytes; what follows was not read", maxImportLine)})
		return f, nil
	}
	return f, scan.Err()
}

func decodeLine(text []byte, p *NewPreference) *fault {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(p)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return &fault{wrong.Field, "line_invalid", "the value has the wrong type"}
	}
	return &fault{"", "line_invalid", "the line is not one JSON object with fields of: " + strings.Join(columns, ", ")}
}

// add takes one line's preference.
func (f *importFile) add(line int, p *NewPreference) {
	f.lines++
	changes, wrong := p.changes()
	if wrong != nil {
		f.fault(line, *wrong)
		return
	}
	for range changes {
		f.at = append(f.at, line)
	}
	f.changes = append(f.changes, changes...)
}

func (f *importFile) fault(line int, wrong fault) {
	f.faulty++
	if len(f.faults) < f.keep {
		f.faults = append(f.faults, LineFault{line, wrong.field, wrong.code, wrong.message})
	}
}

// refusal is the problem of an import with faulty lines, nil when there are none.
func (f *importFile) refusal() error {
	if f.faulty == 0 {
		return nil
	}
	slices.SortStableFunc(f.faults, func(a, b LineFault) int { return a.Line - b.Line })
	p := problem.New(422, "import_invalid", "%d of %d lines are faulty, the first is line %d; nothing was imported.", f.faulty, f.lines, f.faults[0].Line)
	p.Members = map[string]any{"lines": f.lines, "faulty_lines": f.faulty, "faults": f.faults[:min(len(f.faults), maxFaults)]}
	return p
}

// printable keeps a column's name out of answers unless it is plain and short.
func printable(name string) string {
	if len(name) > 40 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ""
	}
	return name
}

// bomSkipper leaves out the mark that some spreadsheets begin a file with.
type bomSkipper struct {
	r       *bufio.Reader
	started bool
}

func (b *bomSkipper) Read(p []byte) (int, error) {
	if !b.started {
		b.started = true
		if head, _ := b.r.Peek(3); string(head) == "\ufeff" {
			_, _ = b.r.Discard(3)
		}
	}
	return b.r.Read(p)
}
