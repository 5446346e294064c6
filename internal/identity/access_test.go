package identity_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPoliciesOfEntityAndGroupsAddToTheToken(t *testing.T) {
	s := newSite(t)
	s.secrets("entity", "group", "above")
	for _, kind := range []string{"service", "batch"} {
		t.Run(kind, func(t *testing.T) {
			user := "bob-" + kind
			token, bob := s.login("dir", user, object{"type": kind})
			want := func(entity, group, above int) {
				t.Helper()
				s.wantRead(token, "entity", entity)
				s.wantRead(token, "group", group)
				s.wantRead(token, "above", above)
			}
			want(denied, denied, denied)
			s.Must(empty, post, "identity/entity/id/"+bob, object{"policies": []string{"entity"}})
			want(ok, denied, denied)
			group := s.make("identity/group", object{"name": "group-" + kind, "policies": []string{"group"}, "member_entity_ids": []string{bob}})
			want(ok, ok, denied)
			above := s.make("identity/group", object{"name": "above-" + kind, "policies": []string{"above"}, "member_group_ids": []string{group}})
			want(ok, ok, ok)

			auth := s.loginAuth("dir", user, nil)
			if got := texts(auth["identity_policies"]); !cmp.Equal(got, []string{"above", "entity", "group"}) {
				t.Errorf("identity_policies of a login: got %q", got)
			}
			if got := texts(auth["policies"]); !cmp.Equal(got, []string{"above", "default", "entity", "group"}) {
				t.Errorf("policies of a login: got %q", got)
			}
			if got := texts(auth["token_policies"]); !cmp.Equal(got, []string{"default"}) {
				t.Errorf("token_policies of a login: got %q", got)
			}
			self := s.MustAs(token, ok, get, "auth/token/lookup-self", nil).Data()
			if got := texts(self["identity_policies"]); !cmp.Equal(got, []string{"above", "entity", "group"}) || !cmp.Equal(self["external_namespace_policies"], any(object{})) {
				t.Errorf("lookup-self: got %v", self)
			}

			s.Must(empty, post, "identity/group/id/"+above, object{"policies": []string{}})
			want(ok, ok, denied)
			s.Must(empty, post, "identity/group/id/"+above, object{"policies": []string{"above"}})
			want(ok, ok, ok)
			s.Must(empty, post, "identity/entity/id/"+bob, object{"policies": []string{}})
			want(denied, ok, ok)
		})
	}
}

