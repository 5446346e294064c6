package identity_test

import (
	"strings"
	"testing"
)

// D1 and D2: no spelling of root, or of what is reserved, gets onto an entity or
// a group. D3: a refused write has changed neither storage nor memory.
func TestD1D2D3NoSpellingOfRootIsAssigned(t *testing.T) {
	s := newSite(t)
	token, bob := s.login("dir", "bob", nil)
	group := s.make("identity/group", object{"name": "g", "member_entity_ids": []string{bob}})
	before := s.digest(bob)
	spellings := []any{
		"root", "Root", "ROOT", "rOOt", " root", "root ", "\troot", "root\n", "root\x00", "\x00root", "default,root", "root,",
		[]string{"root"}, []string{" Root"}, []string{"a", "ROOT "}, []string{"root", "root"}, []string{"root/"}, []string{"../root"}, []string{"a/../root"},
		"r\u00f6ot", "\u0280oot", "ro\u043et", "ro\u2000ot", "root\u200b", "\ufeffroot", "\uff52oot", "control-group", "response-wrapping", "Response-Wrapping",
	}
	targets := []string{
		"identity/entity/id/" + bob, "identity/entity", "identity/entity/name/new", "identity/group/id/" + group, "identity/group/name/g", "identity/group",
	}
	for _, path := range targets {
		for _, policies := range spellings {
			if a := s.Do(post, path, "root", object{"id": "", "policies": policies, "name": "n"}); a.Status != bad {
				t.Errorf("POST %s with policies %q: got %s, want 400", path, policies, a)
			}
		}
	}
	if after := s.digest(bob); after != before {
		t.Error("a refused write has changed something")
	}
	got := s.MustAs(token, ok, put, "sys/capabilities-self", object{"path": "sys/mounts/x"}).Data()["capabilities"]
	if names := texts(got); len(names) != 1 || names[0] != "deny" {
		t.Errorf("capabilities: got %q, want deny", names)
	}
}

