package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
)

const templated = `
path "kv/{{identity.entity.id}}/*" { capabilities = ["read"] }
path "kv/team-{{ identity.entity.metadata.team }}-x" { capabilities = ["update"] }
path "kv/plain" { capabilities = ["read"] }
`

func render(t *testing.T, text string, values map[string]string) (*policy.Policy, error) {
	t.Helper()
	p, _, err := policy.Parse("p", text)
	if err != nil {
		t.Fatal(err)
	}
	return p.Render(func(name string) (string, bool) { v, ok := values[name]; return v, ok })
}

func TestRender(t *testing.T) {
	p, err := render(t, templated, map[string]string{"identity.entity.id": "e1", "identity.entity.metadata.team": "blue"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Templated() || p.Name() != "p" {
		t.Errorf("rendered policy: templated %v, name %q", p.Templated(), p.Name())
	}
	acl, err := policy.Compile([]*policy.Policy{p}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"kv/e1/a/b": true, "kv/e2/a": false, "kv/plain": true} {
		if got := acl.Check(policy.Read, path, nil, 0).Allowed; got != want {
			t.Errorf("read %s: %v, want %v", path, got, want)
		}
	}
	if !acl.Check(policy.Update, "kv/team-blue-x", nil, 0).Allowed {
		t.Error("a hole within a segment was not filled in")
	}
}

func TestRenderRefusesUnsafeValues(t *testing.T) {
	for _, v := range []string{
		"", "a/b", "../x", "..", ".", "*", "a*", "+", "a+b", "x,root", "{", "}", "{{identity.entity.id}}", `a\b`,
		"a\x00b", "a\nb", "a\tb", "a\x7fb", "a\u0085b", "\xff", strings.Repeat("x", 513),
	} {
		p, err := render(t, `path "kv/{{identity.entity.metadata.team}}" { capabilities = ["read"] }`, map[string]string{"identity.entity.metadata.team": v})
		if p != nil || !errors.Is(err, fault.Denied) {
			t.Errorf("value %q: policy %v, error %v", v, p, err)
		}
		if v != "" && len(v) > 2 && strings.Contains(err.Error(), v) {
			t.Errorf("the error repeats the value %q: %v", v, err)
		}
	}
	for _, v := range []string{"a", "a b", "ü", "a.b", "user@example.com", "%2f", "..."} {
		if _, err := render(t, `path "kv/{{identity.entity.metadata.team}}" { capabilities = ["read"] }`, map[string]string{"identity.entity.metadata.team": v}); err != nil {
			t.Errorf("value %q: %v", v, err)
		}
	}
}

func TestRenderRefusesJoinedDots(t *testing.T) {
	if p, err := render(t, `path "kv/.{{identity.entity.name}}" { capabilities = ["read"] }`, map[string]string{"identity.entity.name": "."}); err == nil {
		t.Errorf("two dots joined: %v", p.Rules())
	}
	if p, err := render(t, `path "kv/{{identity.entity.name}}{{identity.entity.id}}" { capabilities = ["read"] }`,
		map[string]string{"identity.entity.name": ".", "identity.entity.id": "."}); err == nil {
		t.Errorf("two dots joined: %v", p.Rules())
	}
}

func TestRenderWithMissingValues(t *testing.T) {
	p, err := render(t, templated, nil)
	if err != nil || len(p.Rules()) != 1 {
		t.Fatalf("grants for an identity that is not there are left out: %v, error %v", p, err)
	}
	for name, capabilities := range map[string]string{"a deny": `["deny"]`, "an empty rule": `[]`} {
		text := `path "kv/*" { capabilities = ["read"] }` + "\n" + `path "kv/{{identity.entity.id}}/x" { capabilities = ` + capabilities + ` }`
		if p, err := render(t, text, nil); err == nil {
			t.Errorf("%s that cannot be rendered was dropped: %v", name, p.Rules())
		} else if !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTemplateValues(t *testing.T) {
	for name, ok := range map[string]bool{
		"identity.entity.id":                                  true,
		"identity.entity.name":                                true,
		"identity.entity.metadata.team":                       true,
		"identity.entity.metadata.a.b":                        true,
		"identity.entity.aliases.auth_x_1.name":               true,
		"identity.entity.aliases.auth_x_1.id":                 true,
		"identity.entity.aliases.auth_x_1.metadata.k":         true,
		"identity.entity.aliases.auth_x_1.custom_metadata.k":  true,
		"identity.groups.ids.fb036ebc-2f62.name":              true,
		"identity.groups.names.ops.id":                        true,
		"identity.groups.names.ops.metadata.k":                true,
		"identity.entity":                                     false,
		"identity.entity.metadata.":                           false,
		"identity.entity.aliases.x":                           false,
		"identity.groups.ids.":                                false,
		"time.now":                                            false,
		"identity.entity.id}} {{identity.entity.unknownthing": false,
	} {
		p, _, err := policy.Parse("p", `path "kv/{{`+name+`}}" { capabilities = ["read"] }`)
		if (err == nil) != ok || (ok && !p.Templated()) {
			t.Errorf("%q: error %v, want valid %v", name, err, ok)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add("a/b")
	f.Add("+")
	f.Add("ok")
	f.Add("..")
	f.Fuzz(func(t *testing.T, v string) {
		p, _, err := policy.Parse("p", `path "kv/{{identity.entity.name}}/end" { capabilities = ["read"] }`)
		if err != nil {
			t.Fatal(err)
		}
		p, err = p.Render(func(string) (string, bool) { return v, true })
		if err != nil {
			return
		}
		acl, err := policy.Compile([]*policy.Policy{p}, noon)
		if err != nil {
			t.Fatal(err)
		}
		grants := acl.Grants()
		if len(grants) != 1 || grants[0].Glob || grants[0].Pattern != "kv/"+v+"/end" || strings.Count(grants[0].Pattern, "/") != 2 {
			t.Fatalf("value %q made the pattern %q", v, grants[0].Pattern)
		}
	})
}
