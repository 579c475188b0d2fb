package rollup

import (
	"testing"

	"mailwake/engine/event"
)

// A file is taken for what the tail was only if that is known and nothing was replaced:
// an open that was reported again, as it was before, leaves no trace of what it was.
func TestAdoptKeepsNoReplacedReport(t *testing.T) {
	told := Event{Email: 1, Recipient: 1, ID: -1, At: 100, Received: 900, Shape: Shape{Kind: event.Open, Actor: event.Human}}
	earlier := told
	earlier.At, earlier.Received = 500, 800
	dir := t.TempDir()
	var files []*File
	other := Event{Email: 1, Recipient: 2, ID: 1, At: 600, Shape: told.Shape}
	for i, rows := range [][]Event{{told, other}, {earlier}} {
		f, err := build(t, dir, Source{Path: []string{"a", "b"}[i], Bytes: 1}, rows)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	s := NewState()
	if _, err := s.Refresh(Basis{Files: files[:1]}); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(&earlier); err != nil {
		t.Fatal(err)
	}
	next := Basis{Files: files, Tail: 1}
	s.Adopt(next)
	if _, err := s.Absorb(100); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Refresh(next); err != nil {
		t.Fatal(err)
	}
	if sums, err := s.Total(); err != nil || sums.FirstOpened != 500 || sums.Did[0].Total != 2 {
		t.Errorf("opened at %d, %d times, %v", sums.FirstOpened, sums.Did[0].Total, err)
	}
}

// A file that has anything else than what the tail had is found, and so is one that
// the tail had nothing of.
func TestAbsorbLooks(t *testing.T) {
	open := Event{Email: 1, Recipient: 1, ID: 1, At: 100, Shape: Shape{Kind: event.Open}}
	told := open
	told.ID = -1
	for name, c := range map[string]struct{ tail, file Event }{
		"time":      {open, Event{Email: 1, Recipient: 1, ID: 1, At: 101, Shape: open.Shape}},
		"kind":      {open, Event{Email: 1, Recipient: 1, ID: 1, At: 100, Shape: Shape{Kind: event.Click}}},
		"component": {open, Event{Email: 1, Recipient: 1, ID: 1, At: 100, Component: 1, Shape: open.Shape}},
		"recipient": {open, Event{Email: 1, Recipient: 2, ID: 1, At: 100, Shape: open.Shape}},
		"report":    {open, told},
		"stranger":  {told, Event{Email: 1, Recipient: 2, ID: -1, At: 100, Shape: open.Shape}},
	} {
		f, err := build(t, t.TempDir(), Source{Path: "a", Bytes: 1}, []Event{c.file})
		if err != nil {
			t.Fatal(err)
		}
		s := NewState()
		if err := s.Add(&c.tail); err != nil {
			t.Fatal(err)
		}
		if !s.Adopt(Basis{Files: []*File{f}, Tail: 1}) {
			t.Fatalf("%s: not adopted", name)
		}
		if _, err := s.Absorb(100); err == nil {
			t.Errorf("%s: another file was absorbed", name)
		}
	}
}
