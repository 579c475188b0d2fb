package retention

import (
	"slices"
	"strings"
	"testing"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// TestKeep merges, enforces and collects in each kind of store: in the end it holds
// the table's files and no others, without a row of whoever refuses.
func TestKeep(t *testing.T) {
	stores(t, func(t *testing.T, s blob.Store) {
		b := newEstate(t, s)
		o := b.org("acme")
		who := b.fill(o, "annabel")
		must(t, b.eng.Flush(t.Context(), o.ID))
		k, err := New(Options{Lake: b.lake, Registry: b.reg, Now: b.clock, MinMerge: 2})
		must(t, err)
		p := registry.DefaultPolicy()
		p.OnWithdrawal = registry.WithdrawalPurges
		_, err = b.reg.SetPolicy(t.Context(), o.ID, p, registry.BySystem())
		must(t, err)
		must(t, b.reg.SetPreferences(t.Context(), o.ID, []registry.PreferenceChange{
			{Person: registry.PersonKey{Kind: who.Kind, ExternalID: who.ExternalID}, Purposes: registry.AllPurposes, State: registry.Denied},
		}, registry.Proof{Source: "test", Actor: registry.BySystem()}))
		data := func() (keys []string) {
			for _, key := range blobtest.Keys(t, s, b.lake.Prefix(o.Name)) {
				if strings.HasSuffix(key, ".parquet") {
					keys = append(keys, key)
				}
			}
			return keys
		}
		before := data()
		must(t, k.Sweep(t.Context(), o.ID))
		if st := k.Stats(); st.Rewrites == 0 || st.RowsRefused != 15 || st.RowsWhileRefused != 0 || st.Deleted != 0 {
			t.Errorf("%+v", st)
		}
		for _, key := range before {
			if !slices.Contains(data(), key) {
				t.Errorf("%s was deleted before its grace", key)
			}
		}
		if n := b.count(o.ID, func(event.RecipientID) bool { return true }); n != rowsOfOthers {
			t.Errorf("%d rows, want %d", n, rowsOfOthers)
		}
		b.now = b.now.Add(2 * defaultGrace)
		must(t, k.Sweep(t.Context(), o.ID))
		table, err := b.lake.Table(t.Context(), o.Name)
		must(t, err)
		var want []string
		for _, f := range table.Snapshot().Files() {
			want = append(want, f.Path)
		}
		if slices.Sort(want); !slices.Equal(data(), want) || len(want) >= len(before) {
			t.Errorf("the store has %q, the table %q", data(), want)
		}
		for f, err := range b.lake.Verify(t.Context(), o.Name) {
			must(t, err)
			if f.Damage {
				t.Errorf("%s: %s", f.Key, f.Detail)
			}
		}
	})
}
