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

// maxFollowBody bounds a request to follow an email, in bytes: the HTML at its
// own limit, of which JSON may take six bytes for one, and the recipients.
const maxFollowBody = 16 << 20

// senders may follow emails and see what they have followed.
var senders = map[string]any{"roles": []registry.Role{registry.RoleSender}}

// Email is a followed email as the API shows it.
type Email struct {
	EmailID     int64     `json:"email_id"`
	From        string    `json:"from"`
	Subject     string    `json:"subject"`
	Template    string    `json:"template,omitempty"`
	FollowState string    `json:"follow_state" enum:"on,off,blocked"`
	CreatedAt   time.Time `json:"created_at"`
}

// EmailDetail is an email with its recipients and links.
type EmailDetail struct {
	Email
	Recipients []EmailRecipient `json:"recipients"`
	Links      []EmailLink      `json:"links"`
}

// EmailRecipient is one person an email went to.
type EmailRecipient struct {
	RecipientID int64  `json:"recipient_id"`
	Address     string `json:"address"`
	Name        string `json:"name,omitempty"`
	Person      string `json:"person,omitempty"`
}

// EmailLink is one followed link of an email.
type EmailLink struct {
	Component int32  `json:"component" doc:"Ordinal within the email, from 1."`
	URL       string `json:"url"`
}

func emailOf(e registry.Email) Email {
	return Email{EmailID: int64(e.ID), From: e.From, Subject: e.Subject, Template: e.Template, FollowState: string(e.Follow), CreatedAt: e.CreatedAt.Time()}
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

// RegisterEmails adds the operations on emails.
func RegisterEmails(api huma.API, reg *registry.Registry, service *follow.Service) {
	huma.Register(api, huma.Operation{
		OperationID: "follow-email", Method: http.MethodPost, Path: "/v1/orgs/{org}/emails", Metadata: senders, Tags: []string{"emails"},
		Summary:      "Make an email followed: one instrumented copy per recipient",
		MaxBodyBytes: maxFollowBody, BodyReadTimeout: readTimeout, Errors: []int{401, 403, 404, 409, 413, 422, 503},
	}, func(ctx context.Context, in *followInput) (*body[follow.Response], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		if !utf8.Valid(in.RawBody) { // the JSON decoder would replace what is not
			return nil, problem.New(422, "invalid_utf8", "The request is not valid UTF-8.")
		}
		resp, err := service.Follow(ctx, org.ID, in.Body)
		if err != nil {
			return nil, unavailable(err)
		}
		return &body[follow.Response]{resp}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-emails", Method: http.MethodGet, Path: "/v1/orgs/{org}/emails", Metadata: senders, Tags: []string{"emails"},
		Summary: "List followed emails, newest first", Errors: []int{401, 403, 404, 422},
	}, func(ctx context.Context, in *emailList) (*body[[]Email], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		emails, err := reg.Emails(ctx, org.ID, in.Limit, event.EmailID(in.Before))
		out := make([]Email, len(emails))
		for i, e := range emails {
			out[i] = emailOf(e)
		}
		return &body[[]Email]{out}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-email", Method: http.MethodGet, Path: "/v1/orgs/{org}/emails/{email}", Metadata: senders, Tags: []string{"emails"},
		Summary: "Show a followed email with its recipients and links", Errors: []int{401, 403, 404, 422},
	}, func(ctx context.Context, in *emailPath) (*body[EmailDetail], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		e, err := reg.Email(ctx, org.ID, event.EmailID(in.Email))
		if err != nil {
			return nil, err
		}
		return &body[EmailDetail]{detailOf(e)}, nil
	})
}

func detailOf(e registry.EmailDetail) EmailDetail {
	d := EmailDetail{Email: emailOf(e.Email), Recipients: []EmailRecipient{}, Links: []EmailLink{}}
	for _, r := range e.Recipients {
		d.Recipients = append(d.Recipients, EmailRecipient{int64(r.ID), r.Address, r.Name, r.Person})
	}
	for _, l := range e.Links {
		d.Links = append(d.Links, EmailLink{l.Ordinal, l.URL})
	}
	return d
}
