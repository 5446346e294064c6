// Package envelope writes the JSON object around every answer, as Vault's
// clients read it:
//
//	{"request_id":"…","lease_id":"","renewable":false,"lease_duration":0,
//	 "data":{…},"wrap_info":null,"warnings":null,"auth":null}
//
// It appends to a buffer and uses no reflection, because it stands on the path
// of every request.
package envelope

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// Append writes the envelope of a reply to dst. flat repeats the members of
// data at the top.
func Append(dst []byte, requestID string, r *route.Reply, warnings []string, flat bool) []byte {
	if r.Wrap != nil {
		requestID = "" // as Vault does; the id is that of the wrapped answer
	}
	dst = append(dst, `{"request_id":`...)
	dst = wire.AppendQuoted(dst, requestID)
	dst = appendLease(dst, r.Lease)
	dst = append(dst, `,"data":`...)
	if r.Data == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, r.Data...)
	}
	dst = append(dst, `,"wrap_info":`...)
	dst = appendWrap(dst, r.Wrap)
	dst = append(dst, `,"warnings":`...)
	if len(warnings) == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = wire.AppendStrings(dst, warnings)
	}
	dst = append(dst, `,"auth":`...)
	dst = appendAuth(dst, r.Auth)
	if flat && len(r.Data) > 2 && r.Data[0] == '{' {
		dst = append(dst, ',')
		dst = append(dst, r.Data[1:len(r.Data)-1]...)
	}
	return append(dst, '}')
}

func appendLease(dst []byte, l *route.LeaseInfo) []byte {
	if l == nil {
		return append(dst, `,"lease_id":"","renewable":false,"lease_duration":0`...)
	}
	dst = wire.AppendStringMember(dst, "lease_id", l.ID)
	dst = wire.AppendBoolMember(dst, "renewable", l.Renewable)
	return wire.AppendIntMember(dst, "lease_duration", int64(l.Duration/time.Second))
}

func appendWrap(dst []byte, w *route.WrapInfo) []byte {
	if w == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"token":`...)
	dst = wire.AppendQuoted(dst, w.Token)
	dst = wire.AppendStringMember(dst, "accessor", w.Accessor)
	dst = wire.AppendIntMember(dst, "ttl", int64(w.TTL/time.Second))
	dst = wire.AppendStringMember(dst, "creation_time", w.CreationTime.UTC().Format(time.RFC3339Nano))
	dst = wire.AppendStringMember(dst, "creation_path", w.CreationPath)
	if w.WrappedAccessor != "" {
		dst = wire.AppendStringMember(dst, "wrapped_accessor", w.WrappedAccessor)
	}
	return append(dst, '}')
}

func appendAuth(dst []byte, a *route.Auth) []byte {
	if a == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"client_token":`...)
	dst = wire.AppendQuoted(dst, a.ClientToken)
	dst = wire.AppendStringMember(dst, "accessor", a.Accessor)
	dst = append(dst, `,"policies":`...)
	dst = wire.AppendStrings(dst, a.Policies)
	dst = append(dst, `,"token_policies":`...)
	dst = wire.AppendStrings(dst, a.TokenPolicies)
	if len(a.IdentityPolicies) > 0 {
		dst = append(dst, `,"identity_policies":`...)
		dst = wire.AppendStrings(dst, a.IdentityPolicies)
	}
	dst = append(dst, `,"metadata":`...)
	dst = appendMap(dst, a.Metadata)
	dst = wire.AppendIntMember(dst, "lease_duration", int64(a.LeaseDuration/time.Second))
	dst = wire.AppendBoolMember(dst, "renewable", a.Renewable)
	dst = wire.AppendStringMember(dst, "entity_id", a.EntityID)
	dst = wire.AppendStringMember(dst, "token_type", a.TokenType)
	dst = wire.AppendBoolMember(dst, "orphan", a.Orphan)
	dst = append(dst, `,"mfa_requirement":null,"num_uses":`...)
	dst = strconv.AppendInt(dst, int64(a.NumUses), 10)
	return append(dst, '}')
}

func appendMap(dst []byte, m map[string]string) []byte {
	if m == nil {
		return append(dst, "null"...)
	}
	b, err := json.Marshal(m) // sorted by name
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, b...)
}

// Errors writes the body of a failed request: {"errors":[…]}. No text is an
// empty list.
func Errors(dst []byte, text string) []byte {
	dst = append(dst, `{"errors":[`...)
	if text != "" {
		dst = wire.AppendQuoted(dst, text)
	}
	return append(dst, ']', '}')
}
