package identity_test

import (
	"errors"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/store"
)

// A login whose entity is known to the cache looks at next to nothing; it must
// find every change all the same.
func TestLoginsOfAKnownEntityFindWhatHasChanged(t *testing.T) {
	s := newSite(t)
	accessor := s.mount("dir2")
	group := s.make("identity/group", object{"name": "staff", "type": "external"})
	s.make("identity/group-alias", object{"name": "staff", "mount_accessor": accessor, "canonical_id": group})
	_, id := s.login("dir2", "bob", nil)
	ids := s.Gate().Identity
	bob := identity.Login{NS: store.RootNamespace, Accessor: accessor, Name: "bob"}
	// warm has the principal in the cache, as requests and logins have it.
	warm := func() {
		t.Helper()
		if _, err := ids.Principal(t.Context(), store.RootNamespace, id); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(what string, l identity.Login, wantWrite bool, wantErr error) {
		t.Helper()
		warm()
		got, write, err := ids.ForLogin(t.Context(), l)
		if !errors.Is(err, wantErr) || (write != nil) != wantWrite || err == nil && got != id {
			t.Errorf("%s: entity %q (want %q), something to write: %t, error %v", what, got, id, write != nil, err)
		}
		if write != nil {
			if _, err := s.Gate().Store.Update(t.Context(), func(tx store.Txn) error { _, err := write(tx); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	with := func(l identity.Login, metadata map[string]string, groups ...string) identity.Login {
		l.Metadata, l.Groups = metadata, groups
		return l
	}
	wants("the same again", bob, false, nil)
	wants("other metadata", with(bob, map[string]string{"city": "Bern"}), true, nil)
	wants("the same other metadata", with(bob, map[string]string{"city": "Bern"}), false, nil)
	wants("no metadata again", bob, true, nil)
	wants("a group", with(bob, nil, "staff"), true, nil)
	wants("the same group", with(bob, nil, "staff"), false, nil)
	wants("no group any more", bob, true, nil)
	wants("still no group", bob, false, nil)
	s.Must(empty, post, "identity/entity/id/"+id, object{"disabled": true})
	wants("disabled", bob, false, fault.Denied)
	s.Must(empty, post, "identity/entity/id/"+id, object{"disabled": false})
	wants("enabled again", bob, false, nil)
}
