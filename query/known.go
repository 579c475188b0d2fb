package query

import (
	"cmp"
	"slices"
	"strings"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// known is the catalog, where KPIs are answered without DuckDB: some 200 bytes for
// each email and 150 for each link and attachment, 4 for each recipient.
type known struct {
	byID     map[event.EmailID]*knownEmail
	ids      []event.EmailID // ascending
	followed int64
	texts    map[string]string // templates, each once
	numbers  map[string]int64
	missed   map[event.EmailID]bool
	version  int // of what emails are grouped by: changes unless emails are only added
	people   knownPeople
}

type knownEmail struct {
	subject, template, follow  string
	created                    event.Micros
	links, attachments, sentTo int64
	linkParts, attachedParts   []knownPart // by ordinal
}

// knownPart is a link or an attachment of an email.
type knownPart struct {
	ordinal         int32
	text, mediaType string // where it leads, or its name
	size            int64
	followed        bool
}

func newKnown() *known {
	return &known{byID: map[event.EmailID]*knownEmail{}, texts: map[string]string{}, numbers: map[string]int64{}, missed: map[event.EmailID]bool{},
		people: knownPeople{ids: map[string]int32{}, missed: map[event.RecipientID]bool{}}}
}

// email returns an email, nil if it is not registered. Whoever asked for one that
// comes later learns it from version.
func (k *known) email(id event.EmailID) *knownEmail {
	e, ok := k.byID[id]
	if !ok {
		k.missed[id] = true
	}
	return e
}

// put takes an email in place of what was known of it.
func (k *known) put(e *registry.Email, sentTo int64, links, attached []knownPart) {
	template := clean(e.Template)
	if known, ok := k.texts[template]; ok {
		template = known
	} else {
		k.texts[template] = template
	}
	before, ok := k.byID[e.ID]
	if !ok {
		at, _ := slices.BinarySearch(k.ids, e.ID)
		k.ids = slices.Insert(k.ids, at, e.ID)
	} else if before.follow == string(registry.FollowOn) {
		k.followed--
	}
	if ok && (before.follow != string(e.Follow) || before.template != template) || k.missed[e.ID] {
		k.version++
		delete(k.missed, e.ID)
	}
	if e.Follow == registry.FollowOn {
		k.followed++
	}
	for _, parts := range [][]knownPart{links, attached} {
		slices.SortFunc(parts, func(a, b knownPart) int { return cmp.Compare(a.ordinal, b.ordinal) })
	}
	k.byID[e.ID] = &knownEmail{subject: clean(e.Subject), template: template, follow: string(e.Follow), created: e.CreatedAt, sentTo: sentTo,
		links: int64(len(links)), attachments: int64(len(attached)), linkParts: links, attachedParts: attached}
}

// number numbers the names of what emails are grouped by.
func (k *known) number(name string) int64 {
	n, ok := k.numbers[name]
	if !ok {
		n = int64(len(k.numbers))
		k.numbers[name] = n
	}
	return n
}

// newest returns the emails with an id below before (0: all), of the template
// unless it is nil, the newest first, at most limit.
func (k *known) newest(before event.EmailID, template *string, limit int) (ids []event.EmailID) {
	end := len(k.ids)
	if before != 0 {
		end, _ = slices.BinarySearch(k.ids, before)
	}
	for _, id := range slices.Backward(k.ids[:end]) {
		if len(ids) == limit {
			break
		}
		if template == nil || k.byID[id].template == *template {
			ids = append(ids, id)
		}
	}
	return ids
}

// knownPeople has the domain of each recipient's address.
type knownPeople struct {
	domains []string
	ids     map[string]int32
	of      []int32 // by recipient: place in domains plus one; 0 is not known
	missed  map[event.RecipientID]bool
	version int  // changes when somebody comes who was asked for before
	odd     bool // some domain cannot be put into lower case here
}

func (k *knownPeople) put(r *registry.Recipient) {
	address := clean(r.Address)
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	if !strings.Contains(address, "@") {
		domain = ""
	}
	for i := range len(domain) {
		k.odd = k.odd || domain[i] >= 0x80
	}
	id, ok := k.ids[domain]
	if !ok {
		k.domains = append(k.domains, domain)
		id = int32(len(k.domains))
		k.ids[domain] = id
	}
	for int(r.ID) >= len(k.of) {
		k.of = append(k.of, 0)
	}
	if k.of[r.ID] = id; k.missed[r.ID] {
		k.version++
		delete(k.missed, r.ID)
	}
}

// domain returns the number of a recipient's domain from 1, 0 if they are not known.
func (k *knownPeople) domain(r event.RecipientID) int32 {
	if int(r) < len(k.of) && k.of[r] != 0 {
		return k.of[r]
	}
	k.missed[r] = true
	return 0
}
