package blobtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAzuriteIsOne(t *testing.T) {
	a, b := Azurite(t), Azurite(t)
	if a != b || a.Addr == "" || !strings.Contains(a.ConnectionString, a.Addr) {
		t.Errorf("%+v and %+v", a, b)
	}
	if one, two := a.Container(), a.Container(); one == two {
		t.Error("two containers have one name")
	}
	Put(t, a.Store(t), "k", []byte("v"))
	if keys := Keys(t, a.Store(t), ""); len(keys) != 0 {
		t.Errorf("a new store holds %q", keys)
	}
}

func TestAzuriteMissing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if _, err := startAzurite(); err == nil || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("error %v", err)
	}
}

// holdAzurite is set in the process that TestAzuriteDies kills.
const holdAzurite = "BLOBTEST_HOLD_AZURITE"

// TestAzuriteDies kills a test process and waits for its Azurite to go too.
func TestAzuriteDies(t *testing.T) {
	if os.Getenv(holdAzurite) != "" {
		fmt.Println(Azurite(t).Addr)
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAzuriteDies$") //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), holdAzurite+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr = strings.TrimSpace(addr)
	if c, err := net.Dial("tcp", addr); err != nil {
		t.Fatal(err)
	} else if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = c.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("Azurite has outlived its test process: %v", err)
		}
	}
}

func TestProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	p := Proxy(t, l.Addr().String())
	echo := func(c net.Conn) error {
		if _, err := c.Write([]byte("ping")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 4))
		return err
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	early := dial()
	if err := echo(early); err != nil {
		t.Error(err)
	}
	p.Down()
	if err := echo(early); err == nil {
		t.Error("an old connection works while the proxy is down")
	}
	if err := echo(dial()); err == nil {
		t.Error("a new connection works while the proxy is down")
	}
	p.Up()
	if err := echo(dial()); err != nil {
		t.Error(err)
	}
}
