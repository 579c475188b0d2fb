// Package ingest is the door through which interactions come in: the public
// plane, which answers tracking pixels and links, and the private operations that
// make an email followed.
//
//	GET /o/{token}.gif ─┐
//	GET /c/{token} ─────┤
//	GET /a/{token}/… ───┴▶ token ─▶ consent ─▶ classify ─▶ Append (durable) ─▶ answer
//
// The public plane knows no database and tells a caller nothing: a pixel is the
// same for good and bad tokens, a link redirects only where its token says.
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"mailwake/engine"
	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// Appender makes events durable before it returns.
type Appender interface {
	Append(ctx context.Context, events []event.Interaction) error
}

// Recorder is an Appender that can also tell later: see engine.Engine.Post.
type Recorder interface {
	Appender
	Post(events []event.Interaction, w engine.Waiter) error
}

// Decider answers whether an interaction may be recorded, without waiting.
type Decider interface {
	Decide(org event.OrgID, recipient event.RecipientID, kind event.Kind) registry.Verdict
}

// PublicOptions configure a Public. Engine, Consent, Tokens and Classifier are
// required.
type PublicOptions struct {
	Engine     Recorder
	Consent    Decider
	Tokens     *token.Ring
	Classifier *classify.Classifier
	Files      FileSource // nil: attachments are not served
	Logger     *slog.Logger
	Clock      func() time.Time
	// Preferences are shown and changed at /p/{token}; nil: there are no such pages.
	Preferences PreferenceStore

	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// KeepNetwork stores the /24 or /48 of the client; off by default.
	KeepNetwork bool
	// MaxConns bounds the open connections; default 16,384.
	MaxConns int
}

// Public is the internet-facing plane. It is safe for concurrent use.
type Public struct {
	opts    PublicOptions
	pages   *preferencePages // nil: none
	counts  publicCounts
	refused atomic.Bool // the last recording failed
}

type publicCounts struct {
	pixels, clicks, files, preferences, invalid, recorded, notAllowed, prefetched, notRecorded atomic.Int64
}

// PublicStats is a reading of the public plane's counters since its start.
type PublicStats struct {
	Pixels      int64 // pixel requests answered
	Clicks      int64 // link requests answered
	Files       int64 // attachment requests answered
	Preferences int64 // requests for preference pages answered
	Invalid     int64 // requests with a token that is not ours
	Recorded    int64 // interactions made durable
	NotAllowed  int64 // interactions not recorded because consent or the organisation's state forbids it
	Prefetched  int64 // requests answered and not counted as interactions: HEAD and declared prefetches
	NotRecorded int64 // interactions lost because the engine refused them: log full, disk failing
}

// NewPublic returns a Public; Serve runs it.
func NewPublic(opts PublicOptions) *Public {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.MaxConns == 0 {
		opts.MaxConns = 16 << 10
	}
	p := &Public{opts: opts}
	if opts.Preferences != nil {
		p.pages = newPreferencePages(opts.Preferences, opts.Clock)
	}
	return p
}

// Stats returns the present reading.
func (p *Public) Stats() PublicStats {
	c := &p.counts
	return PublicStats{
		Pixels: c.pixels.Load(), Clicks: c.clicks.Load(), Files: c.files.Load(), Preferences: c.preferences.Load(), Invalid: c.invalid.Load(), Recorded: c.recorded.Load(),
		NotAllowed: c.notAllowed.Load(), Prefetched: c.prefetched.Load(), NotRecorded: c.notRecorded.Load(),
	}
}

// request is what the recording of an interaction needs of an HTTP request.
type request struct {
	kind       event.Kind
	source     event.Source
	claims     token.Claims
	userAgent  []byte
	remote     netip.Addr
	events     [1]event.Interaction // kept with the request so that recording allocates nothing
	prefetched bool
	answer     []byte
}

// record makes one interaction durable if it may be recorded. It never fails
// towards the recipient: what could not be recorded is counted and logged.
func (p *Public) record(r *request) {
	if p.judge(r) {
		p.settle(p.opts.Engine.Append(context.Background(), r.events[:]))
	}
}

// judge makes r.events[0] the interaction of r and reports whether it may be recorded.
func (p *Public) judge(r *request) bool {
	if r.prefetched {
		p.counts.prefetched.Add(1)
		return false
	}
	if v := p.opts.Consent.Decide(r.claims.Org, r.claims.Recipient, r.kind); !v.Allow {
		p.counts.notAllowed.Add(1)
		return false
	}
	c := p.opts.Classifier.Classify(r.kind, r.userAgent, r.remote)
	now := event.At(p.opts.Clock())
	r.events[0] = event.Interaction{
		Org: r.claims.Org, OccurredAt: now, ReceivedAt: now, Kind: r.kind,
		Email: r.claims.Email, Recipient: r.claims.Recipient, Component: r.claims.Component,
		Actor: c.Actor, Reason: c.Reason, Device: c.Device, Client: c.Client, OS: c.OS,
		Source: r.source, UserAgent: c.UserAgent,
	}
	if p.opts.KeepNetwork {
		r.events[0].Network = classify.Network(r.remote)
	}
	return true
}

// settle counts the outcome of a recording and logs the first and the last loss
// of a run of losses.
func (p *Public) settle(err error) {
	if err == nil {
		p.counts.recorded.Add(1)
		if p.refused.Load() && p.refused.CompareAndSwap(true, false) {
			p.opts.Logger.Info("interactions are recorded again")
		}
		return
	}
	p.counts.notRecorded.Add(1)
	if !errors.Is(err, context.Canceled) && p.refused.CompareAndSwap(false, true) {
		p.opts.Logger.Error("interactions are answered but not recorded", "error", err)
	}
}
