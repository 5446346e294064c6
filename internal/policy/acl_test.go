package policy_test

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/policy"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// compile parses each text as a policy named p1, p2, ... and joins them.
func compile(t testing.TB, texts ...string) *policy.ACL {
	t.Helper()
	var policies []*policy.Policy
	for i, text := range texts {
		p, _, err := policy.Parse("p"+string(rune('1'+i)), text)
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	acl, err := policy.Compile(policies, noon)
	if err != nil {
		t.Fatal(err)
	}
	return acl
}

// rules writes a policy in which each pattern has the one capability named.
func rules(pairs ...string) string {
	text := ""
	for i := 0; i < len(pairs); i += 2 {
		text += `path "` + pairs[i] + `" { capabilities = ["` + pairs[i+1] + `"] }` + "\n"
	}
	return text
}

func TestPriority(t *testing.T) {
	tests := []struct {
		name   string
		policy string
		path   string
		want   string // the deciding pattern
	}{
		{"an exact path beats every pattern", rules("a/b", "read", "a/*", "read", "a/+", "read"), "a/b", "a/b"},
		{"the later first wildcard wins", rules("a/*", "read", "a/b/*", "read"), "a/b/c", "a/b/*"},
		{"the later first wildcard wins over a plus", rules("+/b/c", "read", "a/*", "read"), "a/b/c", "a/*"},
		{"a pattern that does not end in a star wins", rules("a/+/c", "read", "a/*", "read"), "a/b/c", "a/+/c"},
		{"fewer pluses win", rules("a/+/+/*", "read", "a/+/c/*", "read"), "a/b/c/d", "a/+/c/*"},
		{"no plus wins over two at the same place", rules("a/*", "read", "a/+/+/foo/*", "read"), "a/x/y/foo/z", "a/*"},
		{"the longer wins", rules("+/b/*", "read", "+/b/c/*", "read"), "a/b/c/d", "+/b/c/*"},
		{"the lexicographically greater wins", rules("+/b/+", "read", "+/+/c", "read"), "a/b/c", "+/b/+"},
		{"a prefix may end inside a segment", rules("a/te*", "read", "a/t*", "read"), "a/team/x", "a/te*"},
		{"a star needs its slash", rules("a/b/*", "read"), "a/b", ""},
		{"a star matches an empty rest", rules("a/*", "read"), "a/", "a/*"},
		{"a plus matches one segment only", rules("a/+/c", "read"), "a/b/b/c", ""},
		{"a plus matches an empty segment", rules("a/+", "read"), "a/", "a/+"},
		{"a lone star matches everything", rules("*", "read"), "x/y", "*"},
		{"the lone star has the lowest priority but for leading pluses", rules("*", "read", "+/*", "read", "+", "read"), "x/y", "*"},
		{"a leading plus without a star beats the lone star", rules("*", "read", "+/y", "read"), "x/y", "+/y"},
		{"nothing matches", rules("a", "read"), "b", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := compile(t, tt.policy).Check(policy.Read, tt.path, nil, 0)
			if d.Pattern != tt.want || d.Allowed != (tt.want != "") {
				t.Errorf("Check(%q) = pattern %q, allowed %v; want %q", tt.path, d.Pattern, d.Allowed, tt.want)
			}
		})
	}
}

func TestListing(t *testing.T) {
	tests := []struct {
		name   string
		policy string
		allow  bool
	}{
		{"a deny on the directory's pattern", rules("m/*", "list", "m/private/*", "deny"), false},
		{"a deny on exactly the directory", rules("m/*", "list", "m/private/", "deny"), false},
		{"a deny on the name without its slash", rules("m/*", "list", "m/private", "deny"), false},
		{"a deny by segment on the name", rules("m/*", "list", "m/+", "deny"), false},
		{"a deny by segment on the directory", rules("m/*", "list", "m/+/", "deny"), false},
		{"a deny on the directory's pattern beats a grant on the name", rules("m/private", "list", "m/private/*", "deny"), false},
		{"a deny by prefix", rules("m/*", "list", "m/priv*", "deny"), false},
		{"a narrower pattern without list", rules("m/*", "list", "m/private/*", "read"), false},
		{"a grant on the name", rules("m/private", "list"), true},
		{"a grant on the directory", rules("m/private/", "list"), true},
		{"a grant on the directory beside another on the name", rules("m/private/", "list", "m/private", "read"), true},
		{"a grant on the name hides a wider pattern", rules("m/private", "read", "m/*", "list"), false},
		{"a grant by pattern", rules("m/*", "list"), true},
		{"a segment pattern for the name, where the directory has no rule", rules("m/+", "list"), true},
		{"a segment pattern for the name, where the directory has one", rules("m/+", "list", "m/*", "read"), false},
		{"a segment pattern for the directory", rules("m/+/", "list"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			acl := compile(t, tt.policy)
			for _, path := range []string{"m/private", "m/private/"} {
				if d := acl.Check(policy.List, path, nil, 0); d.Allowed != tt.allow {
					t.Errorf("LIST %s: allowed %v by %q, want %v", path, d.Allowed, d.Pattern, tt.allow)
				}
			}
		})
	}
}

