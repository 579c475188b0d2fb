//go:build !race

package engine_test

const defaultSeeds = 40
