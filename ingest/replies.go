package ingest

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
	"mailwake/ingest/reply"
)

// replyTime bounds how long the upload of one message may take: the largest one
// at 1.2 MB/s.
const replyTime = 55 * time.Second

// Reply is what became of a message.
type Reply struct {
	Outcome     string `json:"outcome" enum:"recorded,duplicate,auto_reply,not_attributed,not_allowed" doc:"recorded: a reply. duplicate: recorded before. auto_reply: a machine's, recorded as such and counted nowhere as a reply. not_attributed: it answers nothing that is followed. not_allowed: consent forbids it. None of them needs to be sent again."`
	MatchedBy   string `json:"matched_by,omitempty" enum:"in_reply_to,references,plus_address,subject" doc:"How it was attributed."`
	EmailID     int64  `json:"email_id,omitempty" doc:"The email it answers."`
	RecipientID int64  `json:"recipient_id,omitempty" doc:"The recipient whose reply it is."`
	Reason      string `json:"reason,omitempty" doc:"Why it is a machine's, or other_address: its author is not an address that the email went to."`
}

// replyInput takes the body as a stream: nothing but its header is ever held.
type replyInput struct {
	OrgPath
	ContentType string `header:"Content-Type" doc:"message/rfc822, application/octet-stream or absent."`
	body        io.Reader
}

// Resolve gets hold of the body before the handler runs.
func (in *replyInput) Resolve(c huma.Context) []error {
	_ = c.SetReadDeadline(time.Now().Add(replyTime))
	in.body = c.BodyReader()
	return nil
}

// ReplyRefused reports whether the engine's error means that it took nothing; see
// reply.Service.
func ReplyRefused(err error) bool {
	return errors.Is(err, wal.ErrFull) || errors.Is(err, wal.ErrClosed)
}

// RegisterReplies adds the door for raw messages.
func RegisterReplies(api huma.API, reg *registry.Registry, service *reply.Service) {
	huma.Register(api, huma.Operation{
		OperationID: "deliver-reply", Method: http.MethodPost, Path: "/v1/orgs/{org}/replies", Tags: []string{"replies"},
		Summary:     "Deliver a raw message that may answer a followed email",
		Description: "The message is attributed by In-Reply-To, References, a plus-address it went to, or, where the organisation's policy says so, by subject and author. Only a keyed hash of its Message-ID is kept. It is safe to deliver a message again.",
		Metadata: map[string]any{
			"roles":    []registry.Role{registry.RoleIngest},
			"problems": append([]string{"org_not_found", "unsupported_media_type", "message_invalid", "message_too_large", "header_too_large", "body_too_slow", "bad_request", "log_full", "shutting_down"}, changes...),
		},
		RequestBody: &huma.RequestBody{Required: true, Description: "The message as RFC 5322 has it.", Content: map[string]*huma.MediaType{
			"message/rfc822": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
	}, func(ctx context.Context, in *replyInput) (*body[Reply], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		if !isMessage(in.ContentType) {
			return nil, problem.New(415, "unsupported_media_type", "Send the raw message with Content-Type: message/rfc822.")
		}
		m, err := reply.Read(in.body, nil, false)
		if err != nil {
			return nil, brokenOff(err)
		}
		result, err := service.Deliver(ctx, org.ID, m, event.API)
		if err != nil {
			return nil, unavailable(err)
		}
		return &body[Reply]{Reply{
			Outcome: string(result.Outcome), MatchedBy: string(result.Match), EmailID: int64(result.Email), RecipientID: int64(result.Recipient), Reason: result.Reason,
		}}, nil
	})
}

func isMessage(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || err == nil && slices.Contains([]string{"message/rfc822", "message/global", "application/octet-stream"}, kind)
}

// brokenOff turns what stopped a message from arriving into a problem.
func brokenOff(err error) error {
	if _, ok := errors.AsType[*problem.Error](err); ok {
		return err
	}
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return problem.New(408, "body_too_slow", "The message did not arrive in time.").Because(err)
	}
	return problem.New(400, "bad_request", "The message broke off.").Because(err)
}
