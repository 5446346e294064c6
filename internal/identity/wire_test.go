package identity_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// volatile are the members that no test can know.
func volatile() cmp.Option {
	return cmpopts.IgnoreMapEntries(func(name string, _ any) bool {
		return name == "creation_time" || name == "last_update_time"
	})
}

func (s *site) wantData(path string, want object) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.Must(ok, get, path, nil).Data(), volatile()); diff != "" {
		s.t.Errorf("GET %s: (-want +got)\n%s", path, diff)
	}
}

func entityWith(id, name string, change object) object {
	o := object{
		"aliases": []any{}, "direct_group_ids": []any{}, "disabled": false, "group_ids": []any{}, "id": id, "inherited_group_ids": []any{},
		"merged_entity_ids": nil, "metadata": nil, "name": name, "namespace_id": "root", "policies": []any{},
	}
	for k, v := range change {
		o[k] = v
	}
	return o
}

func TestEntitiesAreMadeReadChangedAndDeleted(t *testing.T) {
	s := newSite(t)
	made := s.Must(ok, post, "identity/entity", object{"name": "bob", "metadata": object{"team": "x"}, "policies": "P1,p2"}).Data()
	id, _ := made["id"].(string)
	if diff := cmp.Diff(object{"aliases": nil, "id": id, "name": "bob"}, made); diff != "" {
		t.Errorf("the answer to the write: (-want +got)\n%s", diff)
	}
	want := entityWith(id, "bob", object{"metadata": object{"team": "x"}, "policies": []any{"p1", "p2"}})
	s.wantData("identity/entity/id/"+id, want)
	s.wantData("identity/entity/name/bob", want)

	s.Must(empty, post, "identity/entity/id/"+id, object{"policies": []string{"p3"}, "disabled": true})
	s.Must(empty, post, "identity/entity/name/bob", object{"metadata": object{"k": "v"}})
	s.Must(empty, post, "identity/entity", object{"id": id, "name": "Robert"})
	s.wantData("identity/entity/name/Robert", entityWith(id, "Robert", object{"metadata": object{"k": "v"}, "policies": []any{"p3"}, "disabled": true}))
	s.Must(absent, get, "identity/entity/name/bob", nil)

	other := s.make("identity/entity", object{})
	if got := texts(s.Must(ok, list, "identity/entity/id", nil).Data()["keys"]); len(got) != 2 {
		t.Errorf("ids: got %q, want two", got)
	}
	page := s.Must(ok, get, "identity/entity/id?list=true&limit=1", nil).Data()
	first := texts(page["keys"])
	if info, _ := page["key_info"].(object); len(first) != 1 || len(info) != 1 {
		t.Fatalf("a page of one: got %v", page)
	}
	if next := texts(s.Must(ok, get, "identity/entity/id?list=true&after="+first[0], nil).Data()["keys"]); len(next) != 1 || next[0] == first[0] {
		t.Errorf("the page after %q: got %q", first, next)
	}
	s.Must(empty, post, "identity/entity/batch-delete", object{"entity_ids": []string{id, other, "gone"}})
	s.Must(absent, list, "identity/entity/id", nil)
	s.Must(absent, list, "identity/entity/name", nil)
	s.Must(empty, del, "identity/entity/id/"+id, nil)
	s.Must(empty, del, "identity/entity/name/Robert", nil)
	if rows := s.rows(); len(rows) != 0 {
		t.Errorf("rows are left behind:\n%s", strings.Join(rows, "\n"))
	}
}

