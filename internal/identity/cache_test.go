package identity_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/store"
)

// A change is in force when the write of it has been answered, however many
// requests fill the cache meanwhile.
func TestNoRequestSeesWhatWasBeforeAnAnsweredWrite(t *testing.T) {
	s := newSite(t)
	bob := s.make("identity/entity", object{"name": "bob"})
	group := s.make("identity/group", object{"name": "g", "member_entity_ids": []string{bob}})
	above := s.make("identity/group", object{"name": "above", "member_group_ids": []string{group}})
	ids := s.Gate().Identity
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.Gosched()
				}
				if _, err := ids.Principal(t.Context(), store.RootNamespace, bob); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	has := func(name string) bool {
		t.Helper()
		p, err := ids.Principal(t.Context(), store.RootNamespace, bob)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(p.Policies(), name)
	}
	for i := range 40 {
		name := fmt.Sprint("p", i)
		for _, path := range []string{"entity/id/" + bob, "group/id/" + group, "group/id/" + above} {
			s.Must(empty, post, "identity/"+path, object{"policies": []string{name}})
			if !has(name) {
				t.Errorf("%s: a policy is not there after the write", path)
			}
			s.Must(empty, post, "identity/"+path, object{"policies": []string{}})
			if has(name) {
				t.Errorf("%s: a policy is there after the write that took it away", path)
			}
		}
		s.Must(empty, post, "identity/group/id/"+above, object{"policies": []string{"member"}})
		s.Must(empty, post, "identity/group/id/"+group, object{"member_entity_ids": []string{}})
		if has("member") {
			t.Error("a policy of the group is there after the removal from it")
		}
		s.Must(empty, post, "identity/group/id/"+group, object{"member_entity_ids": []string{bob}})
		if !has("member") {
			t.Error("a policy of the group is not there after the joining")
		}
	}
	close(stop)
	readers.Wait()
}
