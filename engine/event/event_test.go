package event

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestMonth(t *testing.T) {
	utc := func(year int, month time.Month, day, hour int) Micros {
		return At(time.Date(year, month, day, hour, 0, 0, 0, time.UTC))
	}
	for _, tc := range []struct {
		name string
		at   Micros
		want int
	}{
		{"epoch", 0, 0},
		{"a microsecond before the epoch", -1, -1},
		{"last of January 1970", utc(1970, 2, 1, 0) - 1, 0},
		{"February 1970", utc(1970, 2, 1, 0), 1},
		{"last of 1970", utc(1971, 1, 1, 0) - 1, 11},
		{"1971", utc(1971, 1, 1, 0), 12},
		{"first of December 1969", utc(1969, 12, 1, 0), -1},
		{"last of November 1969", utc(1969, 12, 1, 0) - 1, -2},
		{"first of 1969", utc(1969, 1, 1, 0), -12},
		{"last of 1968", utc(1969, 1, 1, 0) - 1, -13},
		{"leap day 2024", utc(2024, 2, 29, 23), 649},
		{"after leap day 2024", utc(2024, 3, 1, 0), 650},
		{"last of July 2026", utc(2026, 8, 1, 0) - 1, 678},
		{"August 2026", utc(2026, 8, 1, 0), 679},
		{"another zone's day", At(time.Date(2026, 8, 1, 1, 0, 0, 0, time.FixedZone("", 2*3600))), 678},
	} {
		if got := tc.at.Month(); got != tc.want {
			t.Errorf("%s: month %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestMicrosKeepTheInstant(t *testing.T) {
	at := time.Date(2026, 7, 31, 23, 59, 59, 999_999_999, time.FixedZone("", -5*3600))
	if got, want := At(at).Time(), at.Truncate(time.Microsecond); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("got %v, want %v in UTC", got, want)
	}
}

func TestOwnID(t *testing.T) {
	const lastGroup = 1<<39 - 1
	seen := map[int64]bool{}
	last := int64(-1)
	for _, node := range []uint8{0, 1, 2, 127, 128, 255} {
		for _, group := range []uint64{0, 1, 2, 1 << 20, lastGroup - 1, lastGroup} {
			for _, ordinal := range []int{0, 1, 255, 256, 1<<16 - 1} {
				p := PositionOf(group, ordinal)
				if p.Group() != group {
					t.Fatalf("group %d comes back as %d", group, p.Group())
				}
				id := OwnID(node, p)
				// Order by node, then by position; this also excludes doubles.
				if id <= last || seen[id] {
					t.Errorf("node %d group %d ordinal %d: id %d after %d", node, group, ordinal, id, last)
				}
				seen[id], last = true, id
			}
		}
	}
	if last < 0 || OwnID(0, PositionOf(1, 0)) <= 0 {
		t.Error("own ids must be positive")
	}
}

func TestPositionsAreOrdered(t *testing.T) {
	ordered := []Position{0, PositionOf(0, 1), PositionOf(0, 1<<16-1), PositionOf(1, 0), PositionOf(1, 1), PositionOf(2, 0), PositionOf(1<<39-1, 1<<16-1)}
	if !slices.IsSorted(ordered) || len(slices.Compact(slices.Clone(ordered))) != len(ordered) {
		t.Errorf("positions are not strictly ordered: %v", ordered)
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []string
		want []string
		of   func(int) string
	}{
		{"kinds", Kinds(), []string{"invalid", "open", "click", "attachment_view", "reply", "sent", "delivered", "bounced", "complained", "unsubscribed"}, func(i int) string { return Kind(i).String() }},
		{"actors", Actors(), []string{"unknown", "human", "proxy", "prefetch", "scanner", "bot"}, func(i int) string { return Actor(i).String() }},
		{"devices", Devices(), []string{"unknown", "desktop", "mobile", "tablet"}, func(i int) string { return Device(i).String() }},
		{"sources", Sources(), []string{"unknown", "pixel", "redirect", "attachment", "api", "lmtp"}, func(i int) string { return Source(i).String() }},
	} {
		if !slices.Equal(tc.got, tc.want) {
			t.Errorf("%s are %v, want %v", tc.name, tc.got, tc.want)
		}
		for i := range math.MaxUint8 + 1 {
			want := tc.want[0]
			if i < len(tc.want) {
				want = tc.want[i]
			}
			if got := tc.of(i); got != want {
				t.Errorf("%s: number %d is %q, want %q", tc.name, i, got, want)
			}
		}
	}
	kinds := Kinds()
	kinds[1] = "changed"
	if Open.String() != "open" {
		t.Error("a caller of Kinds can change the names")
	}
}
