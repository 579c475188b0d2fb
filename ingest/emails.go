package ingest

import (
	"context"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/follow"
)

// maxFollowBody bounds a request to follow an email, in bytes: a whole mail at its
// own limit in base64, or the HTML at its own, of which JSON may take six bytes
// for one, and the recipients.
const maxFollowBody = 40 << 20

// Email is a followed email as the API shows it.
type Email struct {
	EmailID     int64      `json:"email_id"`
	From        string     `json:"from"`
	Subject     string     `json:"subject"`
	Template    string     `json:"template,omitempty"`
	Wished      bool       `json:"followemailuserpreference" doc:"Whether the sender wanted it followed."`
	Followed    bool       `json:"isemailfollowed" doc:"Whether it is: follow_state is on."`
	FollowState string     `json:"follow_state" enum:"on,off,blocked"`
	Reasons     []string   `json:"reasons" doc:"Why it is not followed, or whose copies are plain."`
	SentAt      *time.Time `json:"sent_at,omitempty" doc:"When copies were handed out; absent: never, so that it can be retried."`
	CreatedAt   time.Time  `json:"created_at"`
}

// EmailDetail is an email with its recipients, links and attachments.
type EmailDetail struct {
	Email
	Recipients  []EmailRecipient `json:"recipients"`
	Blockers    []follow.Blocker `json:"blockers" doc:"View Preferences: the recipients who may not be followed at all, and why."`
	Links       []EmailLink      `json:"links"`
	Attachments []EmailFile      `json:"attachments"`
}

// EmailRecipient is one person an email went to.
type EmailRecipient struct {
	RecipientID int64  `json:"recipient_id"`
	Address     string `json:"address"`
	Name        string `json:"name,omitempty"`
	Person      string `json:"person,omitempty"`

	Purposes []string `json:"purposes" doc:"What may be collected of this copy: open, click, attachment, reply."`
	Blocks   bool     `json:"blocks" doc:"May not be followed at all."`
	Reasons  []string `json:"reasons" doc:"What stands against the purposes that are missing."`
}

// EmailFile is an attachment of an email.
type EmailFile struct {
	Component int32 `json:"component" doc:"Ordinal within the email, from 1."`
	Followed  bool  `json:"followed" doc:"Views are collected of those who allow it."`
	Attachment
}

// EmailLink is one followed link of an email.
type EmailLink struct {
	Component int32  `json:"component" doc:"Ordinal within the email, from 1."`
	URL       string `json:"url"`
}

func emailOf(e registry.Email) Email {
	return Email{
		EmailID: int64(e.ID), From: e.From, Subject: e.Subject, Template: e.Template, Wished: e.Wished, Followed: e.Follow == registry.FollowOn,
		FollowState: string(e.Follow), Reasons: append([]string{}, e.Reasons...), SentAt: timeOf(e.SentAt), CreatedAt: e.CreatedAt.Time(),
	}
}

type emailPath struct {
	OrgPath
	Email int64 `path:"email" minimum:"1" doc:"Number of the email."`
}

type emailList struct {
	OrgPath
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Emails at most."`
	Before int64 `query:"before" minimum:"0" doc:"Only emails with a lower number: the last one of the page before."`
}

type followInput struct {
	OrgPath
	RawBody []byte
	Body    follow.Request
}

type messageInput struct {
	OrgPath
	To         []string `query:"to,explode" maxItems:"1000" doc:"Recipients' addresses, instead of those in the message's header."`
	Follow     string   `query:"follow" enum:"required,if_allowed,no" default:"required"`
	Template   string   `query:"template" maxLength:"256" doc:"Name of the template the email was made from."`
	Pixel      string   `query:"pixel" enum:"top,bottom" doc:"Place of the pixel."`
	Attachment []int64  `query:"attachment,explode" maxItems:"100" doc:"Numbers of uploaded files to go with it."`
	Retry      int64    `query:"retry" minimum:"0" doc:"Number of a blocked email that was never sent: this one takes its place."`
	RawBody    []byte   `contentType:"message/rfc822"`
}

func (in *messageInput) request() follow.Request {
	req := follow.Request{MIME: in.RawBody, Follow: in.Follow, Template: in.Template, Pixel: in.Pixel, Retry: in.Retry}
	if req.MIME == nil {
		req.MIME = []byte{}
	}
	for _, to := range in.To {
		req.To = append(req.To, follow.Recipient{Address: to})
	}
	for _, id := range in.Attachment {
		req.Attachments = append(req.Attachments, follow.FileRef{ID: id})
	}
	return req
}

// followProblems are what following an email may answer.
var followProblems = append([]string{
	"follow_invalid", "follow_blocked", "pixel_invalid", "output_invalid", "mime_invalid", "html_too_large", "text_too_large", "output_too_large",
	"message_too_large", "message_invalid", "message_too_complex", "sender_invalid", "subject_invalid", "template_invalid", "reason_invalid",
	"list_unsubscribe_invalid", "recipients_missing", "recipients_invalid", "recipient_invalid", "recipient_duplicate", "too_many_recipients",
	"too_many_links", "link_invalid", "too_many_attachments", "attachment_duplicate", "attachment_unknown", "invalid_utf8",
	"feature_disabled", "email_not_found", "email_not_blocked", "addresses_exhausted", "log_full", "shutting_down", "storage_unavailable",
}, changes...)

