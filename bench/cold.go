package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// The account and the key of every Azurite, which are public.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

var azuriteListens = regexp.MustCompile(`listens on (http://\S+)`)

// azurite starts an Azure blob server on this machine that keeps blobs in memory.
func (s *Setup) azurite(ctx context.Context) (p *Process, at string, err error) {
	program, err := filepath.Abs(filepath.Join(s.Azurite, "node_modules", ".bin", "azurite-blob"))
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, "", fmt.Errorf("azurite %w in %s: make setup", errAbsent, s.Azurite)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, "", fmt.Errorf("azurite needs node, which %w", errAbsent)
	}
	p, err = Start(ctx, "Azurite", node, []string{program, "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--silent",
		"--blobHost", "127.0.0.1", "--blobPort", "0"}, s.Env)
	if err != nil {
		return nil, "", err
	}
	err = p.await(ctx, s.StopLimit, func(context.Context) (bool, error) {
		m := azuriteListens.FindStringSubmatch(p.Output())
		if m == nil {
			return false, nil
		}
		at = m[1]
		_, err := loopback(at)
		return err == nil, err
	})
	if err != nil {
		p.Kill()
	}
	return p, at, err
}

// cold puts a world's tables on Azurite, and starts servers on what a disk may still
// have of them.
func (b *restartBench) cold(ctx context.Context) error {
	azurite, at, err := b.o.azurite(ctx)
	if errors.Is(err, errAbsent) {
		b.sheet.peer("Azurite", "absent: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer azurite.Kill()
	b.sheet.peer("Azurite", "on this machine, blobs in its memory: the time to a region far away is not in the figures")
	remote := b.o.Setup
	remote.ServeArgs = append(append([]string{}, remote.ServeArgs...), "--storage", "azblob://bench?account="+azuriteAccount+"&auth=shared-key&endpoint="+at+"/"+azuriteAccount)
	remote.Env = append(append([]string{}, remote.Env...), "AZURE_STORAGE_KEY="+azuriteKey)
	dir := b.dir + "-remote"
	plan, err := b.o.world()
	if err != nil {
		return err
	}
	n, total, err := remote.populated(ctx, dir, plan, b.say)
	if err != nil {
		return err
	}
	defer n.kill()
	b.say.step("merging files on Azurite")
	if err := n.settle(ctx); err != nil {
		return n.Explain(err)
	}
	if _, err := n.drain(remote.StopLimit); err != nil {
		return err
	}
	b.sheet.set("on Azurite", number(total)+" events, merged")
	for _, c := range []struct {
		name string
		gone []string
	}{{"disk warm", nil}, {"blob cache cold", []string{"cache"}}, {"blob cache cold, no rollups", []string{"cache", "rollups"}}} {
		for _, folder := range c.gone {
			if err := os.RemoveAll(filepath.Join(dir, folder)); err != nil {
				return err
			}
		}
		b.say.step("Azurite, %s", c.name)
		if err := b.firstAnswers(ctx, &remote, dir, "Azurite, "+c.name, catalogue(plan)[0], total); err != nil {
			return err
		}
	}
	return nil
}

// firstAnswers starts a server and asks, one after another, an email's summary, the
// organisation's, and SQL that counts all events.
func (b *restartBench) firstAnswers(ctx context.Context, s *Setup, dir, name string, email asked, total int64) error {
	start := time.Now()
	n, err := s.mailwake(ctx, dir)
	if err != nil {
		return err
	}
	defer n.kill()
	took := func(what string) {
		b.sheet.add(name, what, time.Since(start).Seconds(), "s")
		start = time.Now()
	}
	took("start → ready")
	for _, a := range []asked{email, {name: "organisation_summary"}} {
		if _, err := n.api.kpi(ctx, a); err != nil {
			return n.Explain(err)
		}
		took("→ " + a.label())
	}
	stored, err := n.api.countAll(ctx)
	if err != nil {
		return n.Explain(err)
	}
	took("→ all counted by SQL")
	if stored != total {
		return &CountError{When: name, Answered: total, Stored: stored}
	}
	_, err = n.drain(s.StopLimit)
	return err
}
