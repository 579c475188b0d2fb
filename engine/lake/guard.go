package lake

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go/table"
)

// errRaced says that a change that cannot be replayed must be built anew.
var errRaced = fmt.Errorf("%w: the table has moved on", ErrConflict)

// applied reports whether the commit with this id is in m: by the snapshot it
// made, or by the mark it set.
func applied(m table.Metadata, node, id string) bool {
	if node != "" && m.Properties()[commitPrefix+node] == id {
		return true
	}
	return slices.ContainsFunc(m.Snapshots(), func(s table.Snapshot) bool {
		return s.Summary != nil && s.Summary.Properties[commitID] == id
	})
}

// guard is what must hold for a change to be right, checked against the very
// metadata that it is about to replace.
type guard struct {
	change *Change
	id     string
	base   *int64 // the only snapshot the change may follow, if set
}

var errApplied = errors.New("commit has taken effect before")

// GetType implements table.Requirement.
func (g *guard) GetType() string { return "mailwake-guard" }

// Validate implements table.Requirement.
func (g *guard) Validate(m table.Metadata) error {
	if m == nil {
		return errors.New("table is gone")
	}
	if applied(m, g.change.Node, g.id) {
		return errApplied
	}
	if g.change.Node != "" {
		mark, err := markOf(m, g.change.Node)
		if err != nil {
			return err
		}
		if mark >= g.change.Mark {
			return fmt.Errorf("%w: node %s is at %d, commit says %d", ErrMark, g.change.Node, mark, g.change.Mark)
		}
	}
	if g.base != nil && (m.CurrentSnapshot() == nil || m.CurrentSnapshot().SnapshotID != *g.base) {
		return errRaced
	}
	return nil
}

// anything is the guard of changes that are right on any version.
type anything struct{}

// GetType implements table.Requirement.
func (anything) GetType() string { return "mailwake-anything" }

// Validate implements table.Requirement.
func (anything) Validate(table.Metadata) error { return nil }
