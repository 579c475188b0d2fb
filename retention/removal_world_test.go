package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// estate is a server's data: everything that a removal must reach.
type estate struct {
	t      testing.TB
	dir    string
	store  blob.Store
	faults *blobtest.Faulty
	now    time.Time
	signer *Signer

	reg    *registry.Registry
	lake   *lake.Lake
	eng    *engine.Engine
	keep   *Keeper
	forgot int
	rolled []event.RecipientID // whom a rollup holds
}

func stores(t *testing.T, test func(*testing.T, blob.Store)) {
	t.Run("mem", func(t *testing.T) { test(t, blob.Mem("m")) })
	t.Run("dir", func(t *testing.T) {
		s, err := blob.Dir(t.TempDir())
		must(t, err)
		test(t, s)
	})
	t.Run("azurite", func(t *testing.T) { test(t, blobtest.Azurite(t).Store(t)) })
}

func newEstate(t testing.TB, store blob.Store) *estate {
	b := &estate{t: t, dir: t.TempDir(), store: store, faults: blobtest.NewFaulty(store), now: time.Now().UTC().Truncate(time.Second)}
	var err error
	b.signer, err = OpenSigner(filepath.Join(b.dir, "receipt.key"))
	must(t, err)
	b.open()
	t.Cleanup(b.crash)
	return b
}

func (b *estate) clock() time.Time { return b.now }

func (b *estate) open() {
	var err error
	b.reg, err = registry.Open(context.Background(), registry.Options{DSN: "sqlite://" + filepath.Join(b.dir, "registry.db"), Clock: b.clock})
	must(b.t, err)
	b.lake, err = lake.Open(context.Background(), lake.Options{
		Store: b.faults, CatalogPath: filepath.Join(b.dir, "catalog.db"), CacheDir: filepath.Join(b.dir, "cache"),
		Logger: slog.New(slog.DiscardHandler), Now: b.clock,
	})
	must(b.t, err)
	b.eng, err = engine.Open(context.Background(), engine.Options{Dir: b.dir, Registry: b.reg, Lake: b.lake})
	must(b.t, err)
	b.keep, err = New(Options{Lake: b.lake, Registry: b.reg, Now: b.clock, Removals: &Removals{
		Registry: b.reg, Store: b.faults, Shred: b.eng.Shred, DropTail: b.eng.Drop, Flush: b.eng.Flush, Dir: b.dir, Signer: b.signer,
		Forget: func(context.Context, event.OrgID) error { b.forgot++; return nil },
		Rollups: func(_ event.OrgID, wanted func(event.RecipientID) bool) (int, []string, error) {
			if slices.ContainsFunc(b.rolled, wanted) {
				return 1, []string{"kept"}, nil
			}
			return 1, nil, nil
		},
		Patience: 50 * time.Millisecond, OrphanAge: time.Nanosecond,
	}})
	must(b.t, err)
}

// crash ends everything without a flush.
func (b *estate) crash() {
	_ = b.eng.Close()
	_ = b.lake.Close()
	_ = b.reg.Close()
}

func (b *estate) org(name string) registry.Org {
	o, err := b.reg.CreateOrg(context.Background(), registry.NewOrg{Name: name})
	must(b.t, err)
	return o
}

