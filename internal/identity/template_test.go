package identity_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestTemplatesReadEveryValueOfTheEntity(t *testing.T) {
	s := newSite(t)
	token, bob := s.login("dir", "bob", object{"policies": "templated", "metadata": object{"dept": "from-login"}})
	s.Must(empty, post, "identity/entity/id/"+bob, object{"name": "robert", "metadata": object{"team": "blue", "with.dot": "dotted"}})
	find := s.Must(ok, post, "identity/lookup/entity", object{"id": bob}).Data()["aliases"].([]any)[0].(object)
	alias, _ := find["id"].(string)
	s.Must(ok, post, "identity/entity-alias/id/"+alias, object{"custom_metadata": object{"desk": "by-hand"}})
	group := s.make("identity/group", object{"name": "g.dotted", "member_entity_ids": []string{bob}, "metadata": object{"city": "bern"}})
	above := s.make("identity/group", object{"name": "above", "member_group_ids": []string{group}})
	other := s.make("identity/group", object{"name": "not-mine"})
	for _, tt := range []struct{ template, value string }{
		{"identity.entity.id", bob},
		{"identity.entity.name", "robert"},
		{"identity.entity.metadata.team", "blue"},
		{"identity.entity.metadata.with.dot", "dotted"},
		{"identity.entity.aliases." + s.dir + ".id", alias},
		{"identity.entity.aliases." + s.dir + ".name", "bob"},
		{"identity.entity.aliases." + s.dir + ".metadata.dept", "from-login"},
		{"identity.entity.aliases." + s.dir + ".custom_metadata.desk", "by-hand"},
		{"identity.groups.ids." + group + ".name", "g.dotted"},
		{"identity.groups.ids." + group + ".metadata.city", "bern"},
		{"identity.groups.ids." + above + ".name", "above"},
		{"identity.groups.names.g.dotted.id", group},
		{"identity.groups.names.above.id", above},
		{"identity.groups.names.g.dotted.metadata.city", "bern"},
		// What is not this entity's stands for nothing.
		{"identity.entity.metadata.none", ""},
		{"identity.entity.aliases." + s.other + ".name", ""},
		{"identity.entity.aliases." + s.dir + ".metadata.desk", ""},
		{"identity.entity.aliases." + s.dir + ".custom_metadata.dept", ""},
		{"identity.groups.ids." + other + ".name", ""},
		{"identity.groups.names.not-mine.id", ""},
		{"identity.groups.names.G.dotted.id", ""},
	} {
		s.Policy("templated", fmt.Sprintf(`path "secret/data/{{%s}}/x" { capabilities = ["create", "update"] }`, tt.template))
		want := ok
		path := tt.value
		if path == "" {
			want, path = denied, "anything"
		}
		if a := s.Do(post, "secret/data/"+path+"/x", token, object{"data": object{}}); a.Status != want {
			t.Errorf("%s: got %s, want %d", tt.template, a, want)
		}
		if a := s.Do(post, "secret/data/somebody-else/x", token, object{"data": object{}}); a.Status != denied {
			t.Errorf("%s: the path of somebody else: got %s", tt.template, a)
		}
	}
}

func TestTemplatesFollowChangesAtOnce(t *testing.T) {
	s := newSite(t)
	s.Policy("templated", `path "secret/data/{{identity.entity.metadata.team}}/x" { capabilities = ["create", "update"] }`)
	token, bob := s.login("dir", "bob", object{"policies": "templated"})
	for _, team := range []string{"red", "green", "red"} {
		s.Must(empty, post, "identity/entity/id/"+bob, object{"metadata": object{"team": team}})
		for _, path := range []string{"red", "green"} {
			want := denied
			if path == team {
				want = ok
			}
			if a := s.Do(post, "secret/data/"+path+"/x", token, object{"data": object{}}); a.Status != want {
				t.Errorf("team %s at %s: got %s, want %d", team, path, a, want)
			}
		}
	}
}

