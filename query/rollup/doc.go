// Package rollup keeps what is counted of an organisation's events, so that KPIs
// need not read them again.
//
//	data file ─Builder─▶ File: pairs, reports, emails of recipients ─┐
//	data file ─Builder─▶ File ───────────────────────────────────────┼─Refresh─▶ State: sums per email, facts per recipient
//	consent, age limit ──────────────────────────────────────────────┘            ▲
//	tail ─────────────────────────────────────────────────────────Add─────────────┘
//
// A Pair is what happened of one email with one recipient. Pairs of different
// events merge, so each data file has a File of its own, which is made, checked and
// removed with it. Consent takes whole purposes out of a Pair, and is applied when
// a pair is read. Events that others reported may be in several files; they are
// kept one by one and made unique when they are read.
//
// Invariant: whatever a State answers is what counting all events of its files and
// its tail anew, under its consent and age limit, would give.
package rollup
