package retention

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// TestEraseOrphan: a blob of theirs that no commit has taken goes too, once it is so
// old that no upload or commit can be at it any more.
func TestEraseOrphan(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.org("acme")
	who := b.fill(o, "annabel")
	table, err := b.lake.Table(t.Context(), o.Name)
	must(t, err)
	var c event.Columns
	at := event.At(b.now)
	must(t, c.AddRow(event.AppendRow(nil, &event.Interaction{Org: o.ID, ID: -1, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: 1, Recipient: 1, UserAgent: "annabel lost"}), 0))
	for batch := range c.Batches {
		_, err := table.Write(t.Context(), batch)
		must(t, err)
		batch.Release()
	}
	b.keep.opts.Removals.OrphanAge = time.Hour
	if _, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem()); problem.Of(err).Code != "removal_waits" {
		t.Fatal("a blob that may be about to be committed was deleted:", err)
	}
	b.keep.opts.Removals.OrphanAge = time.Nanosecond
	e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
	must(t, err)
	b.gone(o, e, rowsOfOthers)
}

func TestPurgeWaitsForReaders(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.terminated("acme", "annabel")
	b.days(2)
	b.now = o.PurgeAt.Time()
	_, err := b.reg.BeginPurge(t.Context(), o.ID, o.PurgeAt)
	must(t, err)
	view, err := b.eng.View(t.Context(), o.ID)
	must(t, err)
	if err := b.keep.Purge(t.Context()); problem.Of(err).Code != "removal_waits" || len(b.places("annabel")) < 3 {
		t.Fatal(err)
	}
	view.Close()
	must(t, b.keep.Purge(t.Context()))
	b.purged(o, "annabel")
}

// TestViewOfDeletedFile: a file may go between the taking of a View and its pin.
func TestViewOfDeletedFile(t *testing.T) {
	dir, err := blob.Dir(t.TempDir())
	must(t, err)
	b := newEstate(t, dir)
	o := b.org("acme")
	b.fill(o, "annabel")
	var missing atomic.Int32
	b.faults.Script(func(op blobtest.Op, key string) blobtest.Fault {
		if op == blobtest.OpStat && strings.HasSuffix(key, ".parquet") && missing.Add(-1) >= 0 {
			return blobtest.Fault{When: blobtest.Before, Err: blob.ErrNotFound}
		}
		return blobtest.Fault{}
	})
	missing.Store(1)
	v, err := b.eng.View(t.Context(), o.ID)
	must(t, err)
	v.Close()
	missing.Store(1000)
	if _, err := b.eng.View(t.Context(), o.ID); err == nil {
		t.Error("a file that stays missing is no error")
	}
}

// TestExport finds what was collected in files and in the tail, and of nobody else.
func TestExport(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.org("acme")
	who := b.fill(o, "annabel")
	all, note, err := b.keep.Export(t.Context(), o.ID, registry.Whose{Person: who.ID})
	must(t, err)
	if len(all.Interactions) != 15 || len(all.Addresses) != 2 || len(all.Emails) != 3 || len(all.Attachments) != 3 || len(all.Links) != 3 || len(all.Reads) != 1 {
		t.Errorf("%d interactions, %d addresses, %d emails, %d attachments, %d links, %d reads",
			len(all.Interactions), len(all.Addresses), len(all.Emails), len(all.Attachments), len(all.Links), len(all.Reads))
	}
	for _, i := range all.Interactions {
		if i.UserAgent != "annabel-agent" || i.Kind != "open" || i.Actor != "human" {
			t.Errorf("%+v", i)
		}
	}
	if note.Person != who.ID || note.What != "export" {
		t.Errorf("%+v", note)
	}
	only, _, err := b.keep.Export(t.Context(), o.ID, registry.Whose{Address: "other1@acme.example"})
	must(t, err)
	if only.Person != nil || len(only.Interactions) != 5 || slices.ContainsFunc(only.Interactions, func(i HeldInteraction) bool { return i.UserAgent != "acme-agent" }) {
		t.Errorf("%+v", only)
	}
}

// TestVerifyErasure finds what is left, in each place.
func TestVerifyErasure(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.org("acme")
	who := b.fill(o, "annabel")
	manifests := func() map[string][]byte {
		all := map[string][]byte{}
		for _, key := range blobtest.Keys(t, b.store, "") {
			if isManifest(key) {
				all[key] = blobtest.Get(t, b.store, key)
			}
		}
		return all
	}
	before := manifests()
	e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
	must(t, err)
	for key := range manifests() {
		delete(before, key)
	}
	verify := func(texts ...string) []string {
		t.Helper()
		v, err := b.keep.VerifyErasure(t.Context(), o.ID, e.ID, texts)
		must(t, err)
		if v.Blobs == 0 || v.Rows != rowsOfOthers && v.Rows != rowsOfOthers+1 {
			t.Errorf("%+v", v)
		}
		return v.Found
	}
	if found := verify("Annabel"); len(found) > 0 {
		t.Errorf("%q", found)
	}
	if found := verify("ACME-agent"); len(found) == 0 || !strings.HasSuffix(found[0], ".parquet") {
		t.Errorf("a text in data files is not found: %q", found)
	}
	if found := verify("acme shared file 1"); len(found) != 1 || !strings.Contains(found[0], "attachments/") {
		t.Errorf("a text in an attachment is not found: %q", found)
	}
	if found := verify("interactions/data"); !slices.ContainsFunc(found, isManifest) {
		t.Errorf("a text in a manifest is not found: %q", found)
	}
	if found := verify("manifest_length"); !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, "/snap-") }) {
		t.Errorf("a text in the head of a list of manifests is not found: %q", found)
	}
	for key, old := range before {
		must(t, b.store.Put(t.Context(), key, bytes.NewReader(old), false))
	}
	if found := verify(); len(found) == 0 || !isManifest(found[0]) {
		t.Errorf("bounds of manifests from before are not found: %q", found)
	}
	must(t, b.store.Delete(t.Context(), slices.Collect(maps.Keys(before))...))
	b.rolled = []event.RecipientID{e.Recipients[0]}
	if found := verify(); !slices.Equal(found, []string{"rollup: kept"}) {
		t.Errorf("a rollup with the person is not found: %q", found)
	}
	b.rolled = []event.RecipientID{1000}
	if found := verify(); len(found) > 0 {
		t.Errorf("a rollup without the person is found: %q", found)
	}
	at := event.At(b.now) // as a restored backup would bring back
	must(t, b.eng.Append(t.Context(), []event.Interaction{{Org: o.ID, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: 1, Recipient: e.Recipients[0]}}))
	if found := verify(); len(found) != 2 || !strings.HasSuffix(found[0], ".parquet") || !isManifest(found[1]) {
		t.Errorf("a row that came back is not found: %q", found)
	}
	b.now = b.now.Add(time.Hour)
	must(t, b.keep.Sweep(t.Context(), o.ID)) // the next rewrite strikes it out
	if n := b.count(o.ID, func(id event.RecipientID) bool { return slices.Contains(e.Recipients, id) }); n != 0 {
		t.Errorf("%d rows that came back are left", n)
	}
}

func isManifest(key string) bool {
	return strings.HasSuffix(key, ".avro") && !strings.Contains(key, "/snap-")
}
