package retention

import (
	"math/rand/v2"
	"os"
	"testing"

	"mailwake/engine/lake"
)

// TestRollerIsBounded: a rollup that takes too much memory is given up, with all that
// was written of it, and the next one is made.
func TestRollerIsBounded(t *testing.T) {
	texts := lake.NewTexts()
	rows := lake.Rows{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range int64(1000) {
		for column, v := range [...]int64{lake.EventID: -1 - r.Int64N(1e9), lake.OccurredAt: 1e15 + i, lake.EmailID: 1, lake.RecipientID: 1 + i} {
			rows.Longs[column] = append(rows.Longs[column], v)
		}
		rows.Component = append(rows.Component, 0)
		for column := range rows.Texts {
			rows.Texts[column] = append(rows.Texts[column], texts.Code("open"))
		}
	}
	for most, want := range map[int]int{50_000: 0, 1 << 20: 1} {
		dir := t.TempDir()
		roll := &roller{dir: dir, most: most, texts: texts, labels: newLabels(texts)}
		for i := range 2 {
			roll.add(&rows)
			roll.end(&lake.Made{Name: string(rune('a' + i)), Bytes: 1})
		}
		left, err := os.ReadDir(dir)
		if must(t, err); len(left) != 2*want {
			t.Errorf("with %d bytes: %d rollups or parts of them", most, len(left))
		}
	}
}
