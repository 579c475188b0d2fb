// Package retention makes data smaller, sorted and lawful with age: it merges
// flushed blobs into large sorted files, leaves out what consent and age no longer
// allow, and deletes what was replaced.
//
//	Policy (pure) ──plan──▶ Keeper ──merge──▶ lake.Receiver ──▶ Commit{Add, Remove} ──grace──▶ Collect
//	                          ▲ one leader, one task per organisation at a time
//
// Invariant: a row leaves a table only by a commit whose files hold every row that
// it removes and that neither consent, age nor erasure has struck out. Nothing is
// deleted physically that a reader may still need.
package retention

import (
	"time"

	"mailwake/engine/classify"
)

// Rules is the version of what a rewrite does to actors; files of an older one
// are rewritten.
const Rules = classify.NeighbourRules

const (
	// agentDays is how long raw user agents are kept, for judging them anew.
	agentDays = 30
	// agentSlackDays is how much longer they may stay, so that a file is rewritten
	// for their sake every few days only.
	agentSlackDays = 3
	// ageSlackDays is the same for rows past the organisation's greatest age.
	ageSlackDays = 1
	// fullBytes is the size from which a file is merged no more.
	fullBytes = 128 << 20
	// minMerge small files of a month in progress are worth a merge: each row is
	// rewritten about log(minMerge) times on its way to a full file.
	minMerge = 8
	// tinyBytes is the size below which files are merged without regard to their sizes.
	tinyBytes = 1 << 20
	// closedAfter the end of a month its files are merged however few they are:
	// late events have come by then.
	closedAfter = 36 * time.Hour
	// mergeBytes bounds the decoded rows of all inputs of one merge. With them
	// doubled by the garbage collector and one row group being written, a merge
	// stays below 512 MB.
	mergeBytes = 96 << 20
	// grace is how long a replaced blob stays readable: longer than any query may
	// take (query.Options.Timeout) and any View is held by another process.
	defaultGrace = 15 * time.Minute
	// orphanAge is older than any upload and commit can be that is still going on.
	orphanAge = 24 * time.Hour
)
