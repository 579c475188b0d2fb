package follow

import "mailwake/ingest/message"

// MaxMessage is the largest whole message accepted, in bytes.
const MaxMessage = message.MaxBytes

// Request asks to make one email followed: either the parts of a message, or a
// whole one.
type Request struct {
	From            string      `json:"from,omitempty" doc:"Sender, as in the header."`
	To              []Recipient `json:"to,omitempty" doc:"Recipients; each gets a copy. A whole message may name them in its header instead."`
	Subject         string      `json:"subject,omitempty"`
	HTML            string      `json:"html,omitempty" doc:"The message. Without it there is nothing to follow."`
	Text            string      `json:"text,omitempty" doc:"The plain alternative. It goes out as it is."`
	MIME            []byte      `json:"mime,omitempty" doc:"A whole RFC 5322 message in base64, instead of from, subject, html, text and list_unsubscribe."`
	Template        string      `json:"template,omitempty" doc:"Name of the template the email was made from."`
	Follow          string      `json:"follow,omitempty" enum:"required,if_allowed,no" default:"required" doc:"required: follow or fail. if_allowed: hand back the message as it is when it must not be followed. no: do not follow."`
	ListUnsubscribe []string    `json:"list_unsubscribe,omitempty" maxItems:"16" doc:"List-Unsubscribe header, whole or its targets: links to them are never wrapped."`
	Pixel           string      `json:"pixel,omitempty" enum:"top,bottom" doc:"Place of the pixel. By itself it is at the bottom, or at the top of long messages, which providers clip."`
	Attachments     []FileRef   `json:"attachments,omitempty" maxItems:"100" doc:"Files uploaded before. Followed ones become links for those who allow it."`
	Output          string      `json:"output,omitempty" enum:"html,mime" doc:"html: the copies' HTML. mime: whole messages, ready to be sent. By itself what was given."`
	Retry           int64       `json:"retry,omitempty" minimum:"0" doc:"Number of a blocked email that was never sent: this one takes its place."`
}

// Recipient is one person the email goes to.
type Recipient struct {
	Address string `json:"address"`
	Name    string `json:"name,omitempty"`
	Person  string `json:"person,omitempty" doc:"The sender's own id of the person."`
}

// FileRef names an uploaded attachment.
type FileRef struct {
	ID int64 `json:"id" minimum:"1"`
}

// The follow states of a response.
const (
	StateOn      = "on"      // copies are instrumented, but for who refuses
	StateOff     = "off"     // nobody asked for it, or there is nothing to follow
	StateBlocked = "blocked" // asked for, not allowed; the messages are as they came
)

// The reasons for a state other than on, beside those of the registry.
const (
	ReasonNotAsked = "not_asked"
	ReasonNoHTML   = "no_html" // or none whose encoding can be read
	ReasonSealed   = "sealed"  // all HTML is inside a signed or encrypted part
	ReasonDisabled = "feature_disabled"
)

// Response says what became of a Request. Messages are in its order.
type Response struct {
	EmailID     int64       `json:"email_id" doc:"Number of the email; 0 when nothing was registered because the feature is disabled."`
	FollowState string      `json:"follow_state" enum:"on,off,blocked"`
	Reasons     []string    `json:"reasons" doc:"Why the state is not on, or why some copies are plain."`
	Blockers    []Blocker   `json:"blockers" doc:"Recipients who may not be followed at all."`
	Messages    []Message   `json:"messages" doc:"What to send, in the order of the recipients asked for."`
	Links       int         `json:"links" doc:"Number of followed links."`
	Untracked   []Untracked `json:"untracked" doc:"Links that stay as they are; at most 1000 are listed."`
}

// Blocker is a recipient who may not be followed.
type Blocker struct {
	RecipientID int64    `json:"recipient_id"`
	Address     string   `json:"address"`
	Person      string   `json:"person,omitempty"`
	Reasons     []string `json:"reasons" doc:"What stands against it."`
}

// Message is one recipient's copy.
type Message struct {
	RecipientID int64     `json:"recipient_id" doc:"Number of the recipient; 0 when nothing was registered."`
	Address     string    `json:"address"`
	Purposes    []string  `json:"purposes" doc:"What is collected of this copy: open, click, attachment, reply. None: it is as it came."`
	HTML        string    `json:"html,omitempty"`
	MIME        []byte    `json:"mime,omitempty" doc:"The whole message in base64, to be sent to this address only."`
	MessageID   string    `json:"message_id,omitempty" doc:"Message-ID that attributes replies; set it when you build the message. In mime it is set already."`
	Preferences string    `json:"preference_url,omitempty" doc:"The recipient's page to see and change what is collected of them. Whoever has it can."`
	Attach      []FileOut `json:"attach,omitempty" doc:"Files that you have to attach, since this output cannot."`
}

// FileOut is an attachment that the sender has to attach.
type FileOut struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
}
