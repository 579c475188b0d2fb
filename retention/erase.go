package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// Removals are the parts that hold something of people and organisations besides
// the tables. All but Forget, Tidy, Rollups and Told are required.
type Removals struct {
	Registry *registry.Registry
	Store    blob.Store
	// Shred moves everything buffered into the tables and overwrites the log.
	Shred func(context.Context) error
	// DropTail forgets an organisation that is being purged.
	DropTail func(context.Context, event.OrgID) error
	// Forget drops what queries hold of an organisation in memory, and what they keep
	// of files that are not in its table.
	Forget func(context.Context, event.OrgID) error
	// Tidy removes what queries keep on disk of data files, by name, that are not in the
	// table, where no query has done so by itself.
	Tidy func(ctx context.Context, org event.OrgID, inTable func(file string) bool) error
	// Rollups looks through all that queries keep on disk of an organisation for
	// recipients who are wanted, and returns the files that hold some; nil: nothing is
	// kept.
	Rollups func(org event.OrgID, wanted func(event.RecipientID) bool) (searched int, holding []string, err error)
	// Told reports whether a data file has anything of one of the recipients, as its
	// rollup says; known is false if it has none.
	Told func(org event.OrgID, f lake.File, recipients []event.RecipientID) (holds, known bool)
	// Flush moves what is buffered of an organisation into its table.
	Flush  func(context.Context, event.OrgID) error
	Signer *Signer
	Dir    string // the server's own files, for VerifyErasure; "" searches none

	// Patience is how long a removal waits for readers; default 20 s. It is tried
	// again later.
	Patience time.Duration
	// OrphanAge is the age from which a blob that no table has can be in no upload or
	// commit any more; default 1 hour.
	OrphanAge time.Duration
}

const (
	// removalPatience is within the patience of a client that asks for an erasure.
	removalPatience = 20 * time.Second
	removalPause    = 20 * time.Millisecond
	// removalOrphanAge is as long as lake takes any commit to last, retries included.
	removalOrphanAge = time.Hour
	// removalTries bounds how often a removal starts over when its last search still
	// finds something, such as an event that was being recorded when it began.
	removalTries = 4
)

func (r *Removals) setDefaults() error {
	if r.Registry == nil || r.Store == nil || r.Shred == nil || r.DropTail == nil || r.Flush == nil || r.Signer == nil {
		return errors.New("retention: Registry, Store, Shred, DropTail, Flush and Signer are required for removals")
	}
	if r.Patience == 0 {
		r.Patience = removalPatience
	}
	if r.OrphanAge == 0 {
		r.OrphanAge = removalOrphanAge
	}
	return nil
}

// erasing is an erasure on its way.
type erasing struct {
	*Removals
	k    *Keeper
	s    *subject
	e    registry.Erasure
	cull *cull
}

// eraseStep is one step of an erasure: it can be done again at any time, and says
// what it found and did, for the receipt.
type eraseStep struct {
	name, does string
	run        func(*erasing, context.Context) (any, error)
}

// eraseSteps in their order. That nothing is collected any more is older than all
// of them: it became durable with the erasure itself.
var eraseSteps = []eraseStep{
	{"log", "move what is buffered into the table and overwrite the log on disk", (*erasing).log},
	{"rows", "rewrite the data files that hold rows of theirs", (*erasing).rows},
	{"manifests", "write manifests without the bounds of replaced files, drop all older snapshots", (*erasing).manifests},
	{"blobs", "delete the replaced files and the local copies of them", (*erasing).blobs},
	{"orphans", "delete files of theirs that a lost commit left behind", (*erasing).orphans},
	{"attachments", "delete files that were sent to nobody else", (*erasing).attachments},
	{"records", "remove address, name and ids from the registry, and overwrite their bytes", (*erasing).records},
	{"memory", "drop what queries hold in memory, and what they keep of replaced files", (*erasing).memory},
	{"copies", "delete versions, snapshots and soft-deleted copies at the storage account", (*erasing).copies},
	{"search", "search everything again", (*erasing).search},
}

// errAgain says that a removal's last search found something.
var errAgain = errors.New("something is left")

// Erase removes a person: refused from the moment this is durable, then removed
// step by step. An error after the beginning leaves the erasure under way: Run goes
// on with it, and so does calling Erase again. Problems: those of
// registry.BeginErasure, and removal_waits while somebody reads what is to go.
func (k *Keeper) Erase(ctx context.Context, org event.OrgID, who registry.Whose, by registry.Actor) (registry.Erasure, error) {
	r := k.opts.Removals
	if r == nil {
		return registry.Erasure{}, errors.New("retention: this Keeper has no Removals")
	}
	e, err := r.Registry.BeginErasure(ctx, org, who, by)
	if err != nil || e.FinishedAt != 0 {
		return e, err
	}
	release, err := k.lead(ctx)
	if err != nil {
		return e, err
	}
	defer release()
	o, err := k.org(org)
	if err != nil {
		return e, err
	}
	s, err := k.subject(ctx, o)
	if err != nil {
		return e, err
	}
	if err := k.finishErasure(ctx, s, e); err != nil {
		return e, err
	}
	return r.Registry.Erasure(ctx, org, e.ID)
}

// erase goes on with the erasures that are under way.
func (k *Keeper) erase(ctx context.Context, s *subject) error {
	if k.opts.Removals == nil {
		return nil
	}
	open, err := k.opts.Removals.Registry.UnfinishedErasures(ctx, s.org.ID)
	errs := []error{err}
	for _, e := range open {
		errs = append(errs, k.finishErasure(ctx, s, e))
	}
	return errors.Join(errs...)
}

// finishErasure does the steps that are not done, and signs the receipt. Must lead.
func (k *Keeper) finishErasure(ctx context.Context, s *subject, e registry.Erasure) (err error) {
	r := k.opts.Removals
	p := Policy{Erased: e.Recipients}
	for range removalTries {
		x := &erasing{Removals: r, k: k, s: s, e: e, cull: p.cull(k.opts.Now())}
		if err = x.run(ctx); err == nil {
			break
		}
		if !errors.Is(err, errAgain) {
			return fmt.Errorf("erasure %d of organisation %d: %w", e.ID, e.Org, err)
		}
		if err := r.Registry.RedoSteps(ctx, e.Org, e.ID); err != nil {
			return err
		}
		e.Steps = nil
	}
	if err != nil {
		return fmt.Errorf("erasure %d of organisation %d: %w", e.ID, e.Org, err)
	}
	if e, err = r.Registry.Erasure(ctx, e.Org, e.ID); err != nil {
		return err
	}
	receipt, err := r.Signer.Sign(erasureReceipt(s.org, e, k.opts.Now()))
	if err != nil {
		return err
	}
	return r.Registry.FinishErasure(ctx, e.Org, e.ID, receipt)
}

func (x *erasing) run(ctx context.Context) error {
	done := map[string]bool{}
	for _, s := range x.e.Steps {
		done[s.Step] = true
	}
	for _, step := range eraseSteps {
		if done[step.name] {
			continue
		}
		found, err := step.run(x, ctx)
		if err == nil {
			err = x.Registry.NoteStep(ctx, x.e.Org, x.e.ID, step.name, found)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