func TestScanIsJudgedLikeList(t *testing.T) {
	acl := compile(t, rules("m/*", "scan", "m/private/*", "deny"))
	for _, path := range []string{"m/private", "m/private/"} {
		if d := acl.Check(policy.Scan, path, nil, 0); d.Allowed || d.Reason != policy.DeniedByRule {
			t.Errorf("SCAN %s = %+v, want denied by rule", path, d)
		}
	}
	if !acl.Check(policy.Scan, "m/open", nil, 0).Allowed || acl.Check(policy.List, "m/open", nil, 0).Allowed {
		t.Error("scan grants SCAN and not LIST")
	}
}

func TestUnion(t *testing.T) {
	acl := compile(t,
		rules("a/*", "read", "b", "read", "c/*", "update"),
		rules("a/*", "update", "b", "deny", "c/d/*", "read"))
	tests := []struct {
		path string
		want []string
	}{
		{"a/x", []string{"read", "update"}},
		{"b", []string{"deny"}},
		{"c/d/e", []string{"read"}},
		{"c/x", []string{"update"}},
		{"z", []string{"deny"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, acl.Capabilities(tt.path)); diff != "" {
			t.Errorf("Capabilities(%q): %s", tt.path, diff)
		}
	}
	if d := acl.Check(policy.Read, "a/x", nil, 0); !cmp.Equal(d.Policies, []string{"p1", "p2"}) {
		t.Errorf("policies = %v", d.Policies)
	}
	if d := acl.Check(policy.Read, "b", nil, 0); !cmp.Equal(d.Policies, []string{"p2"}) || d.Reason != policy.DeniedByRule {
		t.Errorf("a deny names the policy that denies: %+v", d)
	}
}

func TestCapabilities(t *testing.T) {
	acl := compile(t, `
path "x/*" { capabilities = ["read","list"] }
path "x/no" { capabilities = ["deny"] }
path "x/admin" { capabilities = ["sudo","update","create","delete","patch"] }
path "x/d" { capabilities = ["deny","read"] }
path "x/s" { capabilities = ["sudo"] }
path "x/p" { policy = "write" }
path "x/r" { policy = "sudo" }
path "x/none" { }
path "x/ev" { capabilities = ["subscribe","recover","scan"] }
path "y/+/m" { capabilities = ["patch","list"] }
`)
	tests := map[string][]string{
		"x/a":      {"list", "read"},
		"x/no":     {"deny"},
		"x/admin":  {"create", "delete", "patch", "sudo", "update"},
		"x/d":      {"deny"},
		"x/s":      {"sudo"},
		"x/p":      {"create", "delete", "list", "read", "update"},
		"x/r":      {"create", "delete", "list", "read", "sudo", "update"},
		"x/none":   {"deny"},
		"x/ev":     {"recover", "scan", "subscribe"},
		"y/q/m":    {"list", "patch"},
		"y/q/r/m":  {"deny"},
		"sys/seal": {"deny"},
		"":         {"deny"},
		"/":        {"deny"},
	}
	for path, want := range tests {
		if diff := cmp.Diff(want, acl.Capabilities(path)); diff != "" {
			t.Errorf("Capabilities(%q): %s", path, diff)
		}
	}
}

func TestRoot(t *testing.T) {
	acl, err := policy.Compile([]*policy.Policy{policy.Root()}, noon)
	if err != nil {
		t.Fatal(err)
	}
	d := acl.Check(policy.Delete, "sys/anything", nil, 0)
	if !acl.Root() || !d.Allowed || !d.Sudo || d.Reason != policy.GrantedToRoot {
		t.Errorf("root: %+v", d)
	}
	if diff := cmp.Diff([]string{"root"}, acl.Capabilities("x")); diff != "" {
		t.Error(diff)
	}
	text, _, err := policy.Parse("root", rules("a", "read"))
	if err != nil {
		t.Fatal(err)
	}
	if acl, err = policy.Compile([]*policy.Policy{text}, noon); err != nil || acl.Root() {
		t.Errorf("a text named root made a root policy (error %v)", err)
	}
}

func TestSampleAppService(t *testing.T) {
	text, err := os.ReadFile("testdata/app-service.hcl")
	if err != nil {
		t.Fatal(err)
	}
	app, warnings, err := policy.Parse("app-service", string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		if w.Severity != policy.Note {
			t.Errorf("unexpected warning: %s", w)
		}
	}
	def, err := policy.Default().Render(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	acl, err := policy.Compile([]*policy.Policy{app, def}, noon)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		op     policy.Op
		path   string
		params params
		want   bool
	}{
		{"its static secret", policy.Read, "secret/data/database/config", nil, true},
		{"not writing it", policy.Update, "secret/data/database/config", nil, false},
		{"its database user", policy.Read, "database/creds/app-readonly", nil, true},
		{"not another role's", policy.Read, "database/creds/admin", nil, false},
		{"a certificate of its domain", policy.Create, "pki/issue/app-tls", params{"common_name": "api.app.internal", "ttl": "24h"}, true},
		{"not of another domain", policy.Create, "pki/issue/app-tls", params{"common_name": "api.evil.example", "ttl": "24h"}, false},
		{"not for longer", policy.Create, "pki/issue/app-tls", params{"common_name": "api.app.internal", "ttl": "8760h"}, false},
		{"not with other parameters", policy.Create, "pki/issue/app-tls", params{"common_name": "api.app.internal", "alt_names": "x"}, false},
		{"the default policy still works beside the final deny", policy.Read, "auth/token/lookup-self", nil, true},
		{"its cubbyhole", policy.Update, "cubbyhole/note", nil, true},
		{"nothing else", policy.Read, "sys/mounts", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var view policy.ParamView
			if tt.params != nil {
				view = tt.params
			}
			if d := acl.Check(tt.op, tt.path, view, 0); d.Allowed != tt.want {
				t.Errorf("allowed %v by %q (%s), want %v", d.Allowed, d.Pattern, d.Reason, tt.want)
			}
		})
	}
}

