package retention

import (
	"cmp"
	"slices"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// Reasons for which a file is rewritten or removed.
const (
	WhySmall   = "small_files"   // merged with others of its month
	WhyRules   = "newer_rules"   // actors are judged anew
	WhyAgents  = "user_agents"   // holds raw user agents past their time
	WhyAge     = "max_age"       // holds rows past the organisation's greatest age
	WhyRefused = "refused"       // holds rows of recipients who refuse, past the policy's grace
	WhyErased  = "erased_person" // holds rows of a person who is being erased

	WhyReplaced   = "replaced"   // blobs that a rewrite took out of the table
	WhyTerminated = "terminated" // everything of an organisation whose subscription has ended
)

// Policy is what an organisation wants kept, and what its recipients refuse, at
// one moment. Its methods are pure.
type Policy struct {
	registry.Policy
	Refusals []registry.Refusal
	Erased   []event.RecipientID // every row of theirs goes, whatever its kind

	MinMerge  int   // small files worth a merge; default 8
	FullBytes int64 // size from which a file is merged no more; default 128 MiB
}

// Rewrite is a set of files of one month to be replaced by one merge of them.
type Rewrite struct {
	Month int // months since January 1970, UTC
	Files []lake.File
	Why   []string
}

// Rows is the number of rows to be read.
func (r *Rewrite) Rows() (n int64) {
	for _, f := range r.Files {
		n += f.Rows
	}
	return n
}

// Bytes is the size of the files.
func (r *Rewrite) Bytes() (n int64) {
	for _, f := range r.Files {
		n += f.Bytes
	}
	return n
}

func days(n int) event.Micros { return event.Micros(n) * 24 * 60 * 60 * 1_000_000 }

// oldest is the time before which rows are past the greatest age; no row is when
// there is no limit.
func (p *Policy) oldest(now time.Time) (before event.Micros, limited bool) {
	if p.MaxAgeDays <= 0 {
		return 0, false
	}
	return event.At(now) - days(p.MaxAgeDays), true
}

// Expired returns the files whose rows are all past the greatest age.
func (p *Policy) Expired(files []lake.File, now time.Time) (gone []lake.File) {
	before, limited := p.oldest(now)
	for _, f := range files {
		if limited && f.MaxTime < before {
			gone = append(gone, f)
		}
	}
	return gone
}

// due returns why f must be rewritten, judging by what the table says about it.
func (p *Policy) due(f *lake.File, now time.Time) (why []string) {
	if f.Rules != 0 && f.Rules < Rules {
		why = append(why, WhyRules)
	}
	if f.Agents != 0 && f.Agents < event.At(now)-days(agentDays+agentSlackDays) {
		why = append(why, WhyAgents)
	}
	if before, limited := p.oldest(now); limited && f.MinTime < before-days(ageSlackDays) {
		why = append(why, WhyAge)
	}
	return why
}

// Rewrites plans the merges and rewrites that are due. refused names the files
// known to hold rows that consent or erasure strikes out.
func (p *Policy) Rewrites(files []lake.File, refused map[string]string, now time.Time) (plan []Rewrite) {
	months := map[int][]lake.File{}
	gone := p.Expired(files, now)
	for _, f := range files {
		if !slices.ContainsFunc(gone, func(g lake.File) bool { return g.Path == f.Path }) {
			months[f.MinTime.Month()] = append(months[f.MinTime.Month()], f)
		}
	}
	for month, list := range months {
		plan = append(plan, p.month(month, list, refused, now)...)
	}
	slices.SortFunc(plan, func(a, b Rewrite) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Files[0].Path, b.Files[0].Path))
	})
	return plan
}

// month plans one month: merges of small files first, then what else is due, file
// by file.
func (p *Policy) month(month int, files []lake.File, refused map[string]string, now time.Time) (plan []Rewrite) {
	reasons := func(f *lake.File) []string {
		why := p.due(f, now)
		if reason, ok := refused[f.Path]; ok {
			why = append(why, reason)
		}
		return why
	}
	var small []lake.File
	for _, f := range files {
		if f.Bytes < cmp.Or(p.FullBytes, fullBytes) {
			small = append(small, f)
		} else if why := reasons(&f); len(why) > 0 {
			plan = append(plan, Rewrite{month, []lake.File{f}, why})
		}
	}
	slices.SortFunc(small, func(a, b lake.File) int { return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), cmp.Compare(a.Path, b.Path)) })
	closed := now.After(endOf(month).Add(closedAfter))
	for len(small) > 0 {
		group := tier(small, closed)
		small = small[len(group):]
		why := []string(nil)
		for i := range group {
			for _, reason := range reasons(&group[i]) {
				if !slices.Contains(why, reason) {
					why = append(why, reason)
				}
			}
		}
		if len(group) >= cmp.Or(p.MinMerge, minMerge) || closed && len(group) > 1 {
			why = append([]string{WhySmall}, why...)
		} else if closed && group[0].Rules == 0 && len(why) == 0 {
			why = []string{WhyRules} // alone, and never judged with its neighbours
		}
		switch {
		case len(why) == 0:
		case why[0] == WhySmall:
			plan = append(plan, Rewrite{month, group, why})
		default:
			for _, f := range group {
				if own := reasons(&f); len(own) > 0 || why[0] == WhyRules {
					plan = append(plan, Rewrite{month, []lake.File{f}, orElse(own, why)})
				}
			}
		}
	}
	return plan
}

func orElse(own, why []string) []string {
	if len(own) > 0 {
		return own
	}
	return why
}

// tier takes the files, smallest first, that are merged together: as many as a
// merge can hold in memory, and, while the month goes on, so many that the largest is
// no larger than all the others together: a row is then in a file of twice the size
// after each rewrite.
func tier(files []lake.File, closed bool) []lake.File {
	var memory, bytes int64
	n := 1
	for i, f := range files {
		memory += min(f.Rows, lake.RowGroupRows) * lake.RowBytes
		if memory > mergeBytes && i > 1 {
			break
		}
		if closed || f.Bytes <= max(bytes, tinyBytes) {
			n = i + 1
		}
		bytes += f.Bytes
	}
	return files[:n]
}

// endOf is the first moment after the month.
func endOf(month int) time.Time { return time.Date(1970, time.Month(month+2), 1, 0, 0, 0, 0, time.UTC) }

// striking returns the refusals whose rows go now.
func (p *Policy) striking(now time.Time) (due []registry.Refusal) {
	wait := days(p.HideDays)
	if p.OnWithdrawal == registry.WithdrawalPurges {
		wait = 0
	}
	for _, r := range p.Refusals {
		if r.Since+wait <= event.At(now) {
			due = append(due, r)
		}
	}
	return due
}
