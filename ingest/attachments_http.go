package ingest

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// uploadTime bounds how long a body may take: 25 MB at 1 Mbit/s and some.
const uploadTime = 5 * time.Minute

// Attachment is an uploaded file as the API shows it.
type Attachment struct {
	ID          int64     `json:"id"`
	Name        string    `json:"name"`
	ContentType string    `json:"content_type"`
	Size        int64     `json:"size" doc:"Bytes."`
	SHA256      string    `json:"sha256"`
	Follow      bool      `json:"follow" doc:"Views are to be collected."`
	Sent        bool      `json:"sent" doc:"An email with it was sent: it cannot be changed or removed any more."`
	CreatedAt   time.Time `json:"created_at"`
}

func attachmentOf(a registry.Attachment) Attachment {
	return Attachment{
		ID: int64(a.ID), Name: a.Name, ContentType: a.ContentType, Size: a.Size, SHA256: a.SHA256, Follow: a.Follow, Sent: a.Sent, CreatedAt: a.CreatedAt.Time(),
	}
}

// uploadInput takes the body as a stream: huma would read it into memory.
type uploadInput struct {
	OrgPath
	Name   string `query:"name" required:"true" minLength:"1" maxLength:"255" doc:"Name of the file, without folders."`
	Follow bool   `query:"follow" default:"true" doc:"Whether views are to be collected."`

	contentType string
	content     io.Reader
}

// Resolve implements huma.Resolver.
func (in *uploadInput) Resolve(c huma.Context) []error {
	_ = c.SetReadDeadline(time.Now().Add(uploadTime))
	in.contentType, in.content = c.Header("Content-Type"), c.BodyReader()
	return nil
}

// AttachmentPath is the attachment in a path, exported as OrgPath is.
type AttachmentPath struct {
	OrgPath
	ID int64 `path:"attachment" minimum:"1" doc:"Number of the attachment."`
}

type attachmentList struct {
	OrgPath
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Attachments at most."`
	Before int64 `query:"before" minimum:"0" doc:"Only attachments with a lower number: the last one of the page before."`
}

type attachmentPatch struct {
	AttachmentPath
	Body struct {
		Follow bool `json:"follow" doc:"Whether views are to be collected."`
	}
}

// RegisterAttachments adds the operations on attachments.
func RegisterAttachments(api huma.API, files *Attachments) {
	reg, tags := files.Registry, []string{"attachments"}
	huma.Register(api, huma.Operation{
		OperationID: "upload-attachment", Method: http.MethodPost, Path: "/v1/orgs/{org}/attachments", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Upload a file to go with emails; its Content-Type is that of the request",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
		Metadata: sendersWith(append([]string{"attachment_name_invalid", "content_type_invalid", "attachment_too_large", "attachment_empty",
			"upload_failed", "storage_unavailable", "feature_disabled"}, changes...)...),
	}, func(ctx context.Context, in *uploadInput) (*body[Attachment], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		a, err := files.Upload(ctx, org, in.Name, in.contentType, in.Follow, in.content)
		return &body[Attachment]{attachmentOf(a)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-attachments", Method: http.MethodGet, Path: "/v1/orgs/{org}/attachments", Metadata: sendersWith("feature_disabled"), Tags: tags,
		Summary: "List uploaded files, newest first",
	}, func(ctx context.Context, in *attachmentList) (*body[[]Attachment], error) {
		org, err := readable(reg, in.Org)
		if err != nil {
			return nil, err
		}
		list, err := reg.Attachments(ctx, org.ID, in.Limit, registry.AttachmentID(in.Before))
		out := make([]Attachment, len(list))
		for i, a := range list {
			out[i] = attachmentOf(a)
		}
		return &body[[]Attachment]{out}, err
	})
	registerAttachment(api, files, tags)
}

// registerAttachment adds the operations on one attachment.
func registerAttachment(api huma.API, files *Attachments, tags []string) {
	reg, path := files.Registry, "/v1/orgs/{org}/attachments/{attachment}"
	one := func(in *AttachmentPath) (event.OrgID, registry.AttachmentID, error) {
		org, err := reg.OrgByName(in.Org)
		return org.ID, registry.AttachmentID(in.ID), err
	}
	huma.Register(api, huma.Operation{
		OperationID: "get-attachment", Method: http.MethodGet, Path: path, Metadata: sendersWith("feature_disabled", "attachment_not_found"), Tags: tags,
		Summary: "Show an uploaded file's record",
	}, func(ctx context.Context, in *AttachmentPath) (*body[Attachment], error) {
		org, err := readable(reg, in.Org)
		if err != nil {
			return nil, err
		}
		a, err := reg.Attachment(ctx, org.ID, registry.AttachmentID(in.ID))
		return &body[Attachment]{attachmentOf(a)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "follow-attachment", Method: http.MethodPatch, Path: path, Tags: tags,
		Summary:  "Follow or unfollow a file, until an email with it was sent",
		Metadata: sendersWith(append([]string{"attachment_not_found", "attachment_sent"}, changes...)...),
	}, func(ctx context.Context, in *attachmentPatch) (*body[Attachment], error) {
		org, id, err := one(&in.AttachmentPath)
		if err != nil {
			return nil, err
		}
		a, err := reg.FollowAttachment(ctx, org, id, in.Body.Follow)
		return &body[Attachment]{attachmentOf(a)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "remove-attachment", Method: http.MethodDelete, Path: path, Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary:  "Remove a file and its bytes, until an email with it was sent",
		Metadata: sendersWith(append([]string{"attachment_not_found", "attachment_sent", "storage_unavailable"}, changes...)...),
	}, func(ctx context.Context, in *AttachmentPath) (*struct{}, error) {
		org, id, err := one(in)
		if err != nil {
			return nil, err
		}
		return nil, files.Remove(ctx, org, id)
	})
}
