package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
)

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"dev": "dev", "Dev-Ops_1.x": "dev-ops_1.x", "ROOT": "root", "my policy": "my policy", "a@b:c": "a@b:c",
	} {
		if got, err := policy.CheckName(name); err != nil || got != want {
			t.Errorf("CheckName(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", " root", "root ", "\troot", "root\n", "a/b", "../ns/admin", "..", ".", "a..b", "a\x00b", "a\x7f", "roo\u0442",
		"\u212aey", "\u017fudo", "r\u00f6ot", "a\u200bb", "\xff", "a,b", "*", "a+b", "{{x}}", `a\b`, `a"b`, strings.Repeat("x", 513),
	} {
		if got, err := policy.CheckName(name); !errors.Is(err, fault.Invalid) {
			t.Errorf("CheckName(%q) = %q, %v; want an error", name, got, err)
		}
	}
}

func TestReservedNames(t *testing.T) {
	if !policy.IsRootName("root") || policy.IsRootName("default") || !policy.IsReserved("response-wrapping") || policy.IsReserved("root") {
		t.Error("the reserved names changed")
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("Root")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, name string) {
		canonical, err := policy.CheckName(name)
		if err != nil {
			return
		}
		if !strings.EqualFold(canonical, name) || len(canonical) != len(name) {
			t.Fatalf("%q became %q", name, canonical)
		}
		if again, err := policy.CheckName(canonical); err != nil || again != canonical {
			t.Fatalf("the canonical form %q is not stable: %q, %v", canonical, again, err)
		}
	})
}
