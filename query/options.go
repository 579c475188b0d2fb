package query

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"runtime"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// View is one organisation's data at one instant. Every event of it is either in
// the files or in the tail, never in both. Files and texts are valid until Close.
// One goroutine uses it.
type View interface {
	// Files returns local paths of the snapshot's Parquet files; may be empty.
	Files() []string
	SnapshotID() int64
	// Content is the same for two Views of an organisation if the later one has the
	// events of the earlier one and those that were appended since, no others: what has
	// left the tail is in files as it was, and nothing else has happened to these.
	Content() uint64
	// Tail returns the positions of the events outside the files: from ≤ p < to.
	// From one View of an organisation to the next neither moves back.
	Tail() (from, to event.Position)
	// Rows yields the tail's events at or after from in the order of their
	// positions, ids filled in. The event is reused between steps.
	Rows(from event.Position) iter.Seq2[event.Position, *event.Interaction]
	// RowsOf is Rows for those of one email.
	RowsOf(email event.EmailID, from event.Position) iter.Seq2[event.Position, *event.Interaction]
	Close()
}

// Source gives Views. It is asked for one View of an organisation at a time, and
// for several organisations at once.
type Source interface {
	View(ctx context.Context, org event.OrgID) (View, error)
}

// SourceFunc makes a function a Source.
type SourceFunc func(ctx context.Context, org event.OrgID) (View, error)

// View calls f.
func (f SourceFunc) View(ctx context.Context, org event.OrgID) (View, error) { return f(ctx, org) }

// Catalog gives what the registry knows, in the order of ids, from behind the id
// named on. What it has yielded does not change, but for emails. *registry.Registry is one.
type Catalog interface {
	// EmailChanges yields emails that were registered or retried behind the change
	// named, in the order of their changes.
	EmailChanges(ctx context.Context, org event.OrgID, after int64) iter.Seq2[registry.Email, error]
	RecipientsSince(ctx context.Context, org event.OrgID, after event.RecipientID) iter.Seq2[registry.Recipient, error]
	// LinksSince yields the links of emails behind after. They are visible no
	// later than their email.
	LinksSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[registry.Link, error]
	// EmailRecipientsSince yields who emails behind after were meant for, likewise.
	EmailRecipientsSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[registry.EmailRecipient, error]
	// EmailAttachmentsSince yields the attachments of emails behind after, likewise.
	EmailAttachmentsSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[registry.AttachmentOfEmail, error]
}

// Options says where data comes from and how much a query may use. Source,
// Catalog, Rules and Folders are required.
type Options struct {
	Source  Source
	Catalog Catalog
	// Rules returns what may be shown of an organisation now. It is asked by every
	// query, before anything is read.
	Rules func(org event.OrgID) (Rules, error)
	// news replaces Catalog where news are brought and not asked for.
	news func(ctx context.Context, org event.OrgID, mark catalogMark) (catalogNews, catalogMark, error)
	// Clock gives the time that ages are counted to; nil is time.Now.
	Clock func() time.Time
	// Folders names the local folders, absolute, under which the files of every
	// View of org lie. No other organisation's file may lie there: what is in
	// them is all that queries of org can read from disk.
	Folders func(org event.OrgID) ([]string, error)
	// Secret returns a secret of org that stays the same: it decides how figures are
	// rounded for those who may not see persons. Nil is one that lasts as long as
	// the DB.
	Secret func(ctx context.Context, org event.OrgID) ([]byte, error)
	// TempDir takes what does not fit in memory, in one folder per organisation.
	// Empty is a fresh folder that Close removes.
	TempDir string
	// RollupDir keeps what KPIs need of data files, in one folder per organisation,
	// about 9 bytes per event. Empty keeps nothing: KPIs read all events.
	RollupDir string
	// OnRollupError is told what keeps a KPI from using rollups; it then reads all
	// events. nil is told nothing.
	OnRollupError func(org event.OrgID, err error)
	// Threads per organisation; 0 is one per core.
	Threads int
	// MemoryLimit of an organisation's instance in bytes; 0 is 1 GiB.
	MemoryLimit int64
	// Concurrency is how many queries run at once over all organisations, the
	// others wait; 0 is 2 to 4, by cores.
	Concurrency int
	// Timeout ends a query, including its wait; 0 is 30 s.
	Timeout time.Duration
	// MaxRows bounds a result, whatever limit is asked for; 0 is 1,000,000.
	MaxRows int
	// MaxBytes bounds a result, which is held in memory; 0 is 256 MiB.
	MaxBytes int64
	// Worker says how statements of analysts run.
	Worker WorkerOptions
}

const (
	defaultMemory  = 1 << 30
	defaultTimeout = 30 * time.Second
	defaultRows    = 10_000 // rows of a statement without a limit
	maxRows        = 1_000_000
	maxBytes       = 256 << 20
	// spillLimit keeps one organisation's queries from filling the disk.
	spillLimit = "8GiB"
)

func (o *Options) setDefaults() {
	if o.news == nil {
		o.news = func(ctx context.Context, org event.OrgID, mark catalogMark) (catalogNews, catalogMark, error) {
			return readNews(ctx, o.Catalog, org, mark)
		}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Secret == nil {
		secret := make([]byte, 32)
		rand.Read(secret) // never fails: the runtime ends the process instead
		o.Secret = func(context.Context, event.OrgID) ([]byte, error) { return secret, nil }
	}
	if o.OnRollupError == nil {
		o.OnRollupError = func(event.OrgID, error) {}
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = defaultMemory
	}
	if o.Concurrency == 0 {
		// Throughput was best with two to four queries at a time: each one is
		// parallel in itself.
		o.Concurrency = min(4, max(2, runtime.GOMAXPROCS(0)))
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxRows == 0 {
		o.MaxRows = maxRows
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = maxBytes
	}
	o.Worker.setDefaults()
}

func (o *Options) validate() error {
	switch {
	case o.Source == nil, o.Catalog == nil, o.Rules == nil, o.Folders == nil:
		return errors.New("query: Source, Catalog, Rules and Folders are required")
	case o.Threads < 0, o.MemoryLimit < 0, o.Concurrency < 0, o.Timeout < 0, o.MaxRows < 0, o.MaxBytes < 0:
		return errors.New("query: negative limit")
	}
	return o.Worker.validate()
}
