package lake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"mailwake/engine/blob"
)

const (
	// commitAttempts bounds how often a commit starts over on reloaded metadata,
	// beyond the retries that iceberg-go makes within an attempt.
	commitAttempts = 10
	// maxCommitPause is the longest random wait between two attempts.
	maxCommitPause = 100 * time.Millisecond
	// settleTimeout bounds finding out what became of a commit whose caller has
	// gone away.
	settleTimeout = 10 * time.Second
)

// Change is what one commit does to a table, all of it or nothing.
type Change struct {
	Add    []File // from Write of this table, each added once
	Remove []File // from a Snapshot of this table
	// Node, if not empty, is whose mark moves to Mark. Mark must be beyond the
	// node's present mark.
	Node string
	Mark uint64
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

func (c *Change) validate(tableKey string) error {
	switch {
	case c.Node == "" && c.Mark != 0:
		return errors.New("a mark without a node")
	case c.Node != "" && !nodeName.MatchString(c.Node):
		return fmt.Errorf("invalid node name %q", c.Node)
	case c.Node == "" && len(c.Add)+len(c.Remove) == 0:
		return errors.New("nothing to change")
	}
	seen := map[string]struct{}{}
	for _, f := range slices.Concat(c.Add, c.Remove) {
		if _, twice := seen[f.Path]; twice {
			return fmt.Errorf("file %s is named twice", f.Path)
		}
		seen[f.Path] = struct{}{}
		if !strings.HasPrefix(f.Path, tableKey+"/") {
			return fmt.Errorf("file %s belongs to another table", f.Path)
		}
	}
	for _, f := range c.Add {
		if f.data == nil {
			return fmt.Errorf("file %s to add does not come from Write", f.Path)
		}
	}
	return nil
}

// apply is the list of files after c.
func (c *Change) apply(files []File) []File {
	out := make([]File, 0, len(files)+len(c.Add))
	removed := map[string]struct{}{}
	for _, f := range c.Remove {
		removed[f.Path] = struct{}{}
	}
	for _, f := range files {
		if _, gone := removed[f.Path]; !gone {
			out = append(out, f)
		}
	}
	for _, f := range c.Add {
		f.data = nil
		out = append(out, f)
	}
	return out
}

// Commit applies c and returns a snapshot that contains it. Other nodes may
// commit at the same time: it starts over on their result. An error that leaves
// open whether the commit took effect, such as a lost connection, is settled by
// reading the table again, so that nil means that c is in the table once.
//
// After an error c is not in the table, unless the table could not be read
// either. The caller may then repeat the work and commit it with the same mark:
// if the first commit did take effect, that one gets ErrMark and Snapshot shows
// the mark. ErrStale: a file to remove was removed by another commit.
func (t *Table) Commit(ctx context.Context, c Change) (*Snapshot, error) {
	if err := c.validate(t.lake.tableKey(t.org)); err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.org, err)
	}
	unlock, err := t.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.org, err)
	}
	defer unlock()
	var leaving []string
	for _, f := range c.Remove {
		leaving = append(leaving, f.Path)
	}
	if err := t.lake.noteReplaced(ctx, t.org, leaving, time.Time{}); err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.org, err)
	}
	s, err := t.commit(ctx, &c)
	if err != nil {
		return nil, fmt.Errorf("commit to %s: %w", t.org, err)
	}
	// That the ledger does not learn of it now makes the grace longer: Collect sees
	// by itself that they have left.
	if err := t.lake.noteReplaced(context.WithoutCancel(ctx), t.org, leaving, t.lake.opts.Now()); err != nil {
		t.lake.opts.Logger.WarnContext(ctx, "note replaced blobs", "org", t.org, "err", err)
	}
	t.expire(ctx, s)
	return s.snapshot, nil
}

// commit tries until c is in the table or cannot be. Must hold busy.
func (t *Table) commit(ctx context.Context, c *Change) (*state, error) {
	id := uuid.NewString()
	for n := 1; ; n++ {
		base := t.current.Load()
		committed, err := t.attempt(ctx, base, c, id)
		if err == nil {
			return t.adoptCommitted(ctx, committed, c)
		}
		s, errReload := t.settle(ctx)
		if errReload != nil {
			return nil, fmt.Errorf("%w; whether it took effect is unknown: %w", err, errReload)
		}
		if applied(s.iceberg.Metadata(), c.Node, id) {
			return s, nil
		}
		again := retryable(err) || errors.Is(err, ErrStale) && s != base
		if !again || n == commitAttempts || !pause(ctx) {
			return nil, conflict(err)
		}
	}
}

