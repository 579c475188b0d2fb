package ingest

import (
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Imported is the answer to an import.
type Imported struct {
	Lines   int        `json:"lines" doc:"With a preference."`
	Changes int        `json:"changes" doc:"Entries added to the ledger: a line that sets different states has several. What others set meanwhile follows as further entries."`
	Ledger  LedgerHead `json:"ledger"`
}

type importInput struct {
	OrgPath
	ContentType string `header:"Content-Type" doc:"text/csv or application/x-ndjson."`
	Source      string `query:"source" default:"import" minLength:"1" maxLength:"100" doc:"Where the preferences were given."`
	FormVersion string `query:"form_version" maxLength:"100"`
	Text        string `query:"text" maxLength:"16384" doc:"Exactly what was shown."`
	Locale      string `query:"locale" maxLength:"35" doc:"Of the text."`
	Evidence    string `query:"evidence" maxLength:"1000" doc:"Of lines without their own."`
	DryRun      bool   `query:"dry_run" doc:"Only check: nothing is imported."`

	body io.Reader
}

// Resolve takes the body as a stream.
func (in *importInput) Resolve(ctx huma.Context) []error {
	in.body = &bodyReader{r: ctx.BodyReader(), left: maxImport}
	return nil
}

// bodyReader reads a body up to its limit; its errors are problems.
type bodyReader struct {
	r    io.Reader
	left int64
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, problem.New(413, "body_too_large", "An import has at most %d bytes; split it.", maxImport)
	}
	if err != nil && err != io.EOF {
		if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
			return n, problem.New(408, "body_too_slow", "The body did not arrive in time.").Because(err)
		}
		return n, problem.New(400, "bad_request", "The body ends before it is complete.").Because(err)
	}
	return n, err
}

// lineFormats read an import by its media type.
var lineFormats = map[string]func(io.Reader) (*importFile, error){
	"text/csv": parseCSV, "application/x-ndjson": parseNDJSON, "application/ndjson": parseNDJSON,
}

// registerTransfer adds import and export of preferences.
func registerTransfer(api huma.API, reg *registry.Registry) {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	huma.Register(api, huma.Operation{
		OperationID: "import-consent", Method: http.MethodPost, Path: "/v1/orgs/{org}/consent/import", Tags: consentTags,
		Summary: "Record many preferences from a file: all of them or none",
		Description: "One line a subject; the columns of CSV and the fields of NDJSON are those of a preference: kind and external_id, or address, or recipient_id; " +
			"follow, or open, click, attachment, reply; evidence. The body is read as it arrives, up to 16 MiB. Every faulty line is found: the problem counts them and lists the first 100.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"text/csv": text, "application/x-ndjson": text}},
		Metadata: map[string]any{"problems": append([]string{
			"import_invalid", "proof_invalid", "too_many_changes", "addresses_exhausted"}, changes...)},
	}, func(ctx context.Context, in *importInput) (*body[Imported], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		media, _, _ := mime.ParseMediaType(in.ContentType)
		parse, ok := lineFormats[media]
		if !ok {
			return nil, problem.New(415, "unsupported_media_type", "Send text/csv or application/x-ndjson.")
		}
		// What somebody refuses while the file is read is newer than the file.
		place, err := reg.TakePlace(ctx, org.ID)
		if err != nil {
			return nil, err
		}
		defer place.Leave()
		f, err := parse(in.body)
		if err != nil {
			return nil, err
		}
		return in.store(ctx, reg, org, place, f)
	})
	registerExport(api, reg)
}

// store records what was read, unless a line is faulty.
func (in *importInput) store(ctx context.Context, reg *registry.Registry, org registry.Org, place *registry.Place, f *importFile) (*body[Imported], error) {
	last := 0
	f.keep += maxFaults // the registry's may be of earlier lines than those of the reading
	err := reg.CheckPreferences(ctx, org.ID, f.changes, func(wrong *registry.ChangeError) {
		if line := f.at[wrong.Index]; line != last { // one line may be several changes
			p := problem.Of(wrong)
			f.fault(line, fault{fieldOf(p.Code), p.Code, p.Detail})
			last = line
		}
	})
	if err != nil {
		return nil, err
	}
	if err := f.refusal(); err != nil {
		return nil, err
	}
	if !in.DryRun {
		by := actor(ctx)
		by.Kind = registry.ActorImport
		proof := Proof{Source: in.Source, FormVersion: in.FormVersion, Text: in.Text, Locale: in.Locale, Evidence: in.Evidence}
		if err := place.SetPreferences(ctx, f.changes, proof.proof(by)); err != nil {
			return nil, err
		}
	}
	head, err := reg.LedgerHead(ctx, org.ID)
	return &body[Imported]{Imported{f.lines, len(f.changes), headOf(head)}}, err
}

// fieldOf names the field that the registry's problems with a preference are about.
func fieldOf(code string) string {
	switch code {
	case "person_not_found":
		return "external_id"
	case "recipient_not_found":
		return "recipient_id"
	case "address_invalid":
		return "address"
	}
	return "evidence" // what else the registry refuses of a line that was read
}
