package blobtest

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill cmd with this process, even if it is too
// stuck to notice the end of its standard input.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