// fill gives the organisation people, mails and three files of events, and some in
// the tail. Texts hold the name of the organisation; those of the person hold mark.
func (b *estate) fill(o registry.Org, mark string) (who registry.Person) {
	ctx := context.Background()
	who, err := b.reg.PutPerson(ctx, o.ID, registry.Person{Kind: registry.Contact, ExternalID: mark + "-ext", Name: mark + " name",
		Addresses: []string{mark + "@" + o.Name + ".example", mark + "-2@" + o.Name + ".example"}})
	must(b.t, err)
	for i := range 6 {
		in := registry.NewEmail{From: "s@" + o.Name + ".example", Subject: fmt.Sprint(o.Name, " subject ", i), Wish: true, Links: []string{"https://" + o.Name + ".example/x"}}
		if i == 0 { // for this person only
			in.Subject, in.Recipients = "for "+mark, []registry.NewRecipient{{Address: mark + "@" + o.Name + ".example", Name: mark + " name"}}
			in.Links = []string{"https://x.example/?u=" + mark + "%40" + o.Name + ".example"}
			in.Attachments = []registry.AttachmentID{b.attach(o, mark+" contract.pdf", mark+" in the file")}
		} else {
			in.Recipients = []registry.NewRecipient{{Address: fmt.Sprintf("other%d@%s.example", i, o.Name)}}
			if i%2 == 0 {
				in.Recipients = append(in.Recipients, registry.NewRecipient{Address: mark + "-2@" + o.Name + ".example"})
			}
			in.Attachments = []registry.AttachmentID{b.attach(o, fmt.Sprint(o.Name, " shared ", i), fmt.Sprint(o.Name, " shared file ", i))}
		}
		mail, err := b.reg.RegisterEmail(ctx, o.ID, in)
		must(b.t, err)
		var events []event.Interaction
		for _, to := range mail.Recipients {
			text := o.Name + "-agent"
			if strings.HasPrefix(to.Address, mark) {
				text = mark + "-agent"
			}
			for n := range 5 {
				at := event.At(b.now.Add(-time.Duration(n+1) * time.Hour))
				events = append(events, event.Interaction{Org: o.ID, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: mail.ID, Recipient: to.ID,
					Actor: event.Human, UserAgent: text, Client: text, Source: event.Pixel})
			}
		}
		must(b.t, b.eng.Append(ctx, events))
		if i%2 == 1 {
			must(b.t, b.eng.Flush(ctx, o.ID))
		}
		if i == 3 { // replaced files and old snapshots hold them too
			must(b.t, b.keep.Sweep(ctx, o.ID))
		}
	}
	must(b.t, b.reg.NoteRead(registry.WithPrincipal(ctx, registry.Principal{KeyID: 1}), registry.Read{Org: o.ID, What: "person", Person: who.ID}))
	view, err := b.eng.View(ctx, o.ID) // fills the cache
	must(b.t, err)
	view.Close()
	return who
}

func (b *estate) attach(o registry.Org, name, text string) registry.AttachmentID {
	ctx := context.Background()
	key := b.lake.Prefix(o.Name) + "attachments/" + fmt.Sprintf("%x", name+text)
	a, err := b.reg.BeginAttachment(ctx, o.ID, registry.NewAttachment{Name: name, ContentType: "text/plain", Key: key})
	must(b.t, err)
	must(b.t, b.store.Put(ctx, key, strings.NewReader(text), false))
	_, err = b.reg.FinishAttachment(ctx, o.ID, a.ID, int64(len(text)), "")
	must(b.t, err)
	return a.ID
}

// places returns where a text is found, in any byte of the data folder and of the
// store, Parquet files decoded.
func (b *estate) places(text string) (found []string) {
	b.t.Helper()
	look := func(name string, data []byte) {
		if bytes.Contains(bytes.ToLower(data), []byte(text)) || strings.HasSuffix(name, ".parquet") && inParquet(b.t, name, data, text) {
			found = append(found, name)
		}
	}
	must(b.t, filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		look(path, data)
		return err
	}))
	for info, err := range b.store.List(context.Background(), "") {
		must(b.t, err)
		look(info.Key, blobtest.Get(b.t, b.store, info.Key))
	}
	return found
}

func inParquet(t testing.TB, name string, data []byte, text string) bool {
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		buf := make([]parquet.Row, 100)
		for {
			n, err := rows.ReadRows(buf)
			for _, row := range buf[:n] {
				for _, v := range row {
					if v.Kind() == parquet.ByteArray && bytes.Contains(bytes.ToLower(v.ByteArray()), []byte(text)) {
						return true
					}
				}
			}
			if errors.Is(err, io.EOF) || n == 0 && err == nil {
				break
			}
			must(t, err)
		}
		must(t, rows.Close())
	}
	return false
}

// count returns how many events of the recipient the organisation's view has.
func (b *estate) count(org event.OrgID, wanted func(event.RecipientID) bool) (n int) {
	b.t.Helper()
	must(b.t, b.eng.Flush(context.Background(), org))
	o, _ := b.reg.Snapshot().Org(org)
	table, err := b.lake.Table(context.Background(), o.Name)
	must(b.t, err)
	for _, f := range table.Snapshot().Files() {
		r, err := b.lake.Reader(context.Background(), f, lake.NewTexts())
		must(b.t, err)
		var rows lake.Rows
		for r.Next(&rows) == nil {
			for _, id := range rows.Longs[lake.RecipientID] {
				if wanted(event.RecipientID(id)) {
					n++
				}
			}
		}
		must(b.t, r.Close())
	}
	return n
}