func TestAliasesAreMadeFoundMovedAndDeleted(t *testing.T) {
	s := newSite(t)
	bob := s.make("identity/entity", object{"name": "bob"})
	ann := s.make("identity/entity", object{"name": "ann"})
	alias := s.make("identity/entity-alias", object{"name": "b", "canonical_id": bob, "mount_accessor": s.dir, "custom_metadata": object{"a": "b"}})
	shown := func(entity, name string) object {
		return object{
			"canonical_id": entity, "custom_metadata": object{"a": "b"}, "id": alias, "local": false, "merged_from_canonical_ids": nil, "metadata": nil,
			"mount_accessor": s.dir, "mount_path": "auth/dir/", "mount_type": "directory", "name": name,
		}
	}
	single := shown(bob, "b")
	single["namespace_id"] = "root"
	for _, path := range []string{"entity-alias", "alias", "persona"} {
		s.wantData("identity/"+path+"/id/"+alias, single)
		if got := texts(s.Must(ok, list, "identity/"+path+"/id", nil).Data()["keys"]); !cmp.Equal(got, []string{alias}) {
			t.Errorf("ids of %s: got %q", path, got)
		}
	}
	for _, by := range []object{{"id": bob}, {"name": "bob"}, {"alias_id": alias}, {"alias_name": "B", "alias_mount_accessor": s.dir}} {
		got := s.Must(ok, post, "identity/lookup/entity", by).Data()
		if diff := cmp.Diff(entityWith(bob, "bob", object{"aliases": []any{shown(bob, "b")}}), got, volatile()); diff != "" {
			t.Errorf("lookup by %v: (-want +got)\n%s", by, diff)
		}
	}
	for _, by := range []object{{"id": "x"}, {"name": "Bob"}, {"alias_id": "x"}, {"alias_name": "b", "alias_mount_accessor": s.other}} {
		s.Must(empty, post, "identity/lookup/entity", by)
	}
	saved := s.Must(ok, post, "identity/entity-alias/id/"+alias, object{"name": "bobby", "canonical_id": ann, "mount_accessor": s.dir}).Data()
	if diff := cmp.Diff(object{"id": alias, "canonical_id": ann}, saved); diff != "" {
		t.Errorf("the answer to the move: (-want +got)\n%s", diff)
	}
	s.wantData("identity/entity/name/bob", entityWith(bob, "bob", nil))
	s.wantData("identity/entity/name/ann", entityWith(ann, "ann", object{"aliases": []any{shown(ann, "bobby")}}))
	if _, entity := s.login("dir", "bobby", nil); entity != ann {
		t.Errorf("login by the moved alias: got entity %s, want %s", entity, ann)
	}
	if _, entity := s.login("other", "bobby", nil); entity == ann {
		t.Error("the same name at another mount reached the entity")
	}
	s.Must(empty, del, "identity/entity-alias/id/"+alias, nil)
	s.Must(empty, del, "identity/entity-alias/id/"+alias, nil)
	s.Must(absent, get, "identity/entity-alias/id/"+alias, nil)
}

