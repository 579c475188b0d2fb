// Package rollup keeps what is counted of an organisation's events, so that KPIs
// need not read them again.
//
//	data file ─Builder─▶ File: events by email and recipient, emails of recipients ─┐
//	data file ─Builder─▶ File ──────────────────────────────────────────────────────┼─Refresh─▶ State: sums per email, facts per recipient
//	consent, age limit ─────────────────────────────────────────────────────────────┘            ▲       └─▶ Tally: groups with numbers
//	tail ─────────────────────────────────────────────────────────────────────Add────────────────┘
//
// A Fact is an event without its email and recipient: when, and of what Shape. Each
// data file has a File of its own, which is made, checked and removed with it.
// Consent and age limit are applied when facts are read. Events that others reported
// may be in several files; they are made unique when they are read. A digest per
// email tells files that only merge others from files that change something. A Pair counts
// the facts of one email with one recipient, Sums add up pairs, and a Tally counts
// pairs by whatever a KPI groups by.
//
// Invariant: whatever a State answers is what counting all events of its files and
// its tail anew, under its consent and age limit, would give.
package rollup
