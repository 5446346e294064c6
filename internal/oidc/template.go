package oidc

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// maxTemplate bounds a template, in bytes.
const maxTemplate = 64 << 10

// reserved are the claims that no template may set.
func reserved(claim string) bool {
	switch claim {
	case "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "namespace", "nonce", "auth_time", "at_hash", "c_hash", "scope", "client_id":
		return true
	}
	return false
}

// parseTemplate accepts a template as it is or in base64, and returns it as it
// is. It must become a JSON object for whomever it is filled in for.
func parseTemplate(text string) (string, error) {
	if len(text) > maxTemplate {
		return "", fault.New(fault.Invalid, "'template' has more than 64 KiB")
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && strings.HasPrefix(strings.TrimSpace(string(raw)), "{") {
		text = string(raw)
	}
	_, err := claims(text, nobody{}, time.Time{})
	return text, err
}

// nobody is the person that templates are tried with.
type nobody struct{}

func (nobody) ID() string          { return "" }
func (nobody) InGroup(string) bool { return false }

// Claim gives each name a value of its type.
func (nobody) Claim(name string) (json.RawMessage, bool) {
	switch {
	case name == "identity.entity.groups.ids", name == "identity.entity.groups.names":
		return json.RawMessage("[]"), true
	case strings.HasSuffix(name, "metadata"):
		return json.RawMessage("{}"), true
	case strings.HasPrefix(name, "identity.entity.id"), strings.HasPrefix(name, "identity.entity.name"),
		strings.HasPrefix(name, "identity.entity.metadata."), strings.HasPrefix(name, "identity.entity.aliases."):
		return json.RawMessage(`""`), true
	}
	return nil, false
}

// claims fills a template in and returns its members. An empty template has
// none.
func claims(template string, who Person, now time.Time) (map[string]json.RawMessage, error) {
	if strings.TrimSpace(template) == "" {
		return nil, nil
	}
	filled, err := fill(template, who, now)
	if err != nil {
		return nil, err
	}
	// The scanner bounds depth and size, and refuses a member given twice.
	object, err := wire.ParseObject([]byte(filled), wire.DefaultLimits)
	if err != nil || len(object.Raw) != len(strings.TrimSpace(filled)) {
		return nil, fault.New(fault.Invalid, "'template' must become a JSON object; a name in {{braces}} stands without quotes around it")
	}
	all := make(map[string]json.RawMessage, len(object.Members))
	for _, m := range object.Members {
		if reserved(m.Name) {
			return nil, fault.Newf(fault.Invalid, "'template' must not set the claim %q", m.Name)
		}
		all[m.Name] = m.Value
	}
	return all, nil
}

// fill replaces each {{name}} by the JSON that it stands for.
func fill(template string, who Person, now time.Time) (string, error) {
	var b strings.Builder
	for {
		head, rest, found := strings.Cut(template, "{{")
		b.WriteString(head)
		if !found {
			return b.String(), nil
		}
		name, tail, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", fault.New(fault.Invalid, "'template' has braces that are not closed")
		}
		value, err := claim(strings.TrimSpace(name), who, now)
		if err != nil {
			return "", err
		}
		b.Write(value)
		template = tail
	}
}

func claim(name string, who Person, now time.Time) (json.RawMessage, error) {
	if rest, ok := strings.CutPrefix(name, "time.now"); ok {
		at, err := shift(now, rest)
		return strconv.AppendInt(nil, at.Unix(), 10), err
	}
	if value, ok := who.Claim(name); ok {
		return value, nil
	}
	return nil, fault.Newf(fault.Invalid, "'template' has the unknown name %.100q", name)
}

// shift moves a time by what follows time.now: "", ".plus.1h", ".minus.30s".
func shift(now time.Time, by string) (time.Time, error) {
	sign, ok := time.Duration(1), by == ""
	if ok {
		return now, nil
	}
	if by, ok = strings.CutPrefix(by, ".plus."); !ok {
		sign = -1
		by, ok = strings.CutPrefix(by, ".minus.")
	}
	d, err := wire.ParseDurationText(by)
	if !ok || err != nil {
		return now, fault.New(fault.Invalid, "'template' has a time that is not time.now, time.now.plus.<duration> or time.now.minus.<duration>")
	}
	return now.Add(sign * d), nil
}
