package main

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mailwake/engine"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest"
	"mailwake/ingest/bulk"
	"mailwake/ingest/follow"
	"mailwake/query"
	"mailwake/retention"
)

// tempDir is the folder of what does not outlive its process.
func tempDir(data string) string { return filepath.Join(data, "tmp") }

// openQuery puts the query layer on top of the engine's views.
func (s *server) openQuery(n *node, eng *engine.Engine) (*query.DB, error) {
	worker, err := s.sql.options(s.logger)
	if err != nil {
		return nil, err
	}
	return query.Open(query.Options{
		Source:  query.SourceFunc(func(ctx context.Context, org event.OrgID) (query.View, error) { return eng.View(ctx, org) }),
		Catalog: n.registry,
		Rules:   rulesOf(n.registry),
		Folders: func(org event.OrgID) ([]string, error) {
			o, ok := n.registry.Snapshot().Org(org)
			if !ok {
				return nil, engine.ErrUnknownOrg
			}
			folder, err := n.lake.Folder(o.Name)
			return []string{folder}, err
		},
		Secret: func(ctx context.Context, org event.OrgID) ([]byte, error) {
			return n.registry.SecretFor(ctx, org, "figures")
		},
		TempDir:   tempDir(s.store.Data),
		RollupDir: filepath.Join(s.store.Data, "rollups"),
		OnRollupError: func(org event.OrgID, err error) {
			s.logger.Warn("a KPI reads all events, since its rollups cannot be used", "org", org, "error", err)
		},
		MemoryLimit: s.store.QueryMB << 20,
		Worker:      worker,
	})
}

// attachments are the files that go with emails, beside each organisation's table.
func (n *node) attachments() *ingest.Attachments {
	return &ingest.Attachments{
		Registry: n.registry, Store: n.store, TempDir: tempDir(n.flags.Data),
		Prefix: func(org string) string { return n.lake.Prefix(org) + "attachments/" },
	}
}

// sweepEvery is the pause between looks for attachments that nobody sent, which
// are a month old when they go.
const sweepEvery = 24 * time.Hour

// sweepAttachments removes abandoned attachments until ctx ends.
func (s *server) sweepAttachments(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		n, err := s.stack.node.attachments().Sweep(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.logger.Warn("abandoned attachments are left for the next time", "error", err)
		case n > 0:
			s.logger.Info("abandoned attachments removed", "count", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// handler is the whole private plane.
func (s *server) handler(at addresses) (http.Handler, error) {
	st := &s.stack
	mux := health(s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics(st), promhttp.HandlerOpts{}))
	register(newAPI(mux, st.node.registry, s.logger), st, at)
	return answerProblems(mux, s.ready), nil
}

// register adds every operation of the private plane. Registering calls nothing of
// the stack, so that the API's document can be had without a server.
func register(api huma.API, st *stack, at addresses) {
	ingest.RegisterOrgs(api, st.node.registry, st.engine)
	ingest.RegisterAudit(api, st.node.registry)
	ingest.RegisterKeys(api, st.node.registry)
	ingest.RegisterPeople(api, st.node.registry)
	ingest.RegisterConsent(api, st.node.registry)
	ingest.RegisterEmails(api, st.node.registry, &follow.Service{
		Registry: st.node.registry, Engine: st.engine, Tokens: st.tokens, BaseURL: at.Public, Files: st.node.store,
	})
	ingest.RegisterAttachments(api, st.node.attachments())
	ingest.RegisterBulk(api, st.node.registry, st.engine, &bulk.Reader{Consent: st.node.registry, Classifier: st.judge, LastIDs: st.node.registry.LastIDs})
	ingest.RegisterReplies(api, st.node.registry, st.replies)
	orgID := func(name string) (event.OrgID, error) {
		o, err := st.node.registry.OrgByName(name)
		return o.ID, err
	}
	retention.Register(api, st.keeper, orgID)
	retention.RegisterRemovals(api, st.keeper, orgID)
	query.Register(api, query.HTTPOptions{DB: st.query, Org: func(_ context.Context, name string) (event.OrgID, error) {
		o, err := st.node.registry.OrgByName(name)
		return o.ID, err
	}, Persons: func(ctx context.Context, org event.OrgID) bool {
		return registry.PrincipalOf(ctx).May(registry.RoleAnalyst, org)
	}, NoteRead: st.node.registry.NoteRead})
}
