package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

type ctx = context.Context

// days lets time go on in steps of half a day, with the Keeper at work.
func (b *estate) days(n int) {
	b.t.Helper()
	for range 2 * n {
		b.now = b.now.Add(12 * time.Hour)
		must(b.t, b.keep.Purge(b.t.Context()))
	}
}

func (b *estate) terminated(name, mark string) registry.Org {
	o := b.org(name)
	b.fill(o, mark)
	o, err := b.reg.ChangeOrg(b.t.Context(), o.ID, registry.OrgTerminate, registry.BySystem())
	must(b.t, err)
	return o
}

// purged fails unless nothing is left of the organisation but the certificate.
func (b *estate) purged(o registry.Org, marks ...string) {
	b.t.Helper()
	p, err := b.reg.Purge(b.t.Context(), o.ID)
	must(b.t, err)
	if p.FinishedAt == 0 {
		b.t.Fatalf("not finished: %+v", p)
	}
	for _, text := range marks {
		if found := b.places(text); len(found) > 0 {
			b.t.Errorf("%q is still found in %q", text, found)
		}
	}
	left, err := b.lake.Dropped(b.t.Context(), o.Name)
	must(b.t, err)
	if len(left) > 0 {
		b.t.Errorf("left: %q", left)
	}
	if _, err := b.reg.CreateOrg(b.t.Context(), registry.NewOrg{Name: o.Name}); problem.Of(err).Code != "org_exists" {
		b.t.Error("the name is given out again:", err)
	}
	r, err := CheckReceipt(p.Certificate, b.signer.Public())
	must(b.t, err)
	if r.Kind != "purge" || r.OrgName != o.Name || len(r.Steps) != len(purgeSteps) {
		b.t.Errorf("%+v", r)
	}
	must(b.t, b.reg.Check(b.t.Context()))
}

func TestPurge(t *testing.T) {
	stores(t, func(t *testing.T, s blob.Store) {
		b := newEstate(t, s)
		b.now = time.Date(2028, 1, 15, 9, 30, 0, 0, time.UTC) // over a leap day
		other := b.org("other")
		b.fill(other, "zoe")
		o := b.terminated("gone-gmbh", "annabel")
		if want := time.Date(2028, 4, 14, 0, 0, 0, 0, time.UTC); !o.PurgeAt.Time().Equal(want) {
			t.Fatal(o.PurgeAt.Time())
		}
		before, all := b.other("other"), b.other("gone-gmbh")
		b.days(89)
		for b.now.Add(12 * time.Hour).Before(o.PurgeAt.Time()) {
			b.now = b.now.Add(time.Hour)
			must(t, b.keep.Purge(t.Context()))
		}
		if b.other("gone-gmbh") != all || len(b.places("annabel")) < 3 {
			t.Fatal("something went before its time")
		}
		must(t, b.eng.Flush(t.Context(), o.ID))
		plan, err := b.keep.Plan(t.Context(), o.ID)
		must(t, err)
		b.now = o.PurgeAt.Time()
		must(t, b.keep.Purge(t.Context()))
		b.asPlanned(o, plan)
		b.purged(o, "annabel", "gone-gmbh.example", "gone-gmbh shared", "gone-gmbh-agent", "warehouse/gone-gmbh")
		if b.other("other") != before {
			t.Error("another organisation's blobs changed")
		}
		if n := b.count(other.ID, func(event.RecipientID) bool { return true }); n != rowsOfOthers+15 {
			t.Errorf("%d rows of the other organisation", n)
		}
		b.crash() // the server starts without it, too
		b.open()
		b.purged(o, "annabel")
	})
}

// asPlanned fails unless a plan told of what its purge deleted, as the certificate
// has it, and when.
func (b *estate) asPlanned(o registry.Org, plan []Step) {
	b.t.Helper()
	plan = slices.DeleteFunc(plan, func(s Step) bool { return s.Task != "purge" })
	if len(plan) != 2 || !plan[0].When.Equal(o.PurgeAt.Time()) || !plan[1].When.Equal(o.PurgeAt.Time()) || plan[0].Why[0] != WhyTerminated {
		b.t.Fatalf("%+v", plan)
	}
	p, err := b.reg.Purge(b.t.Context(), o.ID)
	must(b.t, err)
	var blobs BlobsFound
	records := map[string]int64{}
	for _, s := range p.Steps {
		switch s.Step {
		case "table":
			must(b.t, json.Unmarshal(s.Found, &blobs))
		case "records":
			must(b.t, json.Unmarshal(s.Found, &records))
		}
	}
	sum := int64(0)
	for _, n := range records {
		sum += n
	}
	if plan[0].Files != blobs.Deleted || plan[0].Bytes != blobs.Bytes || plan[0].Rows != rowsOfOthers+15 || plan[1].Rows != sum || sum < 20 {
		b.t.Errorf("planned %+v, deleted %+v and %d records", plan, blobs, sum)
	}
}

