package identity

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
)

// Limits of what one row may hold, so that no row grows large.
const (
	maxName      = 512
	maxAliasName = 1024
	maxPairs     = 64
	maxKey       = 128
	maxValue     = 512
	maxPolicies  = 256
)

// checkName refuses what cannot be the name of an entity, group or alias.
func checkName(what, name string, limit int) error {
	switch {
	case name == "":
		return fault.Newf(fault.Invalid, "missing %s name", what)
	case len(name) > limit:
		return fault.Newf(fault.Invalid, "the %s name has more than %d bytes", what, limit)
	case !isText(name):
		return fault.Newf(fault.Invalid, "the %s name has characters that are not printable", what)
	case strings.TrimSpace(name) != name:
		return fault.Newf(fault.Invalid, "the %s name begins or ends with a space", what)
	}
	return nil
}

// checkMetadata refuses metadata that is too large or not text.
func checkMetadata(field string, m map[string]string) error {
	if len(m) > maxPairs {
		return fault.Newf(fault.Invalid, "field %q: more than %d pairs", field, maxPairs)
	}
	for k, v := range m {
		if k == "" || len(k) > maxKey || !isText(k) {
			return fault.Newf(fault.Invalid, "field %q: a key is empty, longer than %d bytes or not printable", field, maxKey)
		}
		if len(v) > maxValue || !isText(v) {
			return fault.Newf(fault.Invalid, "field %q: the value of %q is longer than %d bytes or not printable", field, k, maxValue)
		}
	}
	return nil
}

// cleanPolicies brings names of policies to their canonical form, and refuses
// those that no entity or group can hold: what gives everything is given to
// tokens alone.
func cleanPolicies(names []string) ([]string, error) {
	if len(names) > maxPolicies {
		return nil, fault.Newf(fault.Invalid, `field "policies": more than %d names`, maxPolicies)
	}
	list, err := authn.CleanPolicies(names)
	if err != nil {
		return nil, err
	}
	if slices.Contains(list, policy.RootName) {
		return nil, fault.New(fault.Invalid, "policies cannot contain root")
	}
	if i := slices.IndexFunc(list, policy.IsReserved); i >= 0 {
		return nil, fault.Newf(fault.Invalid, "policies cannot contain %s", list[i])
	}
	return list, nil
}

func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