// A3, A4, A5, T18: a value that would change the shape of a path grants nothing,
// wherever it comes from, and a deny that cannot be rendered refuses everything.
func TestA3A4A5ValuesStayInTheirSegment(t *testing.T) {
	s := newSite(t)
	s.Must(ok, post, "secret/data/victim/s", object{"data": object{"v": "1"}})
	s.Policy("wide", `path "secret/data/*" { capabilities = ["create", "read", "update"] }`)
	values := []string{"a/b", "../victim", "..", ".", "+", "*", "vic*", "x,root", "{a}", "{{identity.entity.id}}", `a\b`, "%2f", "victim/s", "victim/", "/victim", "victim/*"}
	for i, value := range values {
		user := fmt.Sprintf("u%d", i)
		token, entity := s.login("dir", user, object{"policies": []string{"grants"}, "metadata": object{"k": value}})
		closed, _ := s.login("dir", user, object{"policies": []string{"denies", "wide"}, "metadata": object{"k": value}})
		s.Must(empty, post, "identity/entity/id/"+entity, object{"metadata": object{"k": value}, "name": strings.TrimSpace("e" + user)})
		aliases := s.Must(ok, get, "identity/entity/id/"+entity, nil).Data()["aliases"].([]any)
		alias := aliases[0].(object)["id"].(string)
		s.Must(ok, post, "identity/entity-alias/id/"+alias, object{"custom_metadata": object{"k": value}})
		group := s.make("identity/group", object{"name": value, "member_entity_ids": []string{entity}, "metadata": object{"k": value}})
		for _, template := range []string{
			"identity.entity.metadata.k", "identity.entity.aliases." + s.dir + ".metadata.k", "identity.entity.aliases." + s.dir + ".custom_metadata.k",
			"identity.groups.ids." + group + ".name", "identity.groups.ids." + group + ".metadata.k",
		} {
			s.Policy("grants", `path "secret/data/{{`+template+`}}/s" { capabilities = ["read"] }
path "secret/data/{{`+template+`}}" { capabilities = ["read"] }`)
			if a := s.Do(get, "secret/data/victim/s", token, nil); a.Status != denied {
				t.Errorf("%s = %q: reading of the victim: got %s", template, value, a)
			}
			if value == "%2f" {
				continue // an ordinary text here: nothing decodes it
			}
			s.Policy("denies", `path "secret/data/{{`+template+`}}/s" { capabilities = ["deny"] }`)
			if a := s.Do(get, "secret/data/victim/s", closed, nil); a.Status != denied {
				t.Errorf("%s = %q: a deny that cannot be rendered: got %s", template, value, a)
			}
		}
		s.Must(empty, del, "identity/group/id/"+group, nil)
	}
	for _, value := range []string{"a\x00b", "a\nb", "\u0085"} {
		s.Must(bad, post, "identity/entity", object{"metadata": object{"k": value}})
		s.Must(bad, post, "identity/group", object{"name": value})
	}
}

// D12: with the same name at two mounts, a template reads the alias of the mount
// that it names.
func TestD12TemplatesReadTheAliasOfTheNamedMount(t *testing.T) {
	s := newSite(t)
	token, bob := s.login("dir", "bob", object{"policies": "templated", "metadata": object{"k": "dir"}})
	s.Must(ok, post, "identity/entity-alias", object{"name": "bob", "mount_accessor": s.other, "canonical_id": bob})
	s.login("other", "bob", object{"metadata": object{"k": "other"}})
	for accessor, value := range map[string]string{s.dir: "dir", s.other: "other"} {
		s.Policy("templated", `path "secret/data/{{identity.entity.aliases.`+accessor+`.metadata.k}}" { capabilities = ["create", "update"] }`)
		for _, path := range []string{"dir", "other"} {
			want := denied
			if path == value {
				want = ok
			}
			if a := s.Do(post, "secret/data/"+path, token, object{"data": object{}}); a.Status != want {
				t.Errorf("alias at %s, path %s: got %s, want %d", value, path, a, want)
			}
		}
	}
}
