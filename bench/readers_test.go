package bench

import (
	"strings"
	"testing"
	"time"
)

func TestReaders(t *testing.T) {
	o := ReadersOptions{Setup: fakeSetup(t, ""), Events: 100_000, Rate: 300, Readers: 3, Pause: time.Millisecond, Warmup: 20 * time.Millisecond, Duration: 100 * time.Millisecond}
	r, err := Readers(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Events <= 100_000 || r.Stored != r.Events || r.Alone.Requests == 0 || r.Beside.Requests == 0 || len(r.Answers) != 6 || r.Answers[everything].Count < 10 {
		t.Errorf("%+v", r)
	}
	if r.Runaway != "504 sql_timeout" || r.Killed != "503 sql_worker_ended" || r.FirstAfterKill <= 0 {
		t.Errorf("runaway %q, killed %q, %v", r.Runaway, r.Killed, r.FirstAfterKill)
	}
	checkReport(t, &r, []string{"SQL: a recipient", "easy SQL, alone", "after the kill", "worker killed"}, []string{"alone", "beside", "answers"})
	o.Setup = fakeSetup(t, "blocked=1")
	if _, err := Readers(t.Context(), o); err == nil || !strings.Contains(err.Error(), "follow state") {
		t.Errorf("got %v", err)
	}
}