func TestGrants(t *testing.T) {
	acl := compile(t, rules("b/data/*", "read", "a", "update", "c/+/d", "deny"))
	want := []policy.Grant{
		{Pattern: "a", Path: "a", Capabilities: []string{"update"}, Policies: []string{"p1"}},
		{Pattern: "b/data/*", Path: "b/data/", Glob: true, Capabilities: []string{"read"}, Policies: []string{"p1"}},
		{Pattern: "c/+/d", Path: "c/+/d", Glob: true, Capabilities: []string{"deny"}, Policies: []string{"p1"}},
	}
	if diff := cmp.Diff(want, acl.Grants()); diff != "" {
		t.Error(diff)
	}
}

func TestExpiration(t *testing.T) {
	text := `
path "a/*" { capabilities = ["read", "update"] }
path "a/b" {
  capabilities = ["delete"]
  expiration   = "2030-01-01T13:00:00Z"
}
path "a/c" {
  capabilities = ["delete"]
  expiration   = "2030-01-01T12:00:00Z"
}`
	acl := compile(t, text)
	if !acl.Check(policy.Delete, "a/b", nil, 0).Allowed {
		t.Error("a rule holds before it expires")
	}
	if d := acl.Check(policy.Delete, "a/c", nil, 0); d.Allowed || d.Pattern != "a/*" {
		t.Errorf("a rule is gone at its expiration: %+v", d)
	}
	if want := noon.Add(time.Hour); !acl.Expires().Equal(want) {
		t.Errorf("Expires = %v, want %v", acl.Expires(), want)
	}
}

func TestWrappingBounds(t *testing.T) {
	const seconds = time.Second
	minOnly := `path "a" { capabilities = ["read"] min_wrapping_ttl = "10s" }`
	both := `path "a" { capabilities = ["read"]
  min_wrapping_ttl = 10
  max_wrapping_ttl = "1m" }`
	maxOnly := `path "a" { capabilities = ["read"] max_wrapping_ttl = "5s" }`
	tests := []struct {
		name  string
		texts []string
		ttl   time.Duration
		want  bool
	}{
		{"a minimum makes wrapping mandatory", []string{minOnly}, 0, false},
		{"below the minimum", []string{minOnly}, 9 * seconds, false},
		{"at the minimum", []string{minOnly}, 10 * seconds, true},
		{"a maximum makes wrapping mandatory", []string{maxOnly}, 0, false},
		{"at the maximum", []string{both}, 60 * seconds, true},
		{"above the maximum", []string{both}, 61 * seconds, false},
		{"the lowest of each counts", []string{both, `path "a" { capabilities = ["read"] min_wrapping_ttl = 5 }`}, 5 * seconds, true},
		{"bounds that exclude each other refuse all", []string{both, maxOnly}, 5 * seconds, false},
		{"bounds that exclude each other refuse all above too", []string{both, maxOnly}, 10 * seconds, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := compile(t, tt.texts...).Check(policy.Read, "a", nil, tt.ttl)
			if d.Allowed != tt.want || (!tt.want && d.Reason != policy.WrappingRefused) {
				t.Errorf("Check = %+v, want allowed %v", d, tt.want)
			}
		})
	}
}

func TestPaginationLimit(t *testing.T) {
	acl := compile(t,
		`path "a/" { capabilities = ["list"] pagination_limit = 20 }`,
		`path "a/" { capabilities = ["list"] pagination_limit = 10 }`,
		`path "a/" { capabilities = ["list"] }`)
	if d := acl.Check(policy.List, "a", nil, 0); !d.Allowed || d.PaginationLimit != 10 {
		t.Errorf("Check = %+v, want the lowest limit", d)
	}
}

func TestCompileRefusesTemplates(t *testing.T) {
	if _, err := policy.Compile([]*policy.Policy{policy.Default()}, noon); err == nil {
		t.Error("a policy that was not rendered compiled")
	}
	if _, err := policy.Compile([]*policy.Policy{nil}, noon); err == nil {
		t.Error("a nil policy compiled")
	}
}

// params is a request's parameters.
type params map[string]any

func (p params) Names() []string {
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	return names
}

func (p params) Lookup(name string) (any, bool) { v, ok := p[name]; return v, ok }
