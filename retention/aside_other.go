//go:build !linux

package retention

// lowerPriority does nothing where priorities belong to processes.
func lowerPriority() {}