func sendersWith(problems ...string) map[string]any {
	return map[string]any{"roles": []registry.Role{registry.RoleSender}, "problems": problems}
}

// RegisterEmails adds the operations on emails.
func RegisterEmails(api huma.API, reg *registry.Registry, service *follow.Service) {
	tags := []string{"emails"}
	answer := func(ctx context.Context, name string, req follow.Request) (*body[follow.Response], error) {
		org, err := reg.OrgByName(name)
		if err != nil {
			return nil, err
		}
		resp, err := service.Follow(ctx, org.ID, req)
		if err != nil {
			return nil, unavailable(err)
		}
		return &body[follow.Response]{resp}, nil
	}
	huma.Register(api, huma.Operation{
		OperationID: "follow-email", Method: http.MethodPost, Path: "/v1/orgs/{org}/emails", Metadata: sendersWith(followProblems...), Tags: tags,
		Summary:      "Make an email followed: one instrumented copy per recipient",
		MaxBodyBytes: maxFollowBody, BodyReadTimeout: uploadTime,
	}, func(ctx context.Context, in *followInput) (*body[follow.Response], error) {
		if !utf8.Valid(in.RawBody) { // the JSON decoder would replace what is not
			return nil, problem.New(422, "invalid_utf8", "The request is not valid UTF-8.")
		}
		return answer(ctx, in.Org, in.Body)
	})
	huma.Register(api, huma.Operation{
		OperationID: "follow-message", Method: http.MethodPost, Path: "/v1/orgs/{org}/emails:mime", Metadata: sendersWith(followProblems...), Tags: tags,
		Summary:      "Make a whole mail (RFC 5322) followed: one instrumented mail per recipient",
		MaxBodyBytes: follow.MaxMessage + 1, BodyReadTimeout: uploadTime,
	}, func(ctx context.Context, in *messageInput) (*body[follow.Response], error) {
		return answer(ctx, in.Org, in.request())
	})
	registerEmailReads(api, reg, tags)
}

// registerEmailReads adds the operations that show emails.
func registerEmailReads(api huma.API, reg *registry.Registry, tags []string) {
	huma.Register(api, huma.Operation{
		OperationID: "list-emails", Method: http.MethodGet, Path: "/v1/orgs/{org}/emails", Metadata: sendersWith(append([]string{"feature_disabled"}, changes...)...), Tags: tags,
		Summary: "List emails, newest first",
	}, func(ctx context.Context, in *emailList) (*body[[]Email], error) {
		org, err := readable(reg, in.Org)
		if err != nil {
			return nil, err
		}
		emails, err := reg.Emails(ctx, org.ID, in.Limit, event.EmailID(in.Before))
		if err != nil {
			return nil, err
		}
		out := make([]Email, len(emails))
		for i, e := range emails {
			out[i] = emailOf(e)
		}
		// Subjects may name persons.
		return &body[[]Email]{out}, reg.NoteRead(ctx, registry.Read{Org: org.ID, What: "emails"})
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-email", Method: http.MethodGet, Path: "/v1/orgs/{org}/emails/{email}", Metadata: sendersWith(append([]string{"feature_disabled", "email_not_found"}, changes...)...), Tags: tags,
		Summary: "Show an email with its recipients, who of them blocks it and why, its links and attachments",
	}, func(ctx context.Context, in *emailPath) (*body[EmailDetail], error) {
		org, err := readable(reg, in.Org)
		if err != nil {
			return nil, err
		}
		e, err := reg.Email(ctx, org.ID, event.EmailID(in.Email))
		if err != nil {
			return nil, err
		}
		if err := reg.NoteRead(ctx, registry.Read{Org: org.ID, What: "email", Email: e.ID}); err != nil {
			return nil, err
		}
		return &body[EmailDetail]{detailOf(e)}, nil
	})
}

func detailOf(e registry.EmailDetail) EmailDetail {
	d := EmailDetail{
		Email: emailOf(e.Email), Recipients: []EmailRecipient{}, Blockers: []follow.Blocker{}, Links: []EmailLink{}, Attachments: []EmailFile{},
	}
	for _, r := range e.Recipients {
		d.Recipients = append(d.Recipients, EmailRecipient{
			RecipientID: int64(r.ID), Address: r.Address, Name: r.Name, Person: r.Person,
			Purposes: append([]string{}, r.Purposes.Names()...), Blocks: r.Blocks, Reasons: append([]string{}, r.Reasons...),
		})
	}
	for _, r := range e.Blockers() {
		d.Blockers = append(d.Blockers, follow.Blocker{RecipientID: int64(r.ID), Address: r.Address, Person: r.Person, Reasons: r.Reasons})
	}
	for _, l := range e.Links {
		d.Links = append(d.Links, EmailLink{l.Ordinal, l.URL})
	}
	for _, a := range e.Attachments {
		d.Attachments = append(d.Attachments, EmailFile{a.Ordinal, a.Followed, attachmentOf(a.Attachment)})
	}
	return d
}
