package retention

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/registry"
)

const (
	people = 8
	// apart keeps the ids of those to whom things happen in different words of bit
	// sets of recipients.
	apart = 70
)

// populate makes the organisation and its recipients.
func (w *world) populate() {
	o, err := w.reg.CreateOrg(context.Background(), registry.NewOrg{Name: "acme"})
	must(w.t, err)
	w.org = o.ID
	mail := registry.NewEmail{From: "s@acme.example"}
	for i := range people * apart {
		mail.Recipients = append(mail.Recipients, registry.NewRecipient{Address: mailbox(event.RecipientID(i+1)) + "@people.example"})
	}
	for range 3 {
		_, err = w.reg.RegisterEmail(context.Background(), o.ID, mail)
		must(w.t, err)
		mail.Recipients = mail.Recipients[1:2] // to whom nothing happens
	}
}

func mailbox(r event.RecipientID) string { return fmt.Sprintf("person-%06d", r) }

// living are those to whom things happen still: the door keeps out what others do.
func (w *world) living() (list []event.RecipientID) {
	erased := w.reg.ErasedRecipients(w.org)
	for i := range people {
		if r := event.RecipientID(apart*i + 1); !slices.Contains(erased, r) {
			list = append(list, r)
		}
	}
	return list
}

func (w *world) someone() event.RecipientID {
	list := w.living()
	return list[w.rng.IntN(len(list))]
}

// erasures are those under way.
func (w *world) erasures() []registry.Erasure {
	if w.reg == nil || w.org == 0 {
		return nil
	}
	open, err := w.reg.UnfinishedErasures(context.Background(), w.org)
	must(w.t, err)
	return open
}

// erased are those whose erasure is done.
func (w *world) erased() []event.RecipientID {
	list := slices.Clone(w.reg.ErasedRecipients(w.org))
	for _, e := range w.erasures() {
		list = slices.DeleteFunc(list, func(r event.RecipientID) bool { return slices.Contains(e.Recipients, r) })
	}
	return list
}

// acme is the organisation as it is now.
func (w *world) acme() registry.Org {
	o, _ := w.reg.Snapshot().Org(w.org)
	return o
}

// addOther adds an organisation to which nothing happens.
func (w *world) addOther() {
	var err error
	w.other, err = w.reg.CreateOrg(context.Background(), registry.NewOrg{Name: "other"})
	must(w.t, err)
	at := event.At(w.now)
	must(w.t, w.nodes[0].eng.Append(context.Background(), []event.Interaction{{Org: w.other.ID, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: 1, Recipient: 1, Client: "other"}}))
	must(w.t, w.nodes[0].eng.Flush(context.Background(), w.other.ID))
	w.bytes = everyByte(w.t, w.store, "warehouse/other/")
}

// everyByte is what the store has below a prefix: keys and bytes.
func everyByte(t testing.TB, store blob.Store, prefix string) string {
	var all strings.Builder
	for _, key := range blobtest.Keys(t, store, prefix) {
		fmt.Fprintln(&all, key, string(blobtest.Get(t, store, key)))
	}
	return all.String()
}

// terminateOrReturn ends the subscription, or begins it anew before it is too late.
func (w *world) terminateOrReturn() {
	action := registry.OrgTerminate
	if w.acme().State == registry.OrgTerminated {
		action = registry.OrgResubscribe
	}
	w.logf("%s", action)
	_, err := w.reg.ChangeOrg(context.Background(), w.org, action, registry.BySystem())
	must(w.t, err)
}
