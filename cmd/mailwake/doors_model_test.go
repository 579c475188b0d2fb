package main

import (
	"slices"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// doorModel says what the four doors must do, in as few lines as it takes: which
// copies are followed, which interactions are recorded, which are shown, and which
// a rewrite removes for good.
type doorModel struct {
	enabled, optIn, followOthers, purge bool

	own     map[string]map[registry.Purpose]registry.Preference // by the subject's name
	account map[string]string                                   // of a contact
	address map[string]string                                   // whose address it is; no entry: nobody's
	rows    []doorRow
}

// doorRow is an interaction that was recorded and not removed.
type doorRow struct {
	address string
	kind    event.Kind
	flushed bool
}

func newDoorModel() *doorModel {
	return &doorModel{enabled: true, own: map[string]map[registry.Purpose]registry.Preference{}, account: map[string]string{}, address: map[string]string{}}
}

// answer is the strictest of what the address, its owner and the owner's account say.
func (m *doorModel) answer(address string, p registry.Purpose) registry.Preference {
	owner := m.address[address]
	said := []registry.Preference{m.own[address][p], m.own[owner][p]}
	if slices.Contains(said, registry.Denied) || m.own[m.account[owner]][p] == registry.Denied {
		return registry.Denied
	}
	if slices.Contains(said, registry.Allowed) {
		return registry.Allowed
	}
	return registry.Unknown
}

func (m *doorModel) allows(address string, p registry.Purpose) bool {
	a := m.answer(address, p)
	return a == registry.Allowed || a == registry.Unknown && !m.optIn
}

// records says whether an interaction is recorded now.
func (m *doorModel) records(address string, kind event.Kind) bool {
	return m.enabled && (registry.PurposeOf(kind) == registry.NoPurpose || m.allows(address, registry.PurposeOf(kind)))
}

// follow returns the state of an email and whose copies have a pixel and a tracked link.
func (m *doorModel) follow(to []string) (state string, pixel, link map[string]bool) {
	pixel, link = map[string]bool{}, map[string]bool{}
	var followed []string
	for _, a := range to {
		if slices.ContainsFunc(doorPurposes, func(p registry.Purpose) bool { return m.allows(a, p) }) {
			followed = append(followed, a)
		}
	}
	if !m.enabled || len(followed) == 0 || len(followed) < len(to) && !m.followOthers {
		return "blocked", pixel, link
	}
	for _, a := range followed {
		pixel[a], link[a] = m.allows(a, registry.PurposeOpen), m.allows(a, registry.PurposeClick)
		m.rows = append(m.rows, doorRow{address: a, kind: event.Sent})
	}
	return "on", pixel, link
}

// shown counts what a query must show.
func (m *doorModel) shown() map[string]int {
	n := map[string]int{}
	for _, r := range m.rows {
		if p := registry.PurposeOf(r.kind); p == registry.NoPurpose || m.allows(r.address, p) {
			n[r.address+" "+r.kind.String()]++
		}
	}
	return n
}

func (m *doorModel) flush() {
	for i := range m.rows {
		m.rows[i].flushed = true
	}
}

// rewrite removes what is in files and refused, if refusals purge at once.
func (m *doorModel) rewrite() {
	m.rows = slices.DeleteFunc(m.rows, func(r doorRow) bool {
		p := registry.PurposeOf(r.kind)
		return m.purge && r.flushed && p != registry.NoPurpose && m.answer(r.address, p) == registry.Denied
	})
}

var doorPurposes = []registry.Purpose{registry.PurposeOpen, registry.PurposeClick, registry.PurposeAttachment, registry.PurposeReply}
