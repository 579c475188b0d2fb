package query

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// confinement is what a worker gives up before it hears of any data. Root says
// that it was started with the means to give up more.
type confinement struct {
	Root       bool
	UID, GID   int
	Namespaces bool // it sees no network, no other process and no shared memory

	statm *os.File // its own, open since before the fence; see addressSpace for what happens without
}

const (
	// addressSlack is what Go, DuckDB's threads and the C library reserve beyond the
	// memory that DuckDB counts; 0.6 GiB were seen with two threads.
	addressSlack = 1 << 30
	// workerFiles bounds descriptors: each data file is open once, and once more per
	// thread that reads it. Compaction keeps a table at a thousand files.
	workerFiles = 1 << 14
)

// startProcess starts a worker that dies with this process. As root it gets
// namespaces without a network, without other processes and without shared memory,
// where the system permits.
func startProcess(command []string, dir string, root bool, data, files *os.File) (_ *exec.Cmd, namespaces bool, _ error) {
	attempts := []uintptr{0}
	if root {
		attempts = []uintptr{syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS, 0}
	}
	var errs []error
	for _, flags := range attempts {
		cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // our own program, from options
		cmd.Dir = dir                                   // where fence_linux.c puts its fence
		cmd.Env = []string{"GODEBUG=" + os.Getenv("GODEBUG"), "GOMEMLIMIT=256MiB"}
		cmd.ExtraFiles = []*os.File{data, files}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: flags}
		err := cmd.Start()
		if err == nil {
			return cmd, flags != 0, nil
		}
		errs = append(errs, err)
	}
	return nil, false, errors.Join(errs...)
}

// socketPair returns a connected pair: this process's end, and the file that a
// child inherits. With messages, a read is one write.
func socketPair(messages bool) (*net.UnixConn, *os.File, error) {
	kind := syscall.SOCK_STREAM
	if messages {
		kind = syscall.SOCK_SEQPACKET
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect worker: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "worker")
	ours, err := unixConn(os.NewFile(uintptr(pair[0]), "worker"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// enter gives up the file system and the user, and says in ready what is in force.
// dir is where its own folder is from then on.
func (c *confinement) enter(ready *workerReady, dir *string) {
	var fence error
	if c.statm, fence = fenced(); fence != nil {
		ready.Missing = append(ready.Missing, "files of its folder only")
	} else {
		ready.Confined = append(ready.Confined, "files of its folder only")
	}
	if c.Root {
		err := syscall.Chroot(".")
		if ready.note("chroot", err); err == nil {
			*dir = "/"
		}
		ready.note("unprivileged user", errors.Join(syscall.Setgroups(nil), syscall.Setgid(c.GID), syscall.Setuid(c.UID)))
	} else {
		ready.Missing = append(ready.Missing, "chroot", "unprivileged user")
	}
	if c.Namespaces {
		ready.Confined = append(ready.Confined, "namespaces")
	} else {
		ready.Missing = append(ready.Missing, "namespaces")
	}
	// A change of user takes this back, so it comes after.
	ready.note("dies with its parent", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0))
	ready.note("no core", errors.Join(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0), setLimit(unix.RLIMIT_CORE, 0)))
}

// lock is the last step, when everything that needs more is done.
func (c *confinement) lock(ready *workerReady, setup workerSetup) {
	ready.note("address space", setLimit(unix.RLIMIT_AS, c.addressSpace()+uint64(setup.Memory)+addressSlack))
	ready.note("descriptors", setLimit(unix.RLIMIT_NOFILE, workerFiles))
	ready.note("system calls", seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{{Names: callsHere(refusedCalls), Action: seccomp.ActionErrno}}},
	}))
}

// callsHere leaves out what this kind of processor has no number for.
func callsHere(names []string) []string {
	info, err := arch.GetInfo("")
	if err != nil {
		return names // the filter will say what is wrong
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := info.SyscallNames[name]
		return !ok
	})
}

// refusedCalls are what a worker has no use for: new connections, other programs,
// other processes, and the system's own matters. Reading and writing what is open,
// files of its folder, memory and threads are left.
var refusedCalls = []string{
	"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev",
	"kcmp", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "process_madvise", "process_mrelease", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns",
	"open_by_handle_at", "name_to_handle_at", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "io_uring_setup",
	"init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon", "swapoff", "sethostname", "setdomainname", "settimeofday",
	"clock_settime", "acct", "quotactl", "syslog", "personality", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "chown", "fchown", "lchown",
	"fchownat", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "memfd_create", "msgget", "semget", "shmget",
}

// limitProcessor lets the process use that much more CPU time, and ends it after.
func limitProcessor(more time.Duration) {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return
	}
	seconds := uint64(used.Utime.Sec+used.Stime.Sec) + uint64(more/time.Second) + 2
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CPU, &l) == nil {
		l.Cur = min(seconds, l.Max)
		_ = unix.Setrlimit(unix.RLIMIT_CPU, &l) // the deadline holds without it
	}
}

func (r *workerReady) note(what string, err error) {
	if err != nil {
		r.Missing = append(r.Missing, what)
		return
	}
	r.Confined = append(r.Confined, what)
}

func setLimit(what int, value uint64) error {
	return unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: value})
}

// addressSpace is what the process has mapped so far, in bytes. Where it is not
// told, a gibibyte and a half is a common amount.
func (c *confinement) addressSpace() uint64 {
	text := make([]byte, 256)
	n, err := c.statm.Read(text)
	if err != nil {
		return 3 << 29
	}
	text = text[:n]
	first, _, _ := bytes.Cut(text, []byte(" "))
	pages, err := strconv.ParseUint(string(first), 10, 64)
	if err != nil {
		return 3 << 29
	}
	return pages * uint64(os.Getpagesize())
}
