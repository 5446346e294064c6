package approle_test

import (
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/authn/approle"
)

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"web", "WEB", "a.b-c_d", ".a", "a.", "..", "\u212a", "\u017f", "a b", " a ", "a\n", "\x00", "a/b", strings.Repeat("x", 600), ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if approle.CheckName(name) == nil {
			if name != strings.ToLower(name) || name != strings.TrimSpace(name) || len(name) > 255 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
				t.Errorf("%q is taken for a role name", name)
			}
		}
		id, ok := approle.CanonicalRoleID(name)
		if !ok {
			return
		}
		if again, ok := approle.CanonicalRoleID(id); again != id || !ok {
			t.Errorf("the role id %q of %q is not canonical: %q, %v", id, name, again, ok)
		}
		if id != strings.TrimSpace(name) || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q became %q", name, id)
		}
	})
}
