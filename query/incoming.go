package query

import (
	"context"
	"fmt"
	"os"

	"mailwake/engine/event"
)

// Incoming returns the folder into which rollups may be put of data files that are
// to get into the organisation's table, so that queries find them there as soon as
// they see the data files. "" if none are kept, or nobody may read the data. Until
// done is called no rollup is taken for one whose data file is gone; then the table
// has the data files, or never will.
func (db *DB) Incoming(ctx context.Context, org event.OrgID) (dir string, done func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	if db.opts.RollupDir == "" || db.Readable(org) != nil {
		return "", nothing, nil
	}
	s, err := db.store(org)
	if err != nil {
		return "", nil, err
	}
	if err := s.takeTurn(ctx); err != nil {
		return "", nil, err
	}
	defer s.endTurn()
	if err := os.MkdirAll(s.rollups.dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make folder of rollups: %w", err)
	}
	s.rollups.coming++
	return s.rollups.dir, s.arrived, nil
}

// arrived ends Incoming. Since it waits for the turn, whoever has that next sees
// the data files.
func (s *store) arrived(ctx context.Context) error {
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.endTurn()
	if s.rollups.coming--; s.rollups.coming > 0 {
		return nil
	}
	return s.forgetRollups(ctx)
}
