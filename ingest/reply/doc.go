// Package reply takes raw mails that answer followed emails and records each as
// one interaction. It has two types to know: Message, what Read takes from a
// mail's header, and Service, whose Deliver attributes and records it.
//
//	raw mail ─ Read ─▶ Message ─▶ whose reply? ─▶ consent ─▶ claim ─▶ Append ─▶ settle
//	   body: counted, dropped      │                          │
//	                               ├ In-Reply-To: <TOKEN@…>   └ duplicate: answered, not recorded
//	                               ├ References, newest first
//	                               ├ local+TOKEN@… it went to
//	                               └ subject and author, where the organisation wants it
//
// Of the mail nothing is kept but a keyed hash of its Message-ID. Nothing of it
// is logged, quoted in an error or written into the lake.
//
// A message is recorded once. Its event id derives from the hash; the claim in
// the registry comes before the event in the log and is settled after it, so
// after a crash between the two a retry finds the claim pending and looks for
// the event itself.
//
// Who replied: the reply belongs to the copy whose token it carries, unless its
// author is another recipient of the same email, whose reply it then is. Somebody
// else's address (an alias, an assistant, a colleague it was forwarded to) is a
// reply to that copy. Consent is asked of that recipient and also of the author
// where the organisation knows the address: either may refuse. What the email's
// own sender writes in the thread is no reply.
package reply
