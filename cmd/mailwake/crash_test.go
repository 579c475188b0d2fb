package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCrash kills the server with -9 at random moments under load and compares
// every answered request with SQL after the restart: each once, none twice.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := 20
	if s := os.Getenv("MAILWAKE_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	}
	dir := t.TempDir()
	flags := []string{"--flush-rows", "300", "--flush-age", "1s"}
	p := serve(t, dir, nil, flags...)
	p.createOrg("acme")
	requests := crashRequests(p, rounds*2)
	answered := make([]atomic.Bool, len(requests))
	var next atomic.Int64
	for round := range rounds {
		load(p, requests, answered, &next, func() {
			<-time.After(time.Duration(rand.IntN(250)) * time.Millisecond)
			p.kill()
		})
		p = serve(t, dir, nil, flags...)
		checkAnswered(t, p, round, answered, int(min(next.Load(), int64(len(requests)))))
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds, %d requests", rounds, next.Load())
	load(p, requests, answered, &next, p.stop) // an orderly end must lose nothing either
	p = serve(t, dir, nil, flags...)
	checkAnswered(t, p, rounds, answered, int(min(next.Load(), int64(len(requests)))))
	p.stop()
}

const (
	crashPeople = 100
	crashLinks  = 40
)

// crashRequests registers emails and returns the address of every link of every
// recipient: request i is email i/4000, so that SQL can tell requests apart.
func crashRequests(p *process, emails int) []string {
	var mail strings.Builder
	mail.WriteString("<html><body>")
	for i := range crashLinks {
		fmt.Fprintf(&mail, `<a href="https://example.com/%d">%d</a> `, i, i)
	}
	mail.WriteString("</body></html>")
	var all []string
	for i := range emails {
		resp := p.follow(fmt.Sprintf("crash %d", i), mail.String(), crashPeople)
		for _, m := range resp.Messages {
			all = append(all, trackedIn(m.HTML, p.at.Public).links...)
		}
	}
	return all
}

// load sends requests from many clients while end brings the server down.
func load(p *process, requests []string, answered []atomic.Bool, next *atomic.Int64, end func()) {
	var clients sync.WaitGroup
	begun := make(chan struct{}, 1)
	for range 16 {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(requests)); i = next.Add(1) - 1 {
				resp, _, err := p.ask(http.MethodGet, p.here(requests[i]), outlook)
				if err != nil {
					return
				}
				answered[i].Store(resp.StatusCode == http.StatusFound)
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	<-begun
	end()
	clients.Wait()
}

// here moves an address to the port of the server's present life.
func (p *process) here(address string) string {
	return p.at.Public + trackedURL.FindString(address)
}

func checkAnswered(t *testing.T, p *process, round int, answered []atomic.Bool, sent int) {
	t.Helper()
	stored := map[int]int{}
	for _, row := range p.sql("select email_id, recipient_id, component, count(*) as n from interactions where kind = 'click' group by all") {
		email, person, link := int(row["email_id"].(float64)), int(row["recipient_id"].(float64)), int(row["component"].(float64))
		stored[((email-1)*crashPeople+person-1)*crashLinks+link-1] = int(row["n"].(float64))
	}
	lost, doubled := 0, 0
	for i := range answered {
		if answered[i].Load() && stored[i] == 0 {
			lost++
		}
		if stored[i] > 1 {
			doubled++
		}
		if stored[i] > 0 && i >= sent {
			t.Errorf("round %d: request %d was never sent and is stored", round, i)
		}
	}
	if lost > 0 || doubled > 0 {
		t.Errorf("round %d: %d acknowledged interactions lost, %d doubled\n%s", round, lost, doubled, p.log)
	}
}
