//go:build race

package engine_test

// The race detector makes a history some ten times slower.
const defaultSeeds = 8
