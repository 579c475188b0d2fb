package query

// void mailwake_pin(int number, int fd);
// int mailwake_unpin(int number);
// extern int mailwake_fenced, mailwake_statm;
import "C"

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// pin makes DuckDB read the open file fd under path, whose name carries number.
// The file of no bytes that is made there is what DuckDB looks for before it opens.
func pin(path string, number, fd int) error {
	if err := os.WriteFile(path, nil, 0o400); err != nil {
		return fmt.Errorf("make placeholder: %w", err)
	}
	C.mailwake_pin(C.int(number), C.int(fd))
	return nil
}

// unpin closes the file of number.
func unpin(number int) {
	if fd := int(C.mailwake_unpin(C.int(number))); fd >= 0 {
		_ = syscall.Close(fd)
	}
}

// fenced returns the file that tells what this worker has mapped, nil if there is
// none, and an error if there is no fence around it.
func fenced() (statm *os.File, err error) {
	if C.mailwake_statm >= 0 {
		statm = os.NewFile(uintptr(C.mailwake_statm), "statm")
	}
	if C.mailwake_fenced == 0 {
		return statm, errors.New("the system has no Landlock")
	}
	return statm, nil
}
