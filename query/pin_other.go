//go:build !linux

package query

import "errors"

func pin(string, int, int) error {
	return errors.New("SQL workers run on Linux only")
}

func unpin(int) {}