func TestGroupsKnowTheirMembersAndEntitiesTheirGroups(t *testing.T) {
	s := newSite(t)
	bob := s.make("identity/entity", object{"name": "bob"})
	inner := s.make("identity/group", object{"name": "inner", "policies": []string{"gp"}, "member_entity_ids": []string{bob}, "metadata": object{"x": "y"}})
	outer := s.make("identity/group", object{"name": "outer", "member_group_ids": inner, "policies": []string{"pp"}})
	top := s.make("identity/group", object{"name": "top", "member_group_ids": []string{outer, inner}})
	group := func(change object) object {
		o := object{"alias": object{}, "member_entity_ids": nil, "member_group_ids": nil, "metadata": nil, "namespace_id": "root", "parent_group_ids": nil, "type": "internal"}
		for k, v := range change {
			o[k] = v
		}
		return o
	}
	parents := sorted(outer, top)
	s.wantData("identity/group/id/"+inner, group(object{"id": inner, "name": "inner", "policies": []any{"gp"}, "metadata": object{"x": "y"},
		"member_entity_ids": []any{bob}, "parent_group_ids": parents, "modify_index": 3.0}))
	s.wantData("identity/group/name/outer", group(object{"id": outer, "name": "outer", "policies": []any{"pp"},
		"member_group_ids": []any{inner}, "parent_group_ids": []any{top}, "modify_index": 2.0}))
	e := s.Must(ok, get, "identity/entity/id/"+bob, nil).Data()
	for name, want := range map[string][]any{"direct_group_ids": {inner}, "inherited_group_ids": parents, "group_ids": sorted(inner, outer, top)} {
		got := sorted(texts(e[name])...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	s.Must(empty, post, "identity/group/id/"+inner, object{"member_entity_ids": []string{}, "name": "Innermost"})
	s.wantData("identity/group/name/Innermost", group(object{"id": inner, "name": "Innermost", "policies": []any{"gp"}, "metadata": object{"x": "y"},
		"member_entity_ids": []any{}, "parent_group_ids": parents, "modify_index": 4.0}))
	info, _ := s.Must(ok, list, "identity/group/id", nil).Data()["key_info"].(object)
	if diff := cmp.Diff(object{"name": "Innermost", "num_member_entities": 0.0, "num_parent_groups": 2.0}, info[inner]); diff != "" {
		t.Errorf("key_info: (-want +got)\n%s", diff)
	}
	if got := texts(s.Must(ok, list, "identity/group/name", nil).Data()["keys"]); !cmp.Equal(got, []string{"Innermost", "outer", "top"}) {
		t.Errorf("names: got %q", got)
	}
	for _, id := range []string{top, inner, outer} {
		s.Must(empty, del, "identity/group/id/"+id, nil)
		s.Must(absent, get, "identity/group/id/"+id, nil)
	}
	s.Must(empty, del, "identity/group/name/inner", nil)
	s.Must(empty, del, "identity/entity/id/"+bob, nil)
	if rows := s.rows(); len(rows) != 0 {
		t.Errorf("rows are left behind:\n%s", strings.Join(rows, "\n"))
	}
}

func sorted(ids ...string) []any {
	o := object{}
	for _, id := range ids {
		o[id] = nil
	}
	list := []any{}
	for _, id := range keysOf(o) {
		list = append(list, id)
	}
	return list
}

func TestExternalGroupsHaveOneAlias(t *testing.T) {
	s := newSite(t)
	group := s.make("identity/group", object{"name": "eng", "type": "external", "policies": []string{"ext"}})
	alias := s.make("identity/group-alias", object{"name": "engineers", "mount_accessor": s.dir, "canonical_id": group})
	shown := object{
		"canonical_id": group, "id": alias, "merged_from_canonical_ids": nil, "metadata": nil, "mount_accessor": s.dir,
		"mount_path": "auth/dir/", "mount_type": "directory", "name": "engineers",
	}
	want := object{
		"alias": shown, "id": group, "member_entity_ids": nil, "member_group_ids": nil, "metadata": nil, "modify_index": 2.0, "name": "eng",
		"namespace_id": "root", "parent_group_ids": nil, "policies": []any{"ext"}, "type": "external",
	}
	s.wantData("identity/group/id/"+group, want)
	for _, by := range []object{{"id": group}, {"name": "eng"}, {"alias_id": alias}, {"alias_name": "engineers", "alias_mount_accessor": s.dir}} {
		if diff := cmp.Diff(want, s.Must(ok, post, "identity/lookup/group", by).Data(), volatile()); diff != "" {
			t.Errorf("lookup by %v: (-want +got)\n%s", by, diff)
		}
	}
	single := object{"custom_metadata": nil, "local": false, "namespace_id": "root"}
	for k, v := range shown {
		single[k] = v
	}
	s.wantData("identity/group-alias/id/"+alias, single)
	if got := texts(s.Must(ok, list, "identity/group-alias/id", nil).Data()["keys"]); !cmp.Equal(got, []string{alias}) {
		t.Errorf("ids: got %q", got)
	}
	s.Must(ok, post, "identity/group-alias/id/"+alias, object{"name": "devs"})
	if got := s.Must(ok, get, "identity/group-alias/id/"+alias, nil).Data()["name"]; got != "devs" {
		t.Errorf("renamed alias: got %v", got)
	}
	second := s.make("identity/group", object{"name": "ops", "type": "external"})
	s.Must(ok, post, "identity/group-alias/id/"+alias, object{"canonical_id": second})
	if got := s.Must(ok, get, "identity/group/id/"+group, nil).Data()["alias"]; !cmp.Equal(got, any(object{})) {
		t.Errorf("alias of the group it was moved from: got %v", got)
	}
	s.Must(empty, del, "identity/group-alias/id/"+alias, nil)
	s.Must(empty, del, "identity/group-alias/id/"+alias, nil)
	s.Must(absent, get, "identity/group-alias/id/"+alias, nil)
	made := s.Must(ok, post, "identity/group-alias", object{"name": "fresh", "mount_accessor": s.dir}).Data()
	for _, id := range []any{group, second, made["canonical_id"]} {
		s.Must(empty, del, "identity/group/id/"+id.(string), nil)
	}
	if rows := s.rows(); len(rows) != 0 {
		t.Errorf("rows are left behind:\n%s", strings.Join(rows, "\n"))
	}
}

func TestMergingKeepsAliasesGroupsAndTokens(t *testing.T) {
	s := newSite(t)
	s.secrets("a", "b", "team")
	one := s.make("identity/entity", object{"name": "one", "policies": []string{"a"}})
	token, two := s.login("dir", "two", nil)
	s.Must(empty, post, "identity/entity/id/"+two, object{"policies": []string{"b"}})
	s.make("identity/group", object{"name": "team", "policies": []string{"team"}, "member_entity_ids": []string{two}})
	s.wantRead(token, "b", ok)

	s.Must(empty, post, "identity/entity/merge", object{"from_entity_ids": []string{two}, "to_entity_id": one})
	got := s.Must(ok, get, "identity/entity/id/"+one, nil).Data()
	aliases, _ := got["aliases"].([]any)
	if len(aliases) != 1 || !cmp.Equal(got["merged_entity_ids"], any([]any{two})) || !cmp.Equal(texts(got["policies"]), []string{"a"}) {
		t.Errorf("the entity that stays: got %v", got)
	}
	s.Must(absent, get, "identity/entity/id/"+two, nil)
	for name, status := range map[string]int{"a": ok, "b": denied, "team": ok} {
		s.wantRead(token, name, status)
	}
	if _, entity := s.login("dir", "two", nil); entity != one {
		t.Errorf("login after the merge: got entity %s, want %s", entity, one)
	}
	// A chain of merges ends at the entity that is left.
	last := s.make("identity/entity", object{"name": "last", "policies": []string{"b"}})
	s.Must(empty, post, "identity/entity/merge", object{"from_entity_ids": []string{one}, "to_entity_id": last})
	for name, status := range map[string]int{"a": denied, "b": ok, "team": ok} {
		s.wantRead(token, name, status)
	}
	s.Must(empty, del, "identity/entity/id/"+last, nil)
	s.wantRead(token, "b", denied)
	if lines := s.Log.String(); !strings.Contains(lines, "entities were merged") {
		t.Error("the server's log does not tell of the merges")
	}
}

func TestMergingAsksWhichOfTwoAliasesStays(t *testing.T) {
	s := newSite(t)
	_, one := s.login("dir", "one", nil)
	_, two := s.login("dir", "two", nil)
	merge := object{"from_entity_ids": []string{two}, "to_entity_id": one}
	before := s.digest(one, two)
	s.Must(bad, post, "identity/entity/merge", merge)
	find := func(name string) string {
		aliases, _ := s.Must(ok, post, "identity/lookup/entity", object{"alias_name": name, "alias_mount_accessor": s.dir}).Data()["aliases"].([]any)
		id, _ := aliases[0].(object)["id"].(string)
		return id
	}
	merge["conflicting_alias_ids_to_keep"] = []string{find("one"), find("two")}
	s.Must(bad, post, "identity/entity/merge", merge)
	if s.digest(one, two) != before {
		t.Error("a refused merge has changed something")
	}
	merge["conflicting_alias_ids_to_keep"] = find("two")
	s.Must(empty, post, "identity/entity/merge", merge)
	if _, entity := s.login("dir", "two", nil); entity != one {
		t.Errorf("login by the alias that stays: got %s, want %s", entity, one)
	}
	if _, entity := s.login("dir", "one", nil); entity == one {
		t.Error("the alias that was given up still reaches the entity")
	}
}
