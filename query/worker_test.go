package query

import (
	"os"
	"testing"
)

// openWorkers opens a DB whose statements run in workers.
func (w *world) openWorkers(change func(*Options)) *DB {
	w.tb.Helper()
	return w.open(func(o *Options) {
		self, err := os.Executable()
		if err != nil {
			w.tb.Fatal(err)
		}
		o.Worker.Command = []string{self, "worker"}
		if change != nil {
			change(o)
		}
	})
}

func TestWorkerAnswers(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	w.add(1, open1(1), open1(2), open1(3))
	w.flush(1, 2)
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(3) {
		t.Errorf("got %v", got)
	}
}
