package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/store"
)

// TestRightsBelow judges paths of the namespace "a/b/", numbers 5 and 9, by
// policies of the root that were written when number 7 was the latest.
func TestRightsBelow(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		want    bool
	}{
		{"*", true},
		{"a/*", true}, // a was there, and a wildcard covers what is below it
		{"a*", true},
		{"a/+/kv/x", true},
		{"+/+/kv/x", true},
		{"a/b/kv/x", false}, // b was not
		{"a/b/*", false},
		{"a/b*", true},
		{"+/b/kv/x", false},
		{"a/+/kv/*", true},
		{"kv/x", false}, // the root's own
		{"b/kv/x", false},
		{"a/kv/x", false},
	} {
		s := newSite(t)
		s.sequence(7)
		s.put("p", rules(tt.pattern, "read"))
		r := s.rights(policy.Below{Prefix: "a/b/", IDs: []store.NamespaceID{5, 9}}, "p")
		d := r.Check(policy.Read, "kv/x", nil, 0)
		if d.Allowed != tt.want {
			t.Errorf("%q: %+v, want allowed: %v", tt.pattern, d, tt.want)
		}
		want := "deny"
		if tt.want {
			want = "read"
		}
		if got := r.Capabilities("kv/x"); !cmp.Equal(got, []string{want}) {
			t.Errorf("%q: capabilities %v, want %s", tt.pattern, got, want)
		}
		if got := r.AllowsUnder("kv/"); got != tt.want {
			t.Errorf("%q: allows under kv/: %v", tt.pattern, got)
		}
	}
}

// TestDenialsReachNamespacesToCome: what denies does so also in a namespace that
// was not there when it was written, and it is not passed over for a wider rule.
func TestDenialsReachNamespacesToCome(t *testing.T) {
	s := newSite(t)
	s.sequence(3)
	s.put("p", rules("*", "read", "a/kv/x", "deny", "a/kv/y", "list"))
	r := s.rights(policy.Below{Prefix: "a/", IDs: []store.NamespaceID{5}}, "p")
	for path, want := range map[string]policy.Reason{"kv/x": policy.DeniedByRule, "kv/y": policy.NoCapability, "kv/z": policy.Granted} {
		if d := r.Check(policy.Read, path, nil, 0); d.Reason != want {
			t.Errorf("%s: %v, want %v", path, d.Reason, want)
		}
	}
	if d := r.Check(policy.List, "kv/y", nil, 0); d.Allowed {
		t.Errorf("listing by a rule that names a namespace to come: %+v", d)
	}
}

// TestRightsTogether joins what a token's policies and those of a group say.
func TestRightsTogether(t *testing.T) {
	own := compile(t, rules("a/kv/both", "read", "a/kv/own", "read", "a/kv/torn", "deny"))
	group := compile(t, rules("kv/both", "read", "kv/group", "read", "kv/torn", "read", "kv/own", "deny"))
	r := own.In(policy.Below{Prefix: "a/"}).With(group.In(policy.Below{}))
	for path, want := range map[string]bool{"kv/both": true, "kv/group": true, "kv/own": false, "kv/torn": false, "kv/none": false} {
		if d := r.Check(policy.Read, path, nil, 0); d.Allowed != want {
			t.Errorf("%s: %+v, want allowed: %v", path, d, want)
		}
		caps := "deny"
		if want {
			caps = "read"
		}
		if got := r.Capabilities(path); !cmp.Equal(got, []string{caps}) {
			t.Errorf("%s: capabilities %v, want %s", path, got, caps)
		}
	}
}

// TestResultantACLBelow: what a token may do is shown with the paths of the
// namespace that is asked in.
func TestResultantACLBelow(t *testing.T) {
	s := newSite(t)
	s.sequence(9)
	s.put("p", rules("a/kv/x", "read", "+/kv/*", "list", "a*", "update", "b/kv/x", "read", "kv/x", "delete"))
	s.caller.Root, s.caller.Policies = false, []string{"p"}
	s.caller.Namespace, s.caller.Prefix, s.caller.Below = rootNS, "a/", []store.NamespaceID{5}
	s.at = policy.Below{Prefix: "a/", IDs: []store.NamespaceID{5}}
	s.run([]step{{read, "internal/ui/resultant-acl", nil, 200, `{"root": false,
		"exact_paths": {"kv/x": {"capabilities": ["read"]}},
		"glob_paths": {"kv/": {"capabilities": ["list"]}, "": {"capabilities": ["update"]}}}`}})
}
