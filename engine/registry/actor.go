package registry

import "mailwake/engine/problem"

// ActorKind says what kind of party made a change.
type ActorKind string

// Kinds of actors.
const (
	ActorKey       ActorKind = "key"       // somebody with an API key
	ActorRecipient ActorKind = "recipient" // the recipient, on the preference page
	ActorImport    ActorKind = "import"    // a file, given by somebody with an API key
	ActorSystem    ActorKind = "system"    // mailwake itself, or its operator on the machine
)

// Actor says who made a change. It never holds a name. The zero value is nobody
// and is refused.
type Actor struct {
	Kind  ActorKind `bun:"kind" json:"kind"`
	KeyID int64     `bun:"key" json:"key_id,omitempty"` // of ActorKey and ActorImport; 0 is none
}

// ByKey is the actor who holds key id.
func ByKey(id int64) Actor { return Actor{Kind: ActorKey, KeyID: id} }

// BySystem is mailwake itself.
func BySystem() Actor { return Actor{Kind: ActorSystem} }

func (a Actor) check() error {
	ok := a.KeyID == 0
	switch a.Kind {
	case ActorKey:
		ok = a.KeyID > 0
	case ActorImport:
		ok = a.KeyID >= 0
	case ActorRecipient, ActorSystem:
	default:
		ok = false
	}
	if ok {
		return nil
	}
	return problem.New(422, "actor_invalid", "The change must say who makes it: a key with its id, a recipient, an import or the system.")
}