// D3: after any refusal, storage and memory are as before. D11: a write of an
// alias never joins two entities.
func TestRefusedWritesChangeNothing(t *testing.T) {
	s := newSite(t)
	_, bob := s.login("dir", "bob", nil)
	_, ann := s.login("dir", "ann", nil)
	find := func(name string) string {
		aliases, _ := s.Must(ok, post, "identity/lookup/entity", object{"alias_name": name, "alias_mount_accessor": s.dir}).Data()["aliases"].([]any)
		return aliases[0].(object)["id"].(string)
	}
	bobAlias := find("bob")
	s.Must(empty, post, "identity/entity/id/"+bob, object{"name": "bob", "policies": []string{"p"}, "metadata": object{"a": "b"}})
	s.Must(empty, post, "identity/entity/id/"+ann, object{"name": "ann"})
	inner := s.make("identity/group", object{"name": "inner", "member_entity_ids": []string{bob}})
	outer := s.make("identity/group", object{"name": "outer", "member_group_ids": []string{inner}})
	top := s.make("identity/group", object{"name": "top", "member_group_ids": []string{outer}})
	ext := s.make("identity/group", object{"name": "ext", "type": "external"})
	extAlias := s.make("identity/group-alias", object{"name": "ext", "mount_accessor": s.dir, "canonical_id": ext})
	ext2 := s.make("identity/group", object{"name": "ext2", "type": "external"})
	s.make("identity/group-alias", object{"name": "ext2", "mount_accessor": s.dir, "canonical_id": ext2})
	kv, _ := s.Must(ok, get, "sys/mounts/secret", nil).Data()["accessor"].(string)
	long, many := strings.Repeat("x", 2000), object{}
	for i := range 65 {
		many[strings.Repeat("k", i+1)] = "v"
	}

	before := s.digest(bob, ann)
	for _, tt := range []struct {
		path string
		body any
	}{
		{"entity", object{"metadata": "bad"}}, {"entity", object{"metadata": many}}, {"entity", object{"metadata": object{"k": long}}},
		{"entity", object{"metadata": object{long: "v"}}}, {"entity", object{"metadata": object{"": "v"}}}, {"entity", object{"metadata": object{"k": "a\x00b"}}},
		{"entity", object{"metadata": []int{1}}}, {"entity", object{"name": long}}, {"entity", object{"name": "a\nb"}}, {"entity", object{"name": " a"}},
		{"entity", object{"name": "BOB"}}, {"entity", object{"name": []string{"a"}}}, {"entity", object{"disabled": "perhaps"}}, {"entity", `{"name":`},
		{"entity", object{"id": "none", "name": "z"}}, {"entity/id/none", object{"name": "z"}}, {"entity/id/" + bob, object{"name": "ann"}},
		{"entity/id/" + bob, object{"name": "Ann", "policies": []string{"q"}}}, {"entity/id/" + bob, object{"disabled": true, "metadata": "bad"}},
		{"entity/id/" + bob, object{"disabled": true, "policies": []string{"root"}}}, {"entity/name/bob", object{"policies": []string{"q", ""}}},
		{"entity/name/Bob", object{"policies": []string{"q"}}}, {"entity/batch-delete", object{}},

		{"entity-alias", object{"name": "x"}}, {"entity-alias", object{"mount_accessor": s.dir}}, {"entity-alias", object{"name": "x", "mount_accessor": "nope"}},
		{"entity-alias", object{"name": "x", "mount_accessor": kv}}, {"entity-alias", object{"name": "x", "mount_accessor": s.dir, "canonical_id": "nope"}},
		{"entity-alias", object{"name": "second", "mount_accessor": s.dir, "canonical_id": bob}}, {"entity-alias", object{"name": long, "mount_accessor": s.dir}},
		{"entity-alias", object{"name": "x\x00", "mount_accessor": s.dir}}, {"entity-alias", object{"name": "x", "mount_accessor": s.dir, "custom_metadata": "bad"}},
		{"entity-alias/id/none", object{"name": "x"}}, {"entity-alias", object{"id": "none", "name": "x", "mount_accessor": s.dir}},
		// D11: the alias of one user renamed, or given another entity, to become another user.
		{"entity-alias/id/" + bobAlias, object{"name": "ann"}}, {"entity-alias/id/" + bobAlias, object{"name": "ANN"}},
		{"entity-alias/id/" + bobAlias, object{"name": "ann", "canonical_id": bob, "mount_accessor": s.dir}},
		{"entity-alias/id/" + bobAlias, object{"canonical_id": ann}}, {"entity-alias", object{"name": "ann", "mount_accessor": s.dir, "canonical_id": bob}},

		{"group", object{"name": "INNER"}}, {"group", object{"name": "x", "type": "weird"}}, {"group", object{"name": "x", "member_entity_ids": []string{"none"}}},
		{"group", object{"name": "x", "member_group_ids": []string{"none"}}}, {"group", object{"name": "x", "member_group_ids": []string{bob}}},
		{"group", object{"name": "x", "type": "external", "member_entity_ids": []string{bob}}}, {"group/id/" + ext, object{"member_group_ids": []string{inner}}},
		{"group/id/" + inner, object{"type": "external"}}, {"group/id/none", object{"name": "x"}}, {"group/id/" + inner, object{"name": "outer"}},
		{"group/id/" + inner, object{"member_group_ids": []string{inner}}}, {"group/id/" + inner, object{"member_group_ids": []string{outer}}},
		{"group/id/" + inner, object{"policies": []string{"q"}, "member_group_ids": []string{top}}}, {"group/id/" + inner, object{"member_entity_ids": []string{ann, "none"}}},
		{"group/name/top", object{"member_group_ids": []string{outer, top}}},

		{"group-alias", object{"name": "x"}}, {"group-alias", object{"name": "x", "mount_accessor": "nope"}}, {"group-alias", object{"mount_accessor": s.dir}},
		{"group-alias", object{"name": "x", "mount_accessor": s.dir, "canonical_id": "none"}}, {"group-alias", object{"name": "x", "mount_accessor": s.dir, "canonical_id": inner}},
		{"group-alias", object{"name": "x", "mount_accessor": s.dir, "canonical_id": ext}}, {"group-alias/id/none", object{"name": "x"}},
		{"group-alias/id/" + extAlias, object{"name": "ext2"}}, {"group-alias/id/" + extAlias, object{"canonical_id": ext2}},

		{"entity/merge", object{"to_entity_id": bob}}, {"entity/merge", object{"from_entity_ids": []string{bob}}},
		{"entity/merge", object{"from_entity_ids": []string{bob}, "to_entity_id": bob}}, {"entity/merge", object{"from_entity_ids": []string{ann, "none"}, "to_entity_id": bob}},
		{"entity/merge", object{"from_entity_ids": []string{ann}, "to_entity_id": "none"}}, {"entity/merge", object{"from_entity_ids": []string{ann}, "to_entity_id": bob}},

		{"lookup/entity", object{}}, {"lookup/entity", object{"alias_name": "bob"}}, {"lookup/entity", object{"id": bob, "name": "bob"}}, {"lookup/group", object{}},
		{"lookup/group", object{"alias_mount_accessor": s.dir}},
	} {
		if a := s.Do(post, "identity/"+tt.path, "root", tt.body); a.Status != bad {
			t.Errorf("POST %s %v: got %s, want 400", tt.path, tt.body, a)
		}
	}
	for path, status := range map[string]int{
		"entity/id/none": absent, "entity/name/none": absent, "entity/name/Bob": absent, "entity/id/" + strings.ToUpper(bob): absent,
		"entity-alias/id/none": absent, "group/id/none": absent, "group/name/Inner": absent, "group-alias/id/none": absent,
	} {
		s.Must(status, get, "identity/"+path, nil)
		s.Must(empty, del, "identity/"+path, nil)
	}
	if after := s.digest(bob, ann); after != before {
		t.Error("a refused write has changed something")
	}
}

// A1: a deny on the name of an entity or group cannot be got around by another
// spelling of it.
func TestA1OtherSpellingsOfANameReachNothing(t *testing.T) {
	s := newSite(t)
	for _, kind := range []string{"entity", "group"} {
		id := s.make("identity/"+kind, object{"name": "admin"})
		s.Policy("most", `path "identity/`+kind+`/name/*" { capabilities = ["create", "read", "update", "delete"] }
path "identity/`+kind+`/name/admin" { capabilities = ["deny"] }`)
		token := s.Token("most")
		before := s.digest(id)
		for _, name := range []string{"admin", "Admin", "ADMIN", "adm\u0131n", "admin%20", "%61dmin", "%41dmin", "admin%00", "./admin", "x/../admin"} {
			for _, method := range []string{get, post, del} {
				var body any
				if method == post {
					body = object{"policies": []string{"evil"}}
				}
				a := s.Do(method, "identity/"+kind+"/name/"+name, token, body)
				made := a.Status == ok && method == post && name == "adm\u0131n" // a name of its own
				if a.Status == ok && !made {
					t.Errorf("%s %s %q: got %s", method, kind, name, a)
				}
			}
		}
		if s.digest(id) != before {
			t.Errorf("the %s was changed under another spelling of its name", kind)
		}
	}
}
