package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

// claims are the members of a token's payload. Their names are compared as they
// are: "AUD" is not "aud".
type claims struct{ wire.Object }

var errClaims = errors.New("the payload is not a JSON object with distinct names")

// payloadLimits bound a payload.
var payloadLimits = wire.Limits{Depth: 32, Keys: 1000, Elements: 10_000, Values: 20_000, String: 64 << 10}

func parseClaims(payload []byte) (claims, error) {
	o, err := wire.ParseObject(payload, payloadLimits)
	if err != nil || !o.Present() {
		return claims{}, errClaims
	}
	return claims{o}, nil
}

// with returns the claims with those of more whose names it has not.
func (c claims) with(more claims) (claims, error) {
	all := make(map[string]json.RawMessage, len(c.Members)+len(more.Members))
	for _, o := range []claims{more, c} {
		for _, m := range o.Members {
			all[m.Name] = m.Value
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return claims{}, errClaims
	}
	return parseClaims(raw)
}

// at returns the claim that a setting speaks of: by its name, or by a JSON
// pointer (RFC 6901) if it begins with a slash. A claim that is null is absent.
func (c claims) at(name string) (wire.JSON, bool) {
	if strings.HasPrefix(name, "/") {
		return c.pointed(name)
	}
	raw, ok := c.Lookup(name)
	return raw, ok && !wire.IsNull(raw)
}

func (c claims) pointed(pointer string) (wire.JSON, bool) {
	at := wire.JSON(c.Raw)
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		next, ok := member(at, unescape.Replace(token))
		if !ok {
			return nil, false
		}
		at = next
	}
	return at, !wire.IsNull(at)
}

// member steps into an object or an array.
func member(at wire.JSON, token string) (wire.JSON, bool) {
	at = bytes.TrimSpace(at)
	if len(at) > 0 && at[0] == '[' {
		var list []json.RawMessage
		n, err := strconv.Atoi(token)
		if err != nil || strconv.Itoa(n) != token || json.Unmarshal(at, &list) != nil || n < 0 || n >= len(list) {
			return nil, false
		}
		return list[n], true
	}
	if len(at) == 0 || at[0] != '{' {
		return nil, false
	}
	o, err := wire.ParseObject(at, payloadLimits)
	if err != nil {
		return nil, false
	}
	return o.Lookup(token)
}

// text is a claim that must be a string. A claim of another type is no text.
func (c claims) text(name string) (text string, ok bool) {
	raw, ok := c.at(name)
	if !ok {
		return "", false
	}
	v, err := scalarOf(raw)
	return v.text, err == nil && v.kind == kindString
}

// strings is a claim that is a string or a list of strings.
func (c claims) strings(name string) (list []string, present bool, err error) {
	raw, ok := c.at(name)
	if !ok {
		return nil, false, nil
	}
	values, err := scalars(raw)
	if err != nil {
		return nil, true, err
	}
	for _, v := range values {
		if v.kind != kindString {
			return nil, true, errNotText
		}
		list = append(list, v.text)
	}
	return list, true, nil
}

var errNotText = errors.New("is neither a string nor a list of strings")

// time is a claim that is a NumericDate (RFC 7519, section 2).
func (c claims) time(name string) (at time.Time, present bool, err error) {
	raw, ok := c.at(name)
	if !ok {
		return time.Time{}, false, nil
	}
	v, err := scalarOf(raw)
	if err != nil || v.kind != kindNumber {
		return time.Time{}, true, errDate
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil || math.Abs(f) > maxDate {
		return time.Time{}, true, errDate
	}
	return time.Unix(int64(math.Floor(f)), 0).UTC(), true, nil
}

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

var errDate = errors.New("is not a date")

// scalar is a value of a claim or of a bound claim.
type scalar struct {
	kind scalarKind
	text string
}

type scalarKind uint8

const (
	kindString scalarKind = iota
	kindNumber
	kindBool
)

var errScalar = errors.New("is neither a string, a number, a boolean nor a list of them")

// scalarOf reads a string, number or boolean. Numbers are written in one way.
func scalarOf(raw wire.JSON) (scalar, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return scalar{}, errScalar
	}
	switch raw[0] {
	case '"':
		return scalar{kindString, wire.Unquote(raw)}, nil
	case 't', 'f':
		return scalar{kindBool, string(raw)}, nil
	case '{', '[', 'n':
		return scalar{}, errScalar
	}
	text := string(raw)
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return scalar{}, errScalar
		}
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	return scalar{kindNumber, text}, nil
}

// scalars reads a scalar or a list of them.
func scalars(raw wire.JSON) ([]scalar, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '[' {
		v, err := scalarOf(raw)
		return []scalar{v}, err
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil, errScalar
	}
	list := make([]scalar, len(items))
	for i, item := range items {
		var err error
		if list[i], err = scalarOf(item); err != nil {
			return nil, err
		}
	}
	return list, nil
}
