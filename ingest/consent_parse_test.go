package ingest

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

func change(person, address string, set registry.Purposes, to registry.Preference) registry.PreferenceChange {
	c := registry.PreferenceChange{Address: address, Purposes: set, State: to}
	if person != "" {
		c.Person = registry.PersonKey{Kind: registry.Contact, ExternalID: person}
	}
	return c
}

// TestParse reads the same preferences from both formats, also when they arrive
// byte by byte.
func TestParse(t *testing.T) {
	csv := "\ufeffaddress,kind,external_id,follow,open,reply\r\n" +
		",contact,c-17,denied,,\r\n" +
		"jo@customer.example,,,allowed,denied,unknown\r\n" +
		"\"kim@customer.example\",recipient,,,,denied\r\n"
	ndjson := "\ufeff" + `{"kind":"contact","external_id":"c-17","follow":"denied"}` + "\n\n" +
		`{"address":"jo@customer.example","follow":"allowed","open":"denied","reply":"unknown"}` + "\n" +
		`  {"address":"kim@customer.example","kind":"recipient","reply":"denied"}`
	open, reply := registry.PurposesOf(registry.PurposeOpen), registry.PurposesOf(registry.PurposeReply)
	want := []registry.PreferenceChange{
		change("c-17", "", registry.AllPurposes, registry.Denied),
		change("", "jo@customer.example", reply, registry.Unknown),
		change("", "jo@customer.example", registry.AllPurposes&^open&^reply, registry.Allowed),
		change("", "jo@customer.example", open, registry.Denied),
		change("", "kim@customer.example", reply, registry.Denied),
	}
	for name, c := range map[string]struct {
		parse func(io.Reader) (*importFile, error)
		text  string
		at    []int
	}{
		"csv":    {parseCSV, csv, []int{2, 3, 3, 3, 4}},
		"ndjson": {parseNDJSON, ndjson, []int{1, 3, 3, 3, 4}},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text))} {
			f, err := c.parse(r)
			if err != nil || f.refusal() != nil || f.lines != 3 || !reflect.DeepEqual(f.changes, want) || !reflect.DeepEqual(f.at, c.at) {
				t.Errorf("%s: %d lines, %+v at %v, %v, %v", name, f.lines, f.changes, f.at, f.refusal(), err)
			}
		}
		if _, err := c.parse(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: an error of the reader became %v", name, err)
		}
	}
}

func TestParseFaults(t *testing.T) {
	header := "kind,external_id,address,recipient_id,follow,open,evidence\n"
	csv := func(lines string) (*importFile, error) { return parseCSV(strings.NewReader(lines)) }
	ndjson := func(lines string) (*importFile, error) { return parseNDJSON(strings.NewReader(lines)) }
	for _, c := range []struct {
		parse func(string) (*importFile, error)
		text  string
		want  string // line field code of each fault
	}{
		{csv, "", "1  line_invalid"},
		{csv, "kind,robots\n", "1 robots line_invalid"},
		{csv, "kind,\x1bpurpose\n", "1  line_invalid"},
		{csv, "follow,follow\n", "1 follow line_invalid"},
		{csv, header + ",,a@b.example,,perhaps,,\n", "2 follow preference_invalid"},
		{csv, header + ",,a@b.example,,denied,DENIED,\n", "2 open preference_invalid"},
		{csv, header + ",,a@b.example,,,,\n", "2 follow preference_invalid"},
		{csv, header + "robot,x,,,denied,,\n", "2 kind preference_subject_invalid"},
		{csv, header + "contact,,,,denied,,\n", "2 external_id preference_subject_invalid"},
		{csv, header + "contact,c,a@b.example,,denied,,\n", "2 external_id preference_subject_invalid"},
		{csv, header + ",c,,,denied,,\n", "2 address preference_subject_invalid"},
		{csv, header + ",,,,denied,,\n", "2 address preference_subject_invalid"},
		{csv, header + ",,a@b.example,3,denied,,\n", "2 address preference_subject_invalid"},
		{csv, header + ",,,0,denied,,\n", "2 recipient_id preference_subject_invalid"},
		{csv, header + ",,,x,denied,,\n", "2 recipient_id preference_subject_invalid"},
		{csv, header + ",,,99999999999999999999,denied,,\n", "2 recipient_id preference_subject_invalid"},
		{csv, header + ",,a\xff@b.example,,denied,,\n", "2 address invalid_utf8"},
		{csv, header + "a,b\n,,a@b.example,,denied,,\nc\n", "2  line_invalid, 4  line_invalid"},
		{csv, header + "x\"y,,,,,,\n,,a@b.example,,denied,,\n", "2  line_invalid"},
		{csv, header + ",,a@b.example,,denied,,\n\",,,,,,\n,,,,,,\n", "3  line_invalid"},
		{ndjson, `{"purpose":"open"}`, "1  line_invalid"},
		{ndjson, "{}\n[]\n1\n{\n" + `{"kind":1}` + "\n{}{}", "1 address preference_subject_invalid, 2  line_invalid, 3  line_invalid, 4  line_invalid, 5 kind line_invalid, 6  line_invalid"},
		{ndjson, "{\"address\":\"\xff\"}", "1  invalid_utf8"},
		{ndjson, "{\"address\":\"a@b.example\",\"follow\":\"denied\"}\n\"" + strings.Repeat("x", maxImportLine) + "\"\n{}\n", "2  line_invalid"},
	} {
		f, err := c.parse(c.text)
		var got []string
		for _, fault := range f.faults {
			got = append(got, fmt.Sprint(fault.Line, " ", fault.Field, " ", fault.Code))
			if fault.Message == "" || strings.Contains(fault.Message, "b.example") {
				t.Errorf("%q: message %q", c.text[:min(40, len(c.text))], fault.Message)
			}
		}
		if err != nil || strings.Join(got, ", ") != c.want || f.faulty != len(got) {
			t.Errorf("%.60q: %v, %v, want %s", c.text, got, err, c.want)
		}
	}
}

// TestRefusalIsBounded counts all faults and lists the first hundred in order, also
// when the registry finds some later in earlier lines.
func TestRefusalIsBounded(t *testing.T) {
	f, err := parseCSV(strings.NewReader("address,follow\n" + strings.Repeat("a@b.example,x\n", 5_000)))
	if err != nil || f.lines != 5_000 {
		t.Fatal(f.lines, err)
	}
	f.keep += maxFaults
	f.fault(1, fault{"address", "address_invalid", "late"})
	p := problem.Of(f.refusal())
	faults := p.Members["faults"].([]LineFault)
	if p.Code != "import_invalid" || p.Members["faulty_lines"] != 5_001 || len(faults) != maxFaults || len(f.faults) != maxFaults+1 || faults[0].Line != 1 || faults[1].Line != 2 {
		t.Errorf("%s: %v, %d listed, %d kept, first %+v", p.Code, p.Members["faulty_lines"], len(faults), len(f.faults), faults[0])
	}
}

func FuzzParse(f *testing.F) {
	f.Add("address,follow\na@b.example,denied\n", true)
	f.Add(`{"address":"a@b.example","follow":"denied"}`, false)
	f.Fuzz(func(t *testing.T, text string, isCSV bool) {
		parse := parseNDJSON
		if isCSV {
			parse = parseCSV
		}
		file, err := parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(file.at) != len(file.changes) || file.faulty == 0 && len(file.changes) < file.lines {
			t.Errorf("%d lines, %d faulty, %d changes at %d", file.lines, file.faulty, len(file.changes), len(file.at))
		}
	})
}
