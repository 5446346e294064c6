package transit

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// item is one thing to do: an element of a batch, or the request itself. Texts
// are nil if they were not given.
type item struct {
	plaintext, ciphertext, input []byte
	signature, hmac              []byte
	context, associated, nonce   []byte
	reference                    []byte
	version                      int
}

// given makes a text of an item from a request's field.
func given(o wire.Opt[string]) []byte {
	if !o.Set {
		return nil
	}
	return append([]byte{}, o.Value...)
}

// optional makes a text of an item from a field whose absence is emptiness.
func optional(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

var (
	errItem  = fault.New(fault.Invalid, "every item of batch_input must be an object whose members are strings, and key_version a number")
	errBatch = fault.New(fault.Invalid, "batch_input must be a list of objects")
	errEmpty = fault.New(fault.Invalid, "batch_input must have at least one item")
)

// parse reads an element of a batch.
func (it *item) parse(element []byte) error {
	*it = item{}
	err := wire.EachMember(element, func(name, value []byte) error {
		dst := it.field(name)
		switch {
		case string(name) == "key_version":
			n, err := wire.ParseInt(value)
			it.version = int(n)
			return err
		case dst == nil || wire.IsNull(value):
			return nil
		case len(value) > 0 && value[0] == '"':
			*dst = wire.Text(value)
			return nil
		}
		text, err := wire.ParseString(value)
		*dst = []byte(text)
		return err
	})
	if err != nil {
		return errItem
	}
	return nil
}

func (it *item) field(name []byte) *[]byte {
	switch string(name) {
	case "plaintext":
		return &it.plaintext
	case "ciphertext":
		return &it.ciphertext
	case "input":
		return &it.input
	case "signature":
		return &it.signature
	case "hmac":
		return &it.hmac
	case "context":
		return &it.context
	case "associated_data":
		return &it.associated
	case "nonce":
		return &it.nonce
	case "reference":
		return &it.reference
	}
	return nil
}

// operation works on items one after the other. It is used by one request and
// keeps what neighbours share.
type operation interface {
	// do appends the members of an item's result to dst: `"a":1,"b":"c"`. On an
	// error of kind Invalid the item has failed, on others the whole request.
	do(ctx context.Context, dst []byte, it *item) ([]byte, error)
	// failed is what a failed item's result has beside its error.
	failed() string
}

// batch is the input of a request with many items.
type batch struct {
	Items   wire.JSON `json:"batch_input" doc:"Items to work on, each an object with the members of a single request, and a reference of the client's."`
	Partial int       `json:"partial_failure_response_code" doc:"Status of an answer in which some items failed; 400 if it is not given."`

	good int // items that succeeded, once it has run
}

// given reports whether the request is a batch.
func (b *batch) given() bool { return b.Items != nil && !wire.IsNull(b.Items) }

// run does the operation on every item. lenient answers with status 200 also if
// items failed.
func (b *batch) run(ctx context.Context, op operation, lenient bool) (*route.Reply, error) {
	if b.Partial != 0 && (b.Partial < 200 || b.Partial > 599 || b.Partial == 204 || b.Partial == 205 || b.Partial == 304) {
		return nil, fault.New(fault.Invalid, "partial_failure_response_code must be a status between 200 and 599 that has a body")
	}
	out := append(make([]byte, 0, len(b.Items)+len(b.Items)/4+64), `{"batch_results":[`...)
	b.good = 0
	bad := 0
	var it item
	err := wire.EachElement(b.Items, func(element []byte) error {
		if b.good+bad > 0 {
			out = append(out, ',')
		}
		out = append(out, '{')
		start := len(out)
		err := it.parse(element)
		if err == nil {
			out, err = op.do(ctx, out, &it)
		}
		switch {
		case err == nil:
			b.good++
		case fault.KindOf(err) != fault.Invalid:
			return err
		default:
			bad++
			out = append(out[:start], op.failed()...)
			out = append(out, `"error":`...)
			out = wire.AppendQuoted(out, fault.Message(err))
		}
		if len(out) > start {
			out = append(out, ',')
		}
		out = append(out, `"reference":`...)
		out = wire.AppendQuoted(out, it.reference)
		out = append(out, '}')
		return nil
	})
	switch {
	case errors.Is(err, wire.ErrWalk):
		return nil, errBatch
	case err != nil:
		return nil, err
	case b.good+bad == 0:
		return nil, errEmpty
	}
	reply := &route.Reply{Data: append(out, `]}`...)}
	if bad > 0 && !lenient {
		reply.Status = statusFailed
		if b.good > 0 && b.Partial != 0 {
			reply.Status = b.Partial
		}
	}
	return reply, nil
}

// statusFailed is the status of a batch with failed items: bad request.
const statusFailed = 400

// one does the operation on the request itself.
func one(ctx context.Context, op operation, it *item) (*route.Reply, error) {
	out, err := op.do(ctx, append(make([]byte, 0, 512), '{'), it)
	if err != nil {
		return nil, err
	}
	return &route.Reply{Data: append(out, '}')}, nil
}

// prefix begins every text that the engine makes.
const prefix = "vault:v"

// appendText appends a member whose value is a text of the engine.
func appendText(dst []byte, name string, version int, raw []byte, encoding *base64.Encoding) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, `":"`+prefix...)
	dst = strconv.AppendInt(dst, int64(version), 10)
	dst = append(dst, ':')
	dst = encoding.AppendEncode(dst, raw)
	return append(dst, '"')
}

var errText = fault.New(fault.Invalid, `the text must begin with "vault:v", the number of a version, and ":", followed by base64`)

// splitText splits a text of the engine into version and base64.
func splitText(text []byte) (version int, encoded []byte, err error) {
	rest := text
	if len(rest) < len(prefix) || string(rest[:len(prefix)]) != prefix {
		return 0, nil, errText
	}
	rest = rest[len(prefix):]
	for i, c := range rest {
		switch {
		case c == ':' && i > 0 && version > 0:
			return version, rest[i+1:], nil
		case c < '0' || c > '9' || i >= 9:
			return 0, nil, errText
		}
		version = version*10 + int(c-'0')
	}
	return 0, nil, errText
}

// decode decodes base64 into a buffer that the operation reuses.
func decode(buf, text []byte, encoding *base64.Encoding) ([]byte, error) {
	if n := encoding.DecodedLen(len(text)); cap(buf) < n {
		buf = make([]byte, 0, n+n/4)
	}
	return encoding.AppendDecode(buf[:0], text)
}

// deriver finds the key for an item's context, and remembers the last.
type deriver struct {
	k       *key
	version int
	context []byte
	derived *material.Key
}

// key returns the key that does an item's work with a version.
func (d *deriver) key(v *version, it *item) (*material.Key, error) {
	if !d.k.row.Derived {
		return v.key, nil
	}
	if len(it.context) == 0 {
		return nil, errNotDerived
	}
	if d.derived != nil && d.version == v.n && string(d.context) == string(it.context) {
		return d.derived, nil
	}
	context, err := base64.StdEncoding.AppendDecode(nil, it.context)
	if err != nil {
		return nil, errContext
	}
	derived, err := v.key.Derive(context, d.k.row.Convergent)
	if err != nil {
		return nil, err
	}
	d.version, d.context, d.derived = v.n, append(d.context[:0], it.context...), derived
	return derived, nil
}
