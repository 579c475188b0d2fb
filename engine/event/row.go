package event

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// A version heads every row, so that a log written by an older binary stays
// readable.
const (
	rowVersion = 1
	backRow    = 2 // its texts are those of a row before it, see Rows
)

// maxString bounds every text of a row, in bytes.
const maxString = 4096

// AppendRow appends in to dst in the row format of the log:
//
//	version u8 | kind u8 | actor u8 | device u8 | source u8
//	org uvarint | id varint | occurred varint (µs) | received-occurred varint (µs)
//	email uvarint | recipient uvarint | component uvarint
//	reason, client, os, user agent, network: uvarint length + bytes each
//
// Texts over 4,096 bytes are cut, and bytes that are not UTF-8 are left out.
func AppendRow(dst []byte, in *Interaction) []byte {
	dst = appendFixed(dst, rowVersion, in)
	dst = appendText(dst, in.Reason)
	dst = appendText(dst, in.Client)
	dst = appendText(dst, in.OS)
	dst = appendText(dst, in.UserAgent)
	return appendText(dst, in.Network)
}

// appendFixed appends all of a row but its texts.
func appendFixed(dst []byte, version byte, in *Interaction) []byte {
	dst = append(dst, version, byte(in.Kind), byte(in.Actor), byte(in.Device), byte(in.Source))
	dst = binary.AppendUvarint(dst, uint64(in.Org))
	dst = binary.AppendVarint(dst, in.ID)
	dst = binary.AppendVarint(dst, int64(in.OccurredAt))
	dst = binary.AppendVarint(dst, int64(in.ReceivedAt-in.OccurredAt))
	dst = binary.AppendUvarint(dst, uint64(in.Email))
	dst = binary.AppendUvarint(dst, uint64(in.Recipient))
	return binary.AppendUvarint(dst, uint64(uint32(in.Component)))
}

// appendText keeps texts to valid UTF-8: no table takes anything else.
func appendText(dst []byte, s string) []byte {
	if len(s) > maxString {
		s = s[:maxString]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "")
	}
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// DecodeRow reads one row of AppendRow into in. The texts of in alias row: they are
// valid while row is neither changed nor reused. The whole row must be consumed.
func DecodeRow(row []byte, in *Interaction) error {
	_, err := decode(row, in, nil)
	return err
}

// Decoder reads the rows of one group of the log, in their order. The zero value
// is ready.
type Decoder struct {
	texts [][]byte // of each row that has its own
}

// NextGroup says that the next row is the first of another group.
func (d *Decoder) NextGroup() { d.texts = d.texts[:0] }

// Decode is DecodeRow for rows of AppendRow and of Rows: the texts of in alias the
// row that brought them.
func (d *Decoder) Decode(row []byte, in *Interaction) error {
	own, err := decode(row, in, d.texts)
	if own != nil {
		d.texts = append(d.texts, own)
	}
	return err
}

// DecodeOf is Decode for rows of an email. Of a row of another one it reads what it has
// to know of it for the rest of the group, and returns false.
func (d *Decoder) DecodeOf(email EmailID, row []byte, in *Interaction) (ok bool, err error) {
	r, err := decodeNumbers(row, in)
	if err != nil || r.bad || in.Email == email {
		return true, d.Decode(row, in)
	}
	if row[0] != backRow {
		d.texts = append(d.texts, r.b)
	}
	return false, nil
}

// decode reads a row into in. It returns the bytes of its own texts if it has some;
// texts are those of rows before it.
func decode(row []byte, in *Interaction, texts [][]byte) (own []byte, err error) {
	r, err := decodeNumbers(row, in)
	if err != nil {
		return nil, err
	}
	if row[0] == backRow {
		r.follow(texts)
	} else {
		own = r.b
	}
	in.Reason = r.text()
	in.Client = r.text()
	in.OS = r.text()
	in.UserAgent = r.text()
	in.Network = r.text()
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: damaged row of %d bytes", ErrInvalid, len(row))
	}
	return own, nil
}

// decodeNumbers reads what comes before the texts, which are left.
func decodeNumbers(row []byte, in *Interaction) (r reader, err error) {
	if len(row) < 5 || row[0] != rowVersion && row[0] != backRow {
		return r, fmt.Errorf("%w: unknown version or short row", ErrInvalid)
	}
	r.b = row[5:]
	in.Kind, in.Actor, in.Device, in.Source = Kind(row[1]), Actor(row[2]), Device(row[3]), Source(row[4])
	in.Org = OrgID(r.uvarint(math.MaxUint32))
	in.ID = r.varint()
	in.OccurredAt = Micros(r.varint())
	in.ReceivedAt = in.OccurredAt + Micros(r.varint())
	in.Email = EmailID(r.uvarint(math.MaxInt64))
	in.Recipient = RecipientID(r.uvarint(math.MaxInt64))
	in.Component = int32(r.uvarint(math.MaxInt32))
	return r, nil
}

// RowOrg returns the organisation of a row without decoding the rest.
func RowOrg(row []byte) (OrgID, error) {
	if len(row) < 6 || row[0] != rowVersion && row[0] != backRow {
		return 0, fmt.Errorf("%w: unknown version or short row", ErrInvalid)
	}
	v, n := binary.Uvarint(row[5:])
	if n <= 0 || v > math.MaxUint32 {
		return 0, fmt.Errorf("%w: damaged organisation", ErrInvalid)
	}
	return OrgID(v), nil
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// follow reads the end of a row without texts of its own and goes on with those it
// points back to.
func (r *reader) follow(texts [][]byte) {
	back := r.uvarint(uint64(len(texts)))
	if r.bad || back == 0 || len(r.b) != 0 {
		r.bad = true
		return
	}
	r.b = texts[uint64(len(texts))-back]
}

func (r *reader) text() string {
	n := r.uvarint(maxString)
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return unsafe.String(unsafe.SliceData(s), len(s))
}
