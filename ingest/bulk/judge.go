package bulk

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"mailwake/engine/classify"
	"mailwake/engine/event"
)

// The fields of a row whose texts are judged together.
const (
	textKind = iota
	textUserAgent
	textIP
	textActor
	textDevice
	textClient
	textOS
	textReason
	numTexts
)

var textFields = [numTexts]string{"kind", "user_agent", "ip", "actor", "device", "client", "os", "reason"}

// said are the texts of a row, by their number in the vocabulary of the field. A
// request has fewer rows than there are numbers.
type said [numTexts]uint16

// vocabulary numbers the texts that a request says in one field; 0 is "".
type vocabulary struct {
	numbers map[string]uint16
	texts   []string
}

// number returns the number of a text, which it copies when it is new.
func (v *vocabulary) number(text string) uint16 {
	if text == "" {
		return 0
	}
	if n, ok := v.numbers[text]; ok {
		return n
	}
	if v.numbers == nil {
		v.numbers, v.texts = map[string]uint16{}, []string{""}
	}
	n := uint16(len(v.texts)) //nolint:gosec // at most MaxRows
	text = strings.Clone(text)
	v.numbers[text], v.texts = n, append(v.texts, text)
	return n
}

func (v *vocabulary) text(n uint16) string {
	if n == 0 {
		return ""
	}
	return v.texts[n]
}

// judgement is what follows from what a row says in texts: an event without time,
// email and recipient. Its kind is invalid where that is at fault; other faults are
// in field and code.
type judgement struct {
	event       event.Interaction
	texts       event.Texts
	field, code string
}

// judge finds out who caused an event: as the caller says, or else by user agent and
// network, of which the latter is not kept.
func (b *builder) judge(s said) *judgement {
	var texts [numTexts]string
	for i, n := range s {
		texts[i] = b.words[i].text(n)
	}
	kind, _ := named(kinds, texts[textKind])
	j := &judgement{event: event.Interaction{Org: b.org, ReceivedAt: b.now, Kind: event.Kind(kind), Source: event.API}} //nolint:gosec // one of few
	j.field, j.code = j.cause(b.reader.Classifier, &texts)
	return j
}

func (j *judgement) cause(by *classify.Classifier, texts *[numTexts]string) (field, code string) {
	ev := &j.event
	var addr netip.Addr
	if texts[textIP] != "" {
		var err error
		if addr, err = netip.ParseAddr(texts[textIP]); err != nil {
			return "ip", codeValue
		}
	}
	c := by.ClassifyString(ev.Kind, texts[textUserAgent], addr.Unmap().WithZone(""))
	if texts[textUserAgent] == "" && texts[textIP] == "" {
		c = classify.Result{} // nothing was said, which is no sign of a machine
	}
	ev.Actor, ev.Reason, ev.Device, ev.Client, ev.OS, ev.UserAgent = c.Actor, c.Reason, c.Device, c.Client, c.OS, c.UserAgent
	if texts[textActor] != "" {
		actor, ok := named(actors, texts[textActor])
		if !ok {
			return "actor", codeValue
		}
		ev.Actor, ev.Reason = event.Actor(actor), ""
	}
	if texts[textDevice] != "" {
		device, ok := named(devices, texts[textDevice])
		if !ok {
			return "device", codeValue
		}
		ev.Device = event.Device(device)
	}
	if code := override(&ev.Client, texts[textClient]); code != "" {
		return "client", code
	}
	if code := override(&ev.OS, texts[textOS]); code != "" {
		return "os", code
	}
	return "reason", override(&ev.Reason, texts[textReason])
}

// override replaces what was found out by what the caller said; nothing says nothing.
func override(to *string, said string) (code string) {
	switch {
	case said == "":
		return ""
	case len(said) > maxText:
		return codeLong
	case !utf8.ValidString(said):
		return codeUTF8
	}
	*to = said
	return ""
}

// Values of the fields, by their stored number.
var kinds, actors, devices = event.Kinds(), event.Actors(), event.Devices()

func named(names []string, name string) (int, bool) {
	for i, n := range names {
		if n == name {
			return i, true
		}
	}
	return 0, false
}
