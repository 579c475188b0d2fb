package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// errClosed says how a server that dies looks from a connection.
var errClosed = errors.New("the server closed the connection")

// worker is one thread of load: an event loop over its own connections, which
// costs the machine two system calls a request and no switch between goroutines.
//
//	idle ─ due ─▶ send ─▶ in flight ─ readable ─▶ receive ─▶ idle
type worker struct {
	poller   *poller
	conns    []conn
	requests [][]byte
	next     int     // request to be sent next
	interval float64 // ns between arrivals; 0 in a closed loop
	answers  answers
	result   Result

	// idle is a ring: the connection unused for longest is taken first.
	idle struct {
		ring        []int32
		head, count int
	}
	end      time.Duration // of the run, since its start
	arrivals int64         // sent so far in an open loop
	inFlight int
	progress time.Duration // when the last answer came
}

type conn struct {
	fd   int
	at   time.Duration // when the request in flight was due
	buf  []byte
	got  int
	busy bool
}

// newWorker connects, or returns an error and a closed worker; number spreads the threads over the requests.
func newWorker(l Load, conns, number int) (w *worker, err error) {
	w = &worker{requests: l.Requests, next: number * len(l.Requests) / l.Threads}
	if l.Rate > 0 {
		w.interval = float64(time.Second) / l.Rate * float64(l.Threads)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.poller, err = newPoller(); err != nil {
		return w, err
	}
	bufs := make([]byte, conns*maxAnswer)
	w.idle.ring = make([]int32, conns)
	for i := range conns {
		fd, err := w.poller.connect(l.Addr, int32(i))
		if err != nil {
			return w, err
		}
		w.conns = append(w.conns, conn{fd: fd, buf: bufs[i*maxAnswer : (i+1)*maxAnswer]})
		w.rest(int32(i))
	}
	return w, nil
}

func (w *worker) close() error {
	var errs []error
	for i := range w.conns {
		errs = append(errs, closeFD(w.conns[i].fd))
	}
	w.conns = nil
	if w.poller != nil {
		errs = append(errs, w.poller.close())
	}
	return errors.Join(errs...)
}

// run makes load from start for d. All times are since start.
func (w *worker) run(ctx context.Context, start time.Time, d time.Duration) error {
	w.result = Result{Latency: newLatency()}
	w.end, w.arrivals, w.progress = d, 0, 0
	for {
		now, err := w.sendDue(start)
		if err != nil {
			return err
		}
		if w.inFlight == 0 && w.over(now) {
			return nil
		}
		ready, err := w.poller.wait(w.pause(now))
		if err != nil {
			return fmt.Errorf("wait for answers: %w", err)
		}
		for _, i := range ready {
			if err := w.receive(start, i); err != nil {
				return err
			}
		}
		if w.inFlight > 0 && now-w.progress > stallLimit {
			return fmt.Errorf("no answer for %v on %d connections", stallLimit, w.inFlight)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// sendDue sends what is due now on idle connections, a batch at most: answers that
// have come are not to wait until a worker that is behind has caught up.
func (w *worker) sendDue(start time.Time) (now time.Duration, err error) {
	for range batch {
		now = time.Since(start)
		if w.inFlight == 0 {
			w.progress = now // idle is no stall
		}
		at, ok := w.due(now)
		if !ok || w.idle.count == 0 {
			return now, nil
		}
		if err := w.send(at); err != nil {
			return now, err
		}
		if w.interval > 0 {
			w.arrivals++
			w.result.Lag = max(w.result.Lag, now-at)
		}
	}
	return now, nil
}

// due returns the moment for which the next request is meant, if that has come.
func (w *worker) due(now time.Duration) (time.Duration, bool) {
	if w.interval == 0 {
		return now, now < w.end
	}
	at := w.arrival()
	return at, at <= now && at < w.end && now < w.end+grace
}

// arrival is when the next request of an open loop is due.
func (w *worker) arrival() time.Duration {
	return time.Duration(float64(w.arrivals) * w.interval)
}

// over reports that nothing more will be sent, and counts what was not.
func (w *worker) over(now time.Duration) bool {
	if w.interval == 0 {
		return now >= w.end
	}
	if w.arrival() < w.end && now < w.end+grace {
		return false
	}
	w.result.Unsent = 0
	if left := w.end - w.arrival(); left > 0 {
		w.result.Unsent = int64(math.Ceil(float64(left) / w.interval))
	}
	return true
}

// pause is how long there is nothing to send.
func (w *worker) pause(now time.Duration) time.Duration {
	at, due := w.due(now)
	switch {
	case w.idle.count == 0:
		return tick
	case due:
		return 0
	case w.interval > 0 && at < w.end:
		return min(max(at-now, pace), tick)
	}
	return tick
}

func (w *worker) rest(i int32) {
	ring := w.idle.ring
	ring[(w.idle.head+w.idle.count)%len(ring)] = i
	w.idle.count++
}

func (w *worker) send(at time.Duration) error {
	c := &w.conns[w.idle.ring[w.idle.head]]
	w.idle.head = (w.idle.head + 1) % len(w.idle.ring)
	w.idle.count--
	request := w.requests[w.next]
	if w.next++; w.next == len(w.requests) {
		w.next = 0
	}
	n, err := writeFD(c.fd, request)
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	if n != len(request) { // one small request at a time always fits the socket
		return fmt.Errorf("send request: %d of %d bytes", n, len(request))
	}
	c.at, c.got, c.busy = at, 0, true
	w.inFlight++
	return nil
}

// receive reads what has come on connection i.
func (w *worker) receive(start time.Time, i int32) error {
	c := &w.conns[i]
	n, err := readFD(c.fd, c.buf[c.got:])
	if err != nil || n < 0 { // n < 0: nothing there after all
		return err
	}
	if n == 0 {
		return errClosed
	}
	if !c.busy {
		return errors.New("an answer without a request")
	}
	c.got += n
	length, ok, err := w.answers.end(c.buf[:c.got])
	if err != nil || length == 0 {
		return err
	}
	now := time.Since(start)
	r := &w.result
	r.Answered++
	if !ok {
		r.NotOK++
	}
	r.Elapsed = now
	w.progress = now
	c.busy = false
	w.inFlight--
	w.rest(i)
	return r.Latency.RecordValue(int64(min(max(now-c.at, 0), maxLatency)))
}
