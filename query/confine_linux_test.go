package query

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// probing is set for a worker that only says what it can do before its first order.
const probing = "MAILWAKE_TEST_PROBE"

func probe() int {
	file := func(f *os.File, err error) error {
		if err == nil {
			err = f.Close()
		}
		return err
	}
	connect := func() error {
		c, err := net.Dial("tcp", os.Getenv(probing))
		if err == nil {
			err = c.Close()
		}
		return err
	}
	for name, err := range map[string]error{
		"make file": file(os.Create("mine")), "read file": file(os.Open("mine")), "remove file": os.Remove("mine"), "read /etc/passwd": file(os.Open("/etc/passwd")),
		"list /": file(os.Open("/")), "write beside": file(os.Create("../beside")), "connect": connect(),
		"signal its parent": syscall.Kill(syscall.Getppid(), 0), "run": exec.Command("/bin/true").Run(),
	} {
		fmt.Printf("%s: %v\n", name, err == nil)
	}
	return 0
}

// The fence is there from the start and needs no privilege: a worker's own folder
// is all it can open.
func TestFence(t *testing.T) {
	if _, err := fencedHere(); err != nil {
		t.Fatal(err) // Landlock has been in Linux since 5.13
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	out, err := unprivileged(t, []string{"worker"}, probing+"="+ln.Addr().String()).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(got)
	want := []string{"connect: false", "list /: false", "make file: true", "read /etc/passwd: false", "read file: true", "remove file: true",
		"run: false", "signal its parent: false", "write beside: false"}
	if !slices.Equal(got, want) {
		t.Errorf("it can %q", got)
	}
}

// fencedHere says whether this system has Landlock.
func fencedHere() (version int, err error) {
	v, _, errno := syscall.Syscall(444, 0, 0, 1)
	if errno != 0 {
		return 0, fmt.Errorf("landlock: %w", errno)
	}
	return int(v), nil
}

// unprivileged is this program, run by nobody if this is root, in a new folder
// with the lists of statements.
func unprivileged(t *testing.T, args []string, env ...string) *exec.Cmd {
	t.Helper()
	// Folders that Go makes for tests are root's alone.
	dir, err := os.MkdirTemp("", "mailwake-unprivileged-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "program")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Link(self, program), os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS("testdata")), os.Mkdir(filepath.Join(dir, "tmp"), 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "TMPDIR="+filepath.Join(dir, "tmp"))...)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil || path == program {
				return err
			}
			return errors.Join(os.Chown(path, nobody, nobody), os.Chmod(path, 0o755))
		}); err != nil {
			t.Fatal(err)
		}
	}
	return cmd
}

// Without root's rights the attacks get no further.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		return // the other tests are this one
	}
	out, err := unprivileged(t, []string{"-test.v", "-test.run", "^(TestAttacks|TestWorkerKilled|TestWorkerIsConfined|TestTotalsAreAll)$"}).CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS: ") != 4 {
		t.Errorf("%v\n%s", err, out)
	}
}
