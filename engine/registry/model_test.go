package registry

import (
	"slices"
	"time"

	"mailwake/engine/event"
)

// model is the rules of consent in plain Go: everything is looked up anew, by
// address and external id, and nothing is shared with the registry's own code.
type model struct {
	state  OrgState
	purge  time.Time
	policy Policy
	people map[PersonKey]*modelPerson
	own    map[string]map[Purpose]Preference // by address
	ids    map[string]event.RecipientID
	emails map[event.EmailID]FollowState // blocked ones of which nothing was sent
	ledger int64
}

type modelPerson struct {
	account   string // external id of an account
	addresses []string
	answers   map[Purpose]Preference
}

func newModel() *model {
	return &model{
		state: OrgEnabled, policy: DefaultPolicy(), people: map[PersonKey]*modelPerson{},
		own: map[string]map[Purpose]Preference{}, ids: map[string]event.RecipientID{}, emails: map[event.EmailID]FollowState{},
	}
}

// see gives addresses that are new the next ids.
func (m *model) see(addresses ...string) {
	for _, a := range addresses {
		if m.ids[a] == 0 {
			m.ids[a], m.own[a] = event.RecipientID(len(m.ids)+1), map[Purpose]Preference{}
		}
	}
}

// answer is what holds for an address: the strictest of all that reaches it.
func (m *model) answer(address string, p Purpose) Preference {
	strictest := m.own[address][p]
	for key, person := range m.people {
		if !slices.Contains(person.addresses, address) {
			continue
		}
		strictest = max(strictest, person.answers[p]) // unknown < allowed < denied
		if key.Kind == Contact && person.account != "" && m.people[PersonKey{Account, person.account}].answers[p] == Denied {
			strictest = Denied
		}
	}
	return strictest
}

func (m *model) refusal(address string, p Purpose) string {
	switch m.answer(address, p) {
	case Denied:
		return "recipient_denied"
	case Unknown:
		if m.policy.Unknown == OptIn {
			return "recipient_unknown_opt_in"
		}
	}
	return ""
}

// decide returns the names of what stands against recording.
func (m *model) decide(address string, kind event.Kind) (against []string) {
	if m.state != OrgEnabled {
		against = append(against, "organisation_"+string(m.state))
	}
	p := map[event.Kind]Purpose{event.Open: PurposeOpen, event.Click: PurposeClick, event.AttachmentView: PurposeAttachment, event.Reply: PurposeReply}[kind]
	if p == NoPurpose {
		return against
	}
	if why := m.refusal(address, p); why != "" {
		against = append(against, why)
	}
	return against
}

// follow returns the state of an email to these addresses, who blocks it, and for
// which purposes each may be followed.
func (m *model) follow(wish bool, to []string) (state FollowState, blockers []string, purposes map[string][]Purpose) {
	purposes = map[string][]Purpose{}
	for _, a := range to {
		for _, p := range []Purpose{PurposeOpen, PurposeClick, PurposeAttachment, PurposeReply} {
			if m.refusal(a, p) == "" {
				purposes[a] = append(purposes[a], p)
			}
		}
		if len(purposes[a]) == 0 {
			blockers = append(blockers, a)
		}
	}
	switch {
	case !wish:
		state = FollowOff
	case len(blockers) == len(to), len(blockers) > 0 && m.policy.OnRefusal == RefusalBlocks:
		state = FollowBlocked
	default:
		return FollowOn, blockers, purposes
	}
	return state, blockers, map[string][]Purpose{}
}

// next returns the state after an action, "" when it is refused.
func (m *model) next(action OrgAction, now time.Time) OrgState {
	switch {
	case action == OrgEnable && m.state == OrgDisabled:
		return OrgEnabled
	case action == OrgDisable && m.state == OrgEnabled:
		return OrgDisabled
	case action == OrgTerminate && m.state != OrgTerminated:
		return OrgTerminated
	case action == OrgResubscribe && m.state == OrgTerminated && now.Before(m.purge):
		return OrgEnabled
	}
	return ""
}