// D13: whoever is taken out of a group has lost its rights with the next request.
func TestD13NoRightsOutliveTheMembership(t *testing.T) {
	s := newSite(t)
	s.secrets("above")
	for name, remove := range map[string]func(bob, group, above string){
		"the entity is removed": func(_, group, _ string) {
			s.Must(empty, post, "identity/group/id/"+group, object{"member_entity_ids": []string{}})
		},
		"the group is removed from the group above": func(_, _, above string) {
			s.Must(empty, post, "identity/group/id/"+above, object{"member_group_ids": []string{}})
		},
		"the group is deleted":           func(_, group, _ string) { s.Must(empty, del, "identity/group/id/"+group, nil) },
		"the group above is deleted":     func(_, _, above string) { s.Must(empty, del, "identity/group/id/"+above, nil) },
		"the entity is deleted":          func(bob, _, _ string) { s.Must(empty, del, "identity/entity/id/"+bob, nil) },
		"the entity is deleted in batch": func(bob, _, _ string) { s.Must(empty, post, "identity/entity/batch-delete", object{"entity_ids": bob}) },
		"the entity is disabled": func(bob, _, _ string) {
			s.Must(empty, post, "identity/entity/id/"+bob, object{"disabled": true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(name, " ", "-")
			token, bob := s.login("dir", user, nil)
			group := s.make("identity/group", object{"name": "group " + user, "member_entity_ids": []string{bob}})
			above := s.make("identity/group", object{"name": "above " + user, "policies": []string{"above"}, "member_group_ids": []string{group}})
			s.wantRead(token, "above", ok)
			remove(bob, group, above)
			s.wantRead(token, "above", denied)
		})
	}
}

func TestTokensOfADisabledOrDeletedEntityAreRefused(t *testing.T) {
	s := newSite(t)
	token, bob := s.login("dir", "bob", nil)
	accessor, _ := s.MustAs(token, ok, get, "auth/token/lookup-self", nil).Data()["accessor"].(string)
	s.Must(empty, post, "identity/entity/id/"+bob, object{"disabled": true})
	s.MustAs(token, denied, get, "auth/token/lookup-self", nil)
	s.MustAs(token, denied, post, "auth/token/renew-self", object{})
	s.MustAs(token, denied, put, "sys/capabilities-self", object{"path": "sys/health"})
	s.Must(denied, post, "auth/token/renew-accessor", object{"accessor": accessor})
	s.Must(bad, post, "sys/capabilities-accessor", object{"accessor": accessor, "path": "sys/health"})
	if a := s.Do(post, "auth/dir/login/bob", "", object{}); a.Status != denied {
		t.Errorf("login of a disabled entity: got %s", a)
	}
	s.Must(empty, post, "identity/entity/id/"+bob, object{"disabled": false})
	s.MustAs(token, ok, get, "auth/token/lookup-self", nil)
	s.Must(ok, post, "auth/token/renew-accessor", object{"accessor": accessor})

	s.Must(empty, del, "identity/entity/id/"+bob, nil)
	s.MustAs(token, denied, get, "auth/token/lookup-self", nil)
	s.Must(denied, post, "auth/token/renew-accessor", object{"accessor": accessor})
	if _, again := s.login("dir", "bob", nil); again == bob || again == "" {
		t.Errorf("login after the deletion: got entity %q, want a new one", again)
	}
	s.MustAs(token, denied, get, "auth/token/lookup-self", nil)
}

func TestCapabilitiesAndChildrenSeeTheEntity(t *testing.T) {
	s := newSite(t)
	s.secrets("group")
	token, bob := s.login("dir", "bob", nil)
	s.Policy("makes", `path "auth/token/create" { capabilities = ["update"] }`)
	s.make("identity/group", object{"name": "g", "policies": []string{"group", "makes"}, "member_entity_ids": []string{bob}})
	want := func(a object) {
		t.Helper()
		if got := texts(a["secret/data/group"]); !cmp.Equal(got, []string{"read"}) {
			t.Errorf("capabilities: got %q, want read", got)
		}
	}
	path := "secret/data/group"
	accessor := s.MustAs(token, ok, get, "auth/token/lookup-self", nil).Data()["accessor"]
	want(s.MustAs(token, ok, put, "sys/capabilities-self", object{"path": path}).Data())
	want(s.Must(ok, put, "sys/capabilities", object{"path": path, "token": token}).Data())
	want(s.Must(ok, put, "sys/capabilities-accessor", object{"path": path, "accessor": accessor}).Data())
	exact, _ := s.MustAs(token, ok, get, "sys/internal/ui/resultant-acl", nil).Data()["exact_paths"].(object)
	if exact[path] == nil {
		t.Errorf("resultant-acl: got %v, want %s among them", keysOf(exact), path)
	}
	mounts, _ := s.MustAs(token, ok, get, "sys/internal/ui/mounts", nil).Data()["secret"].(object)
	if mounts["secret/"] == nil {
		t.Errorf("sys/internal/ui/mounts: got %v, want secret/ among them", keysOf(mounts))
	}
	child := s.MustAs(token, ok, post, "auth/token/create", object{"ttl": "1h"}).JSON()["auth"].(object)
	if child["entity_id"] != any(bob) || !cmp.Equal(texts(child["identity_policies"]), []string{"group", "makes"}) {
		t.Errorf("a child token: got %v", child)
	}
	s.wantRead(child["client_token"].(string), "group", ok)
}

func TestAuditTellsThePoliciesOfTheEntity(t *testing.T) {
	s := newSite(t)
	s.secrets("entity")
	token, bob := s.login("dir", "bob", nil)
	s.Must(empty, post, "identity/entity/id/"+bob, object{"policies": []string{"entity"}})
	s.wantRead(token, "entity", ok)
	s.login("dir", "bob", nil)
	lines := s.auditLines(`"identity_policies":["entity"]`)
	if len(lines) < 3 {
		t.Fatalf("%d entries have the entity's policies, want the read's two and the login's answer", len(lines))
	}
	auth, _ := lines[0]["auth"].(object)
	if !cmp.Equal(texts(auth["policies"]), []string{"default", "entity"}) || !cmp.Equal(texts(auth["token_policies"]), []string{"default"}) || auth["entity_id"] != any(bob) {
		t.Errorf("auth of the entry: got %v", auth)
	}
}

func TestExternalGroupsFollowLoginsAndRenewals(t *testing.T) {
	s := newSite(t)
	s.secrets("ops", "dev", "all")
	group := func(name string) string {
		id := s.make("identity/group", object{"name": name, "type": "external", "policies": []string{name}})
		s.make("identity/group-alias", object{"name": name, "mount_accessor": s.dir, "canonical_id": id})
		return id
	}
	ops := group("ops")
	group("dev")
	s.make("identity/group", object{"name": "all", "policies": []string{"all"}, "member_group_ids": []string{ops}})
	want := func(token string, statusOps, statusDev, statusAll int) {
		t.Helper()
		s.wantRead(token, "ops", statusOps)
		s.wantRead(token, "dev", statusDev)
		s.wantRead(token, "all", statusAll)
	}
	s.directory.put("bob", "ops", "unmapped")
	auth := s.loginAuth("dir", "bob", nil)
	token, bob := auth["client_token"].(string), auth["entity_id"].(string)
	if got := texts(auth["identity_policies"]); !cmp.Equal(got, []string{"all", "ops"}) {
		t.Errorf("identity_policies of the first login: got %q", got)
	}
	want(token, ok, denied, ok)
	if got := texts(s.Must(ok, get, "identity/group/id/"+ops, nil).Data()["member_entity_ids"]); !cmp.Equal(got, []string{bob}) {
		t.Errorf("members: got %q", got)
	}

	s.directory.put("bob", "DEV")
	want(token, ok, denied, ok) // nobody has asked the directory yet
	s.MustAs(token, ok, post, "auth/token/renew-self", object{})
	want(token, denied, ok, denied)

	s.directory.put("bob", "ops", "dev")
	other, _ := s.login("dir", "bob", nil)
	want(token, ok, ok, ok)
	want(other, ok, ok, ok)

	// The user of the same name at another mount is somebody else there.
	stranger, _ := s.login("other", "bob", nil)
	want(stranger, denied, denied, denied)
	want(token, ok, ok, ok)

	s.directory.put("bob")
	s.login("dir", "bob", object{"type": "batch"})
	want(token, denied, denied, denied)
}

// D13 for external groups: what was mapped ends with the mapping.
func TestD13NoRightsOutliveTheMapping(t *testing.T) {
	s := newSite(t)
	s.secrets("ops")
	for name, unmap := range map[string]func(group, alias string){
		"deleted": func(_, alias string) { s.Must(empty, del, "identity/group-alias/id/"+alias, nil) },
		"deleted and made again": func(group, alias string) {
			s.Must(empty, del, "identity/group-alias/id/"+alias, nil)
			s.make("identity/group-alias", object{"name": "a deleted and made again", "mount_accessor": s.dir, "canonical_id": group})
		},
		"renamed": func(_, alias string) { s.Must(ok, post, "identity/group-alias/id/"+alias, object{"name": "new"}) },
		"at another mount": func(_, alias string) {
			s.Must(ok, post, "identity/group-alias/id/"+alias, object{"mount_accessor": s.other})
		},
		"of another group": func(_, alias string) {
			other := s.make("identity/group", object{"type": "external"})
			s.Must(ok, post, "identity/group-alias/id/"+alias, object{"canonical_id": other})
		},
	} {
		t.Run(name, func(t *testing.T) {
			group := s.make("identity/group", object{"name": name, "type": "external", "policies": []string{"ops"}})
			alias := s.make("identity/group-alias", object{"name": "a " + name, "mount_accessor": s.dir, "canonical_id": group})
			user := strings.ReplaceAll(name, " ", "-")
			s.directory.put(user, "a "+name)
			token, _ := s.login("dir", user, nil)
			s.wantRead(token, "ops", ok)
			unmap(group, alias)
			s.wantRead(token, "ops", denied)
			if got := texts(s.Must(ok, get, "identity/group/id/"+group, nil).Data()["member_entity_ids"]); len(got) > 0 {
				t.Errorf("members: got %q, want none", got)
			}
		})
	}
}

// Section 4, row 15: however many logins of a new user there are at a time, one
// entity stands behind them, and one alias.
func TestFirstLoginsOfOneUserMakeOneEntity(t *testing.T) {
	s := newSite(t)
	const logins = 50
	entities := make([]string, logins)
	var group sync.WaitGroup
	for i := range logins {
		group.Go(func() {
			user := "carol"
			if i%2 == 1 {
				user = "Carol" // the same, in another case
			}
			a := s.Do(post, "auth/dir/login/"+user, "", object{"metadata": object{"i": fmt.Sprint(i % 3)}})
			auth, _ := a.JSON()["auth"].(object)
			entities[i], _ = auth["entity_id"].(string)
		})
	}
	group.Wait()
	for i, id := range entities {
		if id == "" || id != entities[0] {
			t.Fatalf("login %d: got entity %q, the first one has %q", i, id, entities[0])
		}
	}
	if got := texts(s.Must(ok, list, "identity/entity/id", nil).Data()["keys"]); len(got) != 1 {
		t.Errorf("entities: got %q, want one", got)
	}
	if got := texts(s.Must(ok, list, "identity/entity-alias/id", nil).Data()["keys"]); len(got) != 1 {
		t.Errorf("aliases: got %q, want one", got)
	}
}

// Section 4, row 16: a login that says nothing new writes nothing, and one that
// says something else replaces what the last one said.
func TestLoginsMakeNoNewRows(t *testing.T) {
	s := newSite(t)
	_, bob := s.login("dir", "bob", object{"metadata": object{"pod": "1"}})
	before := s.rows()
	for range 5 {
		s.login("dir", "bob", object{"metadata": object{"pod": "1"}})
	}
	if diff := cmp.Diff(before, s.rows()); diff != "" {
		t.Errorf("the same login again: (-before +after)\n%s", diff)
	}
	for i := range 20 {
		s.login("dir", "bob", object{"metadata": object{"pod": fmt.Sprint(i)}})
	}
	if got := len(s.rows()); got != len(before) {
		t.Errorf("rows after logins with other metadata: got %d, want %d", got, len(before))
	}
	alias, _ := s.Must(ok, get, "identity/entity/id/"+bob, nil).Data()["aliases"].([]any)[0].(object)
	if !cmp.Equal(alias["metadata"], any(object{"pod": "19"})) {
		t.Errorf("metadata: got %v", alias["metadata"])
	}
}
