package query

import (
	"slices"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// knownEmails is the catalog of emails, where KPIs are answered without DuckDB:
// some 200 bytes each.
type knownEmails struct {
	byID     map[event.EmailID]*knownEmail
	ids      []event.EmailID // ascending
	followed int64
	texts    map[string]string // templates, each once
}

type knownEmail struct {
	subject, template, follow string
	created                   event.Micros
	links, attachments        int64
}

func newKnownEmails() *knownEmails {
	return &knownEmails{byID: map[event.EmailID]*knownEmail{}, texts: map[string]string{}}
}

// put takes an email in place of what was known of it.
func (k *knownEmails) put(e *registry.Email, links, attachments int64) {
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
	if e.Follow == registry.FollowOn {
		k.followed++
	}
	k.byID[e.ID] = &knownEmail{clean(e.Subject), template, string(e.Follow), e.CreatedAt, links, attachments}
}

// newest returns the emails with an id below before (0: all), of the template
// unless it is nil, the newest first, at most limit.
func (k *knownEmails) newest(before event.EmailID, template *string, limit int) (ids []event.EmailID) {
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