func TestPurgeCancelled(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.terminated("acme", "annabel")
	b.days(50)
	_, err := b.reg.ChangeOrg(t.Context(), o.ID, registry.OrgResubscribe, registry.BySystem())
	must(t, err)
	all := b.other("acme")
	b.days(100)
	if b.other("acme") != all {
		t.Error("purged although it resubscribed")
	}
}

// TestPurgeClock: a clock that jumps begins nothing that cannot be undone.
func TestPurgeClock(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.terminated("acme", "annabel")
	b.days(3)
	all, right := b.other("acme"), b.now
	begun := func() bool {
		t.Helper()
		must(t, b.keep.Purge(t.Context()))
		_, err := b.reg.Purge(t.Context(), o.ID)
		return err == nil
	}
	b.now = right.AddDate(0, 0, 120)
	for range 20 { // for some hours, over restarts
		if begun() {
			t.Fatal("a clock that jumped began the purge")
		}
		b.now = b.now.Add(time.Hour)
		b.crash()
		b.open()
	}
	b.now = right.Add(20 * time.Hour)
	if begun() || b.other("acme") != all {
		t.Fatal("a clock that jumped back began the purge")
	}
	b.now = o.PurgeAt.Time() // the server was off until then
	if begun() {
		t.Fatal("begun by a clock that nobody has watched")
	}
	plan, err := b.keep.Plan(t.Context(), o.ID)
	must(t, err)
	if len(plan) == 0 {
		t.Error("no plan")
	}
	b.days(1)
	b.purged(o, "annabel")
}

// TestPurgeCrashes ends the process after each step, once before the step is noted
// and once after. The next start finds an organisation without a table, or none.
func TestPurgeCrashes(t *testing.T) {
	for i, step := range purgeSteps {
		for _, noted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noted=%v", step.name, noted), func(t *testing.T) {
				t.Parallel()
				b := newEstate(t, blob.Mem("m"))
				other := b.org("other")
				b.fill(other, "zoe")
				before := b.other("other")
				o := b.terminated("acme", "annabel")
				b.days(2)
				b.now = o.PurgeAt.Time()
				p, err := b.reg.BeginPurge(t.Context(), o.ID, o.PurgeAt)
				must(t, err)
				x := &purging{b.keep.opts.Removals, b.keep, p}
				for n, s := range purgeSteps[:i+1] {
					found, err := s.run(x, t.Context())
					must(t, err)
					if n < i || noted {
						must(t, b.reg.NoteStep(t.Context(), o.ID, 0, s.name, found))
					}
				}
				b.crash()
				b.open()
				must(t, b.keep.Purge(t.Context()))
				b.purged(o, "annabel", "acme.example")
				if b.other("other") != before {
					t.Error("another organisation's blobs changed")
				}
			})
		}
	}
}

func TestPurgeFaults(t *testing.T) {
	for _, op := range []blobtest.Op{blobtest.OpPut, blobtest.OpGet, blobtest.OpList, blobtest.OpStat, blobtest.OpDelete} {
		for _, when := range []blobtest.When{blobtest.Before, blobtest.After} {
			t.Run(fmt.Sprintf("%s/%v", op, when), func(t *testing.T) {
				t.Parallel()
				for n := 1; purgeWithFault(t, op, when, n) && !t.Failed(); n *= 2 {
				}
			})
		}
	}
}

// purgeWithFault purges while the n-th call of op fails, and reports whether there
// were so many.
func purgeWithFault(t *testing.T, op blobtest.Op, when blobtest.When, n int) (met bool) {
	b := newEstate(t, blob.Mem("m"))
	o := b.terminated("acme", "annabel")
	b.days(2)
	b.now = o.PurgeAt.Time()
	_, err := b.reg.BeginPurge(t.Context(), o.ID, o.PurgeAt)
	must(t, err)
	calls := b.faults.Calls(op)
	b.faults.FailNth(op, n, blobtest.Fault{When: when, Err: errors.New("broken")})
	err = b.keep.Purge(t.Context())
	made := b.faults.Calls(op) - calls
	b.faults.FailNth(op, n-made, blobtest.Fault{}) // not met
	if err != nil {
		err = b.keep.Purge(t.Context())
	}
	must(t, err)
	b.purged(o, "annabel", "acme.example")
	return made >= n
}

// keeping is a store whose account keeps deleted blobs for some days.
type keeping struct {
	blob.Store
	blob.Copier
	days int
}

func (k keeping) Keeps(context.Context) (time.Duration, error) {
	return time.Duration(k.days) * 24 * time.Hour, nil
}

func TestPurgeBeginsEarlier(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	b.keep.opts.Removals.Store = keeping{Store: b.store, days: 14}
	o := b.terminated("acme", "annabel")
	from, kept, err := b.keep.purgeFrom(t.Context(), o)
	must(t, err)
	if want := o.PurgeAt.Time().AddDate(0, 0, -14); !from.Time().Equal(want) || kept != 14*24*time.Hour {
		t.Errorf("from %v, want %v", from.Time(), want)
	}
}
