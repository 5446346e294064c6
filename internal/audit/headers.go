package audit

import (
	"iter"
	"net/textproto"
	"strings"
)

// headerRule is one audited request header.
type headerRule struct {
	name string // lower case, as it is stored, listed and written
	hmac bool
}

// headerSet is the list of headers that entries show: the configured ones and
// those that are always shown. It is immutable.
type headerSet struct {
	rules map[string]headerRule // by canonical name, as HTTP servers give it
}

// alwaysAudited are shown in clear unless the configuration says otherwise:
// they tell tools and requests apart and carry no secret.
var alwaysAudited = [...]string{"user-agent", "correlation-id", "x-correlation-id"}

func newHeaderSet(configured iter.Seq2[string, bool]) *headerSet {
	s := &headerSet{rules: make(map[string]headerRule)}
	for _, name := range alwaysAudited {
		s.rules[textproto.CanonicalMIMEHeaderKey(name)] = headerRule{name, false}
	}
	for name, hmac := range configured {
		s.rules[textproto.CanonicalMIMEHeaderKey(name)] = headerRule{strings.ToLower(name), hmac}
	}
	return s
}

// lookup returns how the header called name is written, if it is.
func (s *headerSet) lookup(name string) (written string, hmac, ok bool) {
	if s == nil {
		return "", false, false
	}
	r, ok := s.rules[name]
	if !ok {
		// Callers pass canonical names; this is for those that do not.
		r, ok = s.rules[textproto.CanonicalMIMEHeaderKey(name)]
	}
	return r.name, r.hmac, ok
}
