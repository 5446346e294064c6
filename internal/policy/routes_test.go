package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

const (
	read   = route.VerbRead
	list   = route.VerbList
	write  = route.VerbWrite
	patch  = route.VerbPatch
	remove = route.VerbDelete
)

type fields = map[string]any

// step is one request and what it must be answered with.
type step struct {
	verb   route.Verb
	path   string
	body   any
	status int
	// data is JSON, compared as a value; "" is not compared.
	data string
}

func (s *site) run(steps []step) {
	s.t.Helper()
	for i, st := range steps {
		a := s.call(st.verb, st.path, st.body)
		if a.status != st.status {
			s.t.Fatalf("step %d, %v %s: status %d (%v, %q), want %d", i, st.verb, st.path, a.status, a.err, a.warnings, st.status)
		}
		if st.data == "" {
			continue
		}
		var got, want any
		if err := json.Unmarshal([]byte(a.data), &got); err != nil {
			s.t.Fatalf("step %d, %v %s: %v", i, st.verb, st.path, err)
		}
		if err := json.Unmarshal([]byte(st.data), &want); err != nil {
			s.t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("step %d, %v %s (-want +got):\n%s", i, st.verb, st.path, diff)
		}
	}
}

func TestACLPolicyRoutes(t *testing.T) {
	const text = `path \"secret/*\" { capabilities = [\"read\", \"list\"] }`
	body := fields{"policy": strings.ReplaceAll(text, `\`, "")}
	const common = `"allow_slashes_in_identity_templates": false, "allow_wildcards_in_identity_templates": false, "cas_required": false`
	const at = `"modified": "2026-01-02T03:04:05Z"`
	newSite(t).run([]step{
		{write, "policies/acl/p", body, 204, ""},
		{read, "policies/acl/p", nil, 200, `{` + common + `, ` + at + `, "name": "p", "policy": "` + text + `", "version": 1}`},
		{write, "policies/acl/p", fields{"policy": body["policy"].(string) + "\n# more\n", "zzz": 1}, 204, ""},
		{read, "policies/acl/p", nil, 200, `{` + common + `, ` + at + `, "name": "p", "policy": "` + text + `\n# more\n", "version": 2}`},
		{write, "policies/acl/zoo", body, 204, ""},
		{list, "policies/acl", nil, 200, `{"keys": ["default", "p", "root", "zoo"]}`},
		{list, "policies/acl/", nil, 200, `{"keys": ["default", "p", "root", "zoo"]}`},
		{list, "policies/acl?after=default&limit=1", nil, 200, `{"keys": ["p"]}`},
		{read, "policies/acl/", nil, 405, ""},
		{remove, "policies/acl/zoo", nil, 204, ""},
		{remove, "policies/acl/p", nil, 204, ""},
		{read, "policies/acl/p", nil, 404, ""},
		{remove, "policies/acl/p", nil, 204, ""},
		{read, "policies/acl/root", nil, 200, `{` + common + `, "name": "root", "policy": "", "version": 0}`},
		{list, "policies/detailed/acl", nil, 200, `{"keys": ["default", "root"], "key_info": {
			"default": {` + common + `, ` + at + `, "name": "default", "version": 1},
			"root": {` + common + `, "name": "root", "version": 0}}}`},
	})
}

func TestLegacyPolicyRoutes(t *testing.T) {
	const common = `"allow_slashes_in_identity_templates": false, "allow_wildcards_in_identity_templates": false, "cas_required": false, "modified": "2026-01-02T03:04:05Z"`
	s := newSite(t)
	s.run([]step{
		{write, "policy/p", fields{"policy": `path "a" {policy="read"}`}, 204, ""},
		{read, "policy/p", nil, 200, `{` + common + `, "name": "p", "rules": "path \"a\" {policy=\"read\"}", "version": 1}`},
		{write, "policy/q", fields{"rules": `path "a" {policy="read"}`}, 204, ""},
		{read, "policy", nil, 200, `{"keys": ["default", "p", "q", "root"], "policies": ["default", "p", "q", "root"]}`},
		{list, "policy", nil, 200, `{"keys": ["default", "p", "q", "root"], "policies": ["default", "p", "q", "root"]}`},
		{remove, "policy/p", nil, 204, ""},
		{read, "policy/p", nil, 404, ""},
		{write, "policy/r", fields{}, 400, ""},
	})
	for _, e := range s.table.Endpoints() {
		if strings.HasPrefix(e.Pattern, "policy") && e.Verb <= list && !e.Flat {
			t.Errorf("%v %s does not repeat its data at the top", e.Verb, e.Pattern)
		}
	}
}

func TestRefusedPolicies(t *testing.T) {
	good := fields{"policy": `path "a" {policy="read"}`}
	newSite(t).run([]step{
		{write, "policies/acl/c", fields{"policy": `path "x" { capabilities = ["fly"] }`}, 400, ""},
		{write, "policies/acl/c", fields{"policy": "not hcl at all {"}, 400, ""},
		{write, "policies/acl/c", fields{"policy": 5}, 400, ""},
		{write, "policies/acl/c", fields{"policy": ""}, 400, ""},
		{write, "policies/acl/c", fields{}, 400, ""},
		{write, "policies/acl/root", good, 400, ""},
		{write, "policy/root", good, 400, ""},
		{write, "policies/acl/ROOT", good, 400, ""},
		{patch, "policies/acl/root", good, 400, ""},
		{remove, "policies/acl/root", nil, 400, ""},
		{remove, "policy/root", nil, 400, ""},
		{remove, "policies/acl/default", nil, 400, ""},
		{remove, "policies/acl/Default", nil, 400, ""},
		{write, "policies/acl/response-wrapping", good, 400, ""},
		{remove, "policies/acl/response-wrapping", nil, 400, ""},
		{write, "policies/acl/control-group", good, 400, ""},
		{write, "policies/acl/c", fields{"policy": good["policy"], "allow_slashes_in_identity_templates": true}, 400, ""},
		{write, "policies/acl/c", fields{"policy": good["policy"], "allow_wildcards_in_identity_templates": true}, 400, ""},
		{patch, "policies/acl/c", good, 404, ""},
		{list, "policies/acl", nil, 200, `{"keys": ["default", "root"]}`},
		{write, "policies/acl/default", good, 204, ""},
		{read, "policies/acl/response-wrapping", nil, 200, ""},
		{read, "policies/acl/control-group", nil, 404, ""},
	})
}

func TestPolicyInBase64IsKeptDecoded(t *testing.T) {
	s := newSite(t)
	const text = `path "a/*" { capabilities = ["read"] }`
	s.put("b", base64.StdEncoding.EncodeToString([]byte(text)))
	s.mustCan("read", "a/b", "b")
	if a := s.call(read, "policies/acl/b", nil); !strings.Contains(a.data, `path \"a/*\"`) {
		t.Errorf("the policy reads %s", a.data)
	}
}

func TestSuspiciousPolicyIsAcceptedWithWarning(t *testing.T) {
	s := newSite(t)
	a := s.call(write, "policies/acl/wide", fields{"policy": `path "*" { capabilities = ["read", "sudo"] }`})
	if a.status != 200 || len(a.warnings) != 2 || !strings.Contains(a.warnings[0], "every path") {
		t.Errorf("status %d, warnings %q", a.status, a.warnings)
	}
	s.mustCan("read sudo", "anything", "wide")
}

func TestCheckAndSet(t *testing.T) {
	with := func(more ...any) fields {
		f := fields{"policy": `path "a" {policy="read"}`}
		for i := 0; i < len(more); i += 2 {
			f[more[i].(string)] = more[i+1]
		}
		return f
	}
	s := newSite(t)
	s.run([]step{
		{write, "policies/acl/p", with("cas", 1), 400, ""},
		{write, "policies/acl/p", with("cas", -1, "cas_required", true), 204, ""},
		{write, "policies/acl/p", with("cas", -1), 400, ""},
		{write, "policies/acl/p", with("cas", 0), 400, ""},
		{write, "policies/acl/p", with(), 400, ""},
		{patch, "policies/acl/p", with(), 400, ""},
		{write, "policies/acl/p", with("cas", 2), 400, ""},
		{patch, "policies/acl/p", fields{"cas": 1}, 204, ""},
		{write, "policies/acl/p", with("cas", "2"), 204, ""}, // cas_required goes back to its default
		{write, "policies/acl/p", with(), 204, ""},
		{write, "policies/acl/q", with("cas", 0), 204, ""},
	})
	if a := s.call(read, "policies/acl/p", nil); !strings.Contains(a.data, `"version":4`) {
		t.Errorf("after four writes: %s", a.data)
	}
}

func TestPatchKeepsTheRest(t *testing.T) {
	s := newSite(t)
	s.run([]step{
		{write, "policies/acl/p", fields{"policy": `path "a" {policy="read"}`, "cas_required": true, "ttl": "1h"}, 204, ""},
		{patch, "policies/acl/p", fields{"cas": 1, "policy": `path "b" {policy="deny"}`}, 204, ""},
		{read, "policies/acl/p", nil, 200, `{"name": "p", "version": 2, "modified": "2026-01-02T03:04:05Z", "expiration": "2026-01-02T04:04:05Z", "cas_required": true,
			"allow_slashes_in_identity_templates": false, "allow_wildcards_in_identity_templates": false, "policy": "path \"b\" {policy=\"deny\"}"}`},
		{patch, "policies/acl/p", fields{"cas": 2, "policy": ""}, 400, ""},
	})
}

func TestPolicyExpires(t *testing.T) {
	body := func(more fields) fields {
		more["policy"] = `path "a" { capabilities = ["read"] }`
		return more
	}
	s := newSite(t)
	s.run([]step{
		{write, "policies/acl/p", body(fields{"ttl": "1h", "expiration": "2026-02-02T00:00:00Z"}), 400, ""},
		{write, "policies/acl/p", body(fields{"expiration": "2026-01-02T03:04:05Z"}), 400, ""},
		{write, "policies/acl/p", body(fields{"expiration": "soon"}), 400, ""},
		{write, "policies/acl/p", body(fields{"ttl": "-1h"}), 400, ""},
		{write, "policies/acl/default", body(fields{"ttl": "1h"}), 400, ""},
		{write, "policies/acl/ttl", body(fields{"ttl": 3600}), 204, ""},
		{write, "policies/acl/date", body(fields{"expiration": "2026-01-02T04:04:05Z"}), 204, ""},
		{write, "policies/acl/unix", body(fields{"expiration": 1767326645}), 204, ""},
	})
	names := []string{"date", "ttl", "unix"}
	s.clock.Advance(time.Hour - time.Nanosecond)
	for _, name := range names {
		s.mustCan("read", "a", name)
	}
	s.clock.Advance(time.Nanosecond)
	for _, name := range names {
		s.mustCan("deny", "a", name)
		if s.policies.Exists(rootNS, name) {
			t.Errorf("%s still exists", name)
		}
		if a := s.call(read, "policies/acl/"+name, nil); a.status != 404 {
			t.Errorf("reading %s: %d", name, a.status)
		}
	}
	s.run([]step{
		{list, "policies/acl", nil, 200, `{"keys": ["default", "root"]}`},
		{patch, "policies/acl/ttl", fields{"ttl": "1h"}, 404, ""},
		{write, "policies/acl/ttl", body(fields{"cas": -1}), 204, ""},
	})
	s.mustCan("read", "a", "ttl")
	// The write has taken the rows of the others away.
	err := s.inner.View(t.Context(), func(r store.Reader) error {
		left, err := store.Children(r, store.NewKey(rootNS, store.System, store.KindPolicy), "", 0)
		if diff := cmp.Diff([]string{"default", "ttl"}, left); diff != "" {
			t.Errorf("rows left (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPasswordPolicyRoutes(t *testing.T) {
	const text = "length = 12\nrule \"charset\" {\n  charset = \"abcdefghij\"\n  min-chars = 1\n}\n"
	quoted, _ := json.Marshal(text)
	s := newSite(t)
	s.run([]step{
		{list, "policies/password", nil, 404, ""},
		{write, "policies/password/pw", fields{"policy": text}, 204, ""},
		{read, "policies/password/pw", nil, 200, `{"policy": ` + string(quoted) + `}`},
		{read, "policies/password/pw/generate", nil, 200, ""},
		{write, "policies/password/Pw", fields{"policy": base64.StdEncoding.EncodeToString([]byte(text))}, 204, ""},
		{read, "policies/password/Pw", nil, 200, `{"policy": ` + string(quoted) + `}`},
		{list, "policies/password", nil, 200, `{"keys": ["Pw", "pw"]}`},
		{write, "policies/password/bad", fields{"policy": "length = 1"}, 400, ""},
		{write, "policies/password/bad", fields{}, 400, ""},
		{write, "policies/password/..", fields{"policy": text}, 400, ""},
		{read, "policies/password/none", nil, 404, ""},
		{read, "policies/password/none/generate", nil, 404, ""},
	})
	tests := []struct{ name, want string }{
		{"pw", `^[a-j]{12}$`},
		{"", `^[a-zA-Z0-9-]{20}$`},
	}
	for _, tt := range tests {
		got, err := s.policies.Password(t.Context(), rootNS, tt.name)
		if err != nil || !regexp.MustCompile(tt.want).MatchString(got) {
			t.Errorf("a password by %q does not match %s (%v)", tt.name, tt.want, err)
		}
	}
	for _, name := range []string{"none", "../pw", "a/b"} {
		if _, err := s.policies.Password(t.Context(), rootNS, name); statuses[fault.KindOf(err)] != 400 {
			t.Errorf("a password by %q: %v", name, err)
		}
	}
	if _, err := s.policies.Password(t.Context(), 2, "pw"); statuses[fault.KindOf(err)] != 400 {
		t.Errorf("a password by another namespace's policy: %v", err)
	}
	s.run([]step{
		{remove, "policies/password/pw", nil, 204, ""},
		{remove, "policies/password/pw", nil, 204, ""},
		{read, "policies/password/pw", nil, 404, ""},
	})
}

func TestCapabilitiesRoutes(t *testing.T) {
	s := newSite(t)
	s.put("c", `path "x/*" { capabilities = ["read","list"] }
path "x/no" { capabilities = ["deny"] }
path "x/admin" { capabilities = ["sudo","update","create","delete","patch"] }`)
	held := policy.Holder{Namespace: rootNS, Policies: []string{"c", "default", "never-written"}}
	s.tokens["text"], s.tokens["accessor"] = held, held
	s.tokens["root text"] = policy.Holder{Namespace: rootNS, Policies: []string{"root"}}
	const one = `{"capabilities": ["list", "read"], "x/a": ["list", "read"]}`
	const two = `{"x/admin": ["create", "delete", "patch", "sudo", "update"], "x/no": ["deny"]}`
	s.run([]step{
		{write, "capabilities-self", fields{"paths": []string{"anything"}}, 200, `{"anything": ["root"], "capabilities": ["root"]}`},
		{write, "capabilities", fields{"token": "text", "paths": []string{"x/a"}}, 200, one},
		{write, "capabilities", fields{"token": "text", "path": []string{"x/no", "x/admin"}}, 200, two},
		{write, "capabilities", fields{"token": "text", "paths": "x/no,x/admin"}, 200, two},
		{write, "capabilities", fields{"token": "text", "paths": []string{"zzz"}}, 200, `{"capabilities": ["deny"], "zzz": ["deny"]}`},
		{write, "capabilities", fields{"token": "root text", "paths": []string{"x"}}, 200, `{"capabilities": ["root"], "x": ["root"]}`},
		{write, "capabilities", fields{"token": "text", "paths": []string{}}, 400, ""},
		{write, "capabilities", fields{"token": "text", "paths": []string{""}}, 400, ""},
		{write, "capabilities", fields{"token": "nope", "paths": []string{"a"}}, 400, ""},
		{write, "capabilities", fields{"paths": []string{"a"}}, 400, ""},
		{write, "capabilities-accessor", fields{"accessor": "accessor", "paths": []string{"x/a"}}, 200, one},
		{write, "capabilities-accessor", fields{"accessor": "nope", "paths": []string{"a"}}, 400, ""},
		{write, "capabilities-accessor", fields{"paths": []string{"a"}}, 400, ""},
	})
	if a := s.call(write, "capabilities-accessor", fields{"accessor": "nope", "paths": "a"}); !strings.Contains(a.err.Error(), "invalid accessor") {
		t.Errorf("the answer to an unknown accessor: %v", a.err)
	}
	s.caller = route.Caller{Policies: held.Policies}
	s.run([]step{
		{write, "capabilities-self", fields{"path": "x/a"}, 200, one},
		{write, "capabilities-self", fields{"path": "x/a", "token": "root text"}, 200, one},
		{write, "capabilities-self", fields{"paths": []string{"x/admin", "x/no"}}, 200, two},
		{write, "capabilities-self", fields{}, 400, ""},
	})
}

func TestResultantACL(t *testing.T) {
	s := newSite(t)
	s.put("p", `path "kv/data/*" { capabilities = ["read"] }
path "kv/+/x" { capabilities = ["list"] }
path "kv/one" { capabilities = ["deny", "read"] }`)
	s.run([]step{{read, "internal/ui/resultant-acl", nil, 200, `{"root": true, "exact_paths": {}, "glob_paths": {}}`}})
	s.caller = route.Caller{Policies: []string{"p"}}
	s.run([]step{{read, "internal/ui/resultant-acl", nil, 200, `{"root": false,
		"exact_paths": {"kv/one": {"capabilities": ["deny"]}},
		"glob_paths": {"kv/data/": {"capabilities": ["read"]}, "kv/+/x": {"capabilities": ["list"]}}}`}})
}
