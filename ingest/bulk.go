package ingest

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/klauspost/compress/zstd"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
	"mailwake/ingest/bulk"
)

const (
	// bulkTime bounds the upload of one request: the largest one at 1.2 MB/s.
	bulkTime = 30 * time.Second
	// bulkReaders bounds the requests that are read at once, each of which may hold
	// some 30 MB; the next one is told to come again.
	bulkReaders = 4
	// zstdWindow bounds the memory that a compressed body may ask for.
	zstdWindow = 8 << 20
)

// Bulk is what became of a request with many interactions.
type Bulk struct {
	Rows       int `json:"rows" doc:"Rows of the request."`
	Recorded   int `json:"recorded" doc:"Rows that are durable now and counted by the next query."`
	NotAllowed int `json:"not_allowed" doc:"Rows left out because their recipient does not allow them."`
}

type bulkInput struct {
	OrgPath
	ContentType     string `header:"Content-Type" doc:"application/x-ndjson or application/vnd.apache.arrow.stream."`
	ContentEncoding string `header:"Content-Encoding" doc:"gzip, zstd or absent."`
	body            io.Reader
}

// Resolve gets hold of the body before the handler runs.
func (in *bulkInput) Resolve(c huma.Context) []error {
	_ = c.SetReadDeadline(time.Now().Add(bulkTime))
	in.body = c.BodyReader()
	return nil
}

// RowAppender makes encoded events durable and visible, all or none.
type RowAppender interface {
	AppendRows(ctx context.Context, rows *event.Rows) error
}

// RegisterBulk adds the door for many interactions at once.
func RegisterBulk(api huma.API, reg *registry.Registry, engine RowAppender, reader *bulk.Reader) {
	slots := make(chan struct{}, bulkReaders)
	huma.Register(api, huma.Operation{
		OperationID: "record-interactions", Method: http.MethodPost, Path: "/v1/orgs/{org}/interactions", Tags: []string{"interactions"},
		Summary: "Record many interactions that were collected elsewhere",
		Description: "All rows are recorded or none. A row has `occurred_at` (RFC 3339, or microseconds since 1970), `kind`, `email_id` and `recipient_id`; and may have `component`, " +
			"`id` (a row with the same id is the same event, however often it is sent), `user_agent` and `ip` to be judged by (the address is not kept), or `actor`, `device`, `client`, `os` and `reason`.",
		Metadata: map[string]any{
			"roles":    []registry.Role{registry.RoleIngest},
			"problems": append([]string{"feature_disabled", "bulk_invalid", "bulk_too_large", "bulk_busy", "rows_invalid", "unsupported_media_type", "body_too_slow", "bad_request", "log_full", "shutting_down"}, changes...),
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			bulk.NDJSON: {Schema: &huma.Schema{Type: huma.TypeString}, Example: `{"occurred_at":"2026-07-01T12:00:00Z","kind":"open","email_id":1,"recipient_id":1,"user_agent":"Mozilla/5.0 …"}`},
			bulk.Arrow:  {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
	}, func(ctx context.Context, in *bulkInput) (*body[Bulk], error) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			return nil, problem.New(429, "bulk_busy", "Other requests are being read; try again in a moment.")
		}
		batch, err := readBulk(ctx, reg, reader, in)
		if err != nil {
			return nil, brokenOff(err)
		}
		if batch.Events.Len() > 0 {
			if err := engine.AppendRows(ctx, batch.Events); errors.Is(err, wal.ErrTooLarge) {
				return nil, problem.New(413, "bulk_too_large", "The rows are too long to be recorded together; send fewer at a time.").Because(err)
			} else if err != nil {
				return nil, unavailable(err)
			}
		}
		return &body[Bulk]{Bulk{Rows: batch.Rows, Recorded: batch.Events.Len(), NotAllowed: batch.NotAllowed}}, nil
	})
}

func readBulk(ctx context.Context, reg *registry.Registry, reader *bulk.Reader, in *bulkInput) (bulk.Batch, error) {
	org, err := reg.OrgByName(in.Org)
	if err != nil {
		return bulk.Batch{}, err
	}
	if org.State != registry.OrgEnabled {
		return bulk.Batch{}, problem.New(409, "feature_disabled", "Following is switched off for this organisation; nothing is recorded.")
	}
	plain, err := decompressed(in.ContentEncoding, in.body)
	if err != nil {
		return bulk.Batch{}, err
	}
	defer plain.Close()
	format, _, err := mime.ParseMediaType(in.ContentType)
	if err != nil {
		format = ""
	}
	batch, err := reader.Read(ctx, org.ID, format, plain)
	if err != nil {
		return bulk.Batch{}, err
	}
	if batch.Wrong > 0 {
		p := problem.New(422, "rows_invalid", "%d of %d rows are wrong; nothing was recorded. The first ones are listed in rows.", batch.Wrong, batch.Rows)
		p.Members = map[string]any{"rows": batch.Errors}
		return bulk.Batch{}, p
	}
	return batch, nil
}

func decompressed(encoding string, r io.Reader) (io.ReadCloser, error) {
	switch strings.ToLower(encoding) {
	case "", "identity":
		return io.NopCloser(r), nil
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, problem.New(422, "bulk_invalid", "The body is not gzip.").Because(err)
		}
		return z, nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, problem.New(422, "bulk_invalid", "The body is not zstd.").Because(err)
		}
		return z.IOReadCloser(), nil
	}
	return nil, problem.New(415, "unsupported_media_type", "Content-Encoding may be gzip or zstd.")
}