// adoptCommitted makes the result of our own commit current. That another
// process has already expired its manifests does not undo it.
func (t *Table) adoptCommitted(ctx context.Context, committed *table.Table, c *Change) (*state, error) {
	s, err := t.adopt(ctx, committed, c)
	if err == nil {
		return s, nil
	}
	s, errReload := t.settle(ctx)
	if errReload != nil {
		return nil, fmt.Errorf("took effect but cannot be read: %w", errors.Join(err, errReload))
	}
	return s, nil
}

// conflict marks the errors after which a plan must be made anew.
func conflict(err error) error {
	if errors.Is(err, table.ErrCommitFailed) || errors.Is(err, table.ErrCommitDiverged) {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

func retryable(err error) bool {
	return errors.Is(err, table.ErrCommitFailed) || errors.Is(err, errRaced) || errors.Is(err, table.ErrCommitDiverged) ||
		errors.Is(err, fs.ErrNotExist) || blob.IsTransient(err) || isBusy(err)
}

// settle reads what became of a commit, even if the caller has gone away.
func (t *Table) settle(ctx context.Context) (*state, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return t.reload(ctx)
}

// pause lets the others go first; false when ctx is done.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(rand.N(maxCommitPause)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt builds one transaction on base and commits it. iceberg-go replays
// appends that lose a race; removals start over here, on the new list of files.
func (t *Table) attempt(ctx context.Context, base *state, c *Change, id string) (*table.Table, error) {
	g := &guard{change: c, id: id}
	if len(c.Remove) > 0 {
		g.base = &base.snapshot.id
	}
	if err := g.Validate(base.iceberg.Metadata()); err != nil {
		return nil, err
	}
	for _, f := range base.snapshot.files {
		for _, a := range c.Add {
			if f.Path == a.Path {
				return nil, fmt.Errorf("file %s is in the table already", f.Path)
			}
		}
	}
	tbl := t.guarded(g).wrap(base.iceberg)
	tx := tbl.NewTransaction()
	if err := t.stage(ctx, tx, tbl, c, id); err != nil {
		return nil, err
	}
	if c.Node != "" {
		err := tx.SetProperties(iceberg.Properties{
			markPrefix + c.Node:   strconv.FormatUint(c.Mark, 10),
			commitPrefix + c.Node: id,
		})
		if err != nil {
			return nil, fmt.Errorf("set mark: %w", err)
		}
	}
	return tx.Commit(ctx)
}

// guarded is the catalog for one transaction.
func (t *Table) guarded(g table.Requirement) *commitCatalog {
	return &commitCatalog{
		inner: t.lake.committer, store: t.lake.opts.Store, guard: g,
		location: func(ctx context.Context) (string, error) { return t.lake.metadataLocation(ctx, t.org) },
	}
}

// stage puts the files of c into tx. No check of iceberg-go's is needed that
// reads the table: keys are unique, and field ids are in the files.
func (t *Table) stage(ctx context.Context, tx *table.Transaction, tbl *table.Table, c *Change, id string) error {
	add := make([]iceberg.DataFile, len(c.Add))
	for i, f := range c.Add {
		add[i] = f.data
	}
	summary := iceberg.Properties{commitID: id}
	options := []table.WriteOption{table.WithoutDuplicateCheck(), table.WithoutAutoNameMapping()}
	if len(c.Remove) == 0 {
		if err := tx.AddDataFiles(ctx, add, summary, options...); err != nil {
			return fmt.Errorf("add files: %w", err)
		}
		return nil
	}
	remove, err := entries(ctx, t.lake.opts.Store, tbl, c.Remove)
	if err != nil {
		return err
	}
	if err := tx.ReplaceDataFilesWithDataFiles(ctx, remove, add, summary, options...); err != nil {
		return fmt.Errorf("replace files: %w", err)
	}
	return nil
}

// entries finds files in the manifests of tbl's current snapshot.
func entries(ctx context.Context, s blob.Store, tbl *table.Table, files []File) ([]iceberg.DataFile, error) {
	wanted := map[string]struct{}{}
	for _, f := range files {
		wanted[f.Path] = struct{}{}
	}
	var found []iceberg.DataFile
	for df, err := range dataFiles(ctx, tbl) {
		if err != nil {
			return nil, err
		}
		key, err := keyOf(s, df.FilePath())
		if err != nil {
			return nil, err
		}
		if _, ok := wanted[key]; ok {
			found = append(found, df)
			delete(wanted, key)
		}
	}
	for key := range wanted {
		return nil, fmt.Errorf("%w: %s", ErrStale, key)
	}
	return found, nil
}
