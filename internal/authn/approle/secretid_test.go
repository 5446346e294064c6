package approle_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestSecretIDsAreLookedUpListedAndDestroyed(t *testing.T) {
	m := mount(t)
	withRole(t, m, "r", object{"secret_id_ttl": "1h", "secret_id_num_uses": 2})
	secret, accessor := secretID(t, m, "r", object{"metadata": object{"k": "v"}, "cidr_list": "10.1.0.0/16", "token_bound_cidrs": "10.1.2.3/32"})
	want := object{
		"secret_id_accessor": accessor, "secret_id_num_uses": 2.0, "secret_id_ttl": 3600.0, "metadata": object{"k": "v"},
		"cidr_list": []any{"10.1.0.0/16"}, "token_bound_cidrs": []any{"10.1.2.3"},
		"creation_time": "2026-01-02T03:04:05Z", "last_updated_time": "2026-01-02T03:04:05Z", "expiration_time": "2026-01-02T04:04:05Z",
	}
	if diff := cmp.Diff(want, m.Write("role/r/secret-id/lookup", object{"secret_id": secret}).Map(t)); diff != "" {
		t.Errorf("by secret id:\n%s", diff)
	}
	if diff := cmp.Diff(want, m.Write("role/r/secret-id-accessor/lookup", object{"secret_id_accessor": accessor}).Map(t)); diff != "" {
		t.Errorf("by accessor:\n%s", diff)
	}
	if diff := cmp.Diff(object{"keys": []any{accessor}}, m.List("role/r/secret-id").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Write("role/r/secret-id/destroy", object{"secret_id": secret})
	if r := m.Write("role/r/secret-id/lookup", object{"secret_id": secret}); !r.NoContent {
		t.Error("a destroyed secret id is shown")
	}
	if r := m.Write("role/r/secret-id-accessor/lookup", object{"secret_id_accessor": accessor}); !r.Missing || r.Map(t)["error"] == "" {
		t.Error("the accessor of a destroyed secret id is shown")
	}
	m.Fails(fault.NotFound, route.VerbList, "role/r/secret-id", nil)
	m.Delete("role/r/secret-id/destroy?secret_id=" + secret)
	err := m.Fails(fault.NotFound, route.VerbDelete, "role/r/secret-id-accessor/destroy?secret_id_accessor="+accessor, nil)
	if !strings.Contains(fault.Message(err), "failed to find accessor entry") {
		t.Errorf("the text is %q", fault.Message(err))
	}
	m.Delete("role/r")
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestASecretIDBelongsToItsRoleOnly(t *testing.T) {
	m := mount(t)
	withRole(t, m, "a", nil)
	id := withRole(t, m, "b", nil)
	secret, accessor := secretID(t, m, "b", nil)
	m.Fails(fault.NotFound, route.VerbWrite, "role/a/secret-id-accessor/destroy", object{"secret_id_accessor": accessor})
	m.Write("role/a/secret-id/destroy", object{"secret_id": secret})
	if r := m.Write("role/a/secret-id-accessor/lookup", object{"secret_id_accessor": accessor}); !r.Missing {
		t.Error("role a shows an accessor of role b")
	}
	for _, path := range []string{"secret-id/lookup", "secret-id/destroy", "secret-id-accessor/lookup", "secret-id-accessor/destroy"} {
		m.Fails(fault.NotFound, route.VerbWrite, "role/none/"+path, object{"secret_id": secret, "secret_id_accessor": accessor})
		m.Fails(fault.Invalid, route.VerbWrite, "role/b/"+path, object{})
		m.Fails(fault.Invalid, route.VerbWrite, "role/B/"+path, object{"secret_id": secret, "secret_id_accessor": accessor})
	}
	m.Fails(fault.NotFound, route.VerbWrite, "role/none/secret-id", nil)
	m.Fails(fault.Invalid, route.VerbList, "role/none/secret-id", nil)
	if r := login(m, id, secret); r.Err != nil {
		t.Errorf("the secret id does not work any more: %v", r.Err)
	}
}

func TestASecretIDStaysWithinTheLimitsOfItsRole(t *testing.T) {
	m := mount(t)
	m.Settings.MaxTTL = 24 * time.Hour
	withRole(t, m, "free", nil)
	withRole(t, m, "r", object{"secret_id_ttl": "1h", "secret_id_num_uses": 5, "secret_id_bound_cidrs": "10.0.0.0/8,2001:db8::/32", "token_bound_cidrs": "10.1.0.0/16"})
	for name, c := range map[string]struct {
		role string
		body object
		ok   bool
	}{
		"the same limits":          {"r", object{"ttl": "1h", "num_uses": 5}, true},
		"longer":                   {"r", object{"ttl": "61m"}, false},
		"without end":              {"r", object{"ttl": 0}, false},
		"more uses":                {"r", object{"num_uses": 6}, false},
		"uses without limit":       {"r", object{"num_uses": 0}, false},
		"negative uses":            {"free", object{"num_uses": -1}, false},
		"blocks within":            {"r", object{"cidr_list": "10.2.0.0/16,10.3.3.3,2001:db8:1::/48", "token_bound_cidrs": "10.1.2.0/24"}, true},
		"a wider block":            {"r", object{"cidr_list": "0.0.0.0/0"}, false},
		"a wider block, v6":        {"r", object{"cidr_list": "2001::/16"}, false},
		"another block":            {"r", object{"cidr_list": "192.0.2.0/24"}, false},
		"one of two outside":       {"r", object{"cidr_list": "10.0.0.0/24,192.0.2.0/24"}, false},
		"a wider token block":      {"r", object{"token_bound_cidrs": "10.0.0.0/8"}, false},
		"any block, role has none": {"free", object{"cidr_list": "192.0.2.0/24"}, true},
		"no block":                 {"free", object{"cidr_list": "here"}, false},
	} {
		r := m.Call(route.VerbWrite, "role/"+c.role+"/secret-id", c.body)
		if (r.Err == nil) != c.ok || r.Err != nil && fault.KindOf(r.Err) != fault.Invalid {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
	if got := m.Write("role/free/secret-id", object{"ttl": "48h"}).Map(t)["secret_id_ttl"]; got != 86400.0 {
		t.Errorf("a lifetime beyond the mount's is %v", got)
	}
}

func TestLoginsComeFromWithinTheirBlocks(t *testing.T) {
	inside, outside := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("192.0.2.1")
	for name, c := range map[string]struct {
		role, secret object
		refused      fault.Kind
	}{
		"role":                   {role: object{"secret_id_bound_cidrs": "10.0.0.0/8"}, refused: fault.Invalid},
		"role without secret id": {role: object{"secret_id_bound_cidrs": "10.0.0.0/8", "bind_secret_id": false}, refused: fault.Invalid},
		"secret id":              {secret: object{"cidr_list": "10.1.2.3"}, refused: fault.Invalid},
		"role's tokens":          {role: object{"token_bound_cidrs": "10.0.0.0/8"}, refused: fault.Denied},
		"secret id's tokens":     {secret: object{"token_bound_cidrs": "10.0.0.0/8"}, refused: fault.Denied},
	} {
		t.Run(name, func(t *testing.T) {
			m := mount(t)
			id, secret := withRole(t, m, "r", c.role), ""
			if c.role["bind_secret_id"] == nil {
				secret, _ = secretID(t, m, "r", c.secret)
			}
			for _, good := range []netip.Addr{inside, netip.AddrFrom16(inside.As16())} {
				m.Remote = good
				if r := login(m, id, secret); r.Err != nil {
					t.Errorf("from %v: %v", good, r.Err)
				}
			}
			for _, bad := range []netip.Addr{outside, {}, netip.MustParseAddr("::1")} {
				m.Remote = bad
				if r := login(m, id, secret); fault.KindOf(r.Err) != c.refused {
					t.Errorf("from %v: %v, want a refusal of kind %v", bad, r.Err, c.refused)
				}
			}
			m.Remote = outside
			if r := login(m, id, "wrong"); c.role["bind_secret_id"] == nil && fault.KindOf(r.Err) != fault.Unauthenticated {
				t.Errorf("a wrong secret id from outside learns of the blocks: %v", r.Err)
			}
		})
	}
	m := mount(t)
	id := withRole(t, m, "r", object{"token_bound_cidrs": "127.0.0.0/8"})
	secret, _ := secretID(t, m, "r", object{"token_bound_cidrs": "127.0.0.1/32"})
	if got := login(m, id, secret).Login.Token.BoundCIDRs; !cmp.Equal(got, []string{"127.0.0.1"}) {
		t.Errorf("the token is bound to %v", got)
	}
}

func TestASecretIDIsGoodForItsUses(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", nil)
	secret, _ := secretID(t, m, "r", object{"num_uses": 2, "ttl": "1h"})
	m.Clock.Advance(time.Minute)
	if r := login(m, id, secret); r.Err != nil {
		t.Fatal(r.Err)
	}
	got := m.Write("role/r/secret-id/lookup", object{"secret_id": secret}).Map(t)
	if got["secret_id_num_uses"] != 1.0 || got["last_updated_time"] != "2026-01-02T03:05:05Z" {
		t.Errorf("after one use: %v", got)
	}
	if r := login(m, id, secret); r.Err != nil {
		t.Fatal(r.Err)
	}
	if err := login(m, id, secret).Err; fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("a third login: %v", err)
	}
	m.Delete("role/r")
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows are left of a used-up secret id", n)
	}
}

func TestUsesAreExactHoweverManyLoginsRunAtATime(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", nil)
	secret, _ := secretID(t, m, "r", object{"num_uses": 10})
	var good atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			switch r := login(m, id, secret); {
			case r.Err == nil:
				good.Add(1)
			case fault.KindOf(r.Err) != fault.Unauthenticated:
				t.Errorf("a login too many: %v", r.Err)
			}
		})
	}
	all.Wait()
	if n := good.Load(); n != 10 {
		t.Errorf("%d logins succeeded, want 10", n)
	}
}

func TestExpiredSecretIDsAreRemovedByThemselves(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", nil)
	bare := rows(t, m)
	late, _ := secretID(t, m, "r", object{"ttl": "3h"})
	for range 600 {
		secretID(t, m, "r", object{"ttl": "1h"})
	}
	early, _ := secretID(t, m, "r", object{"ttl": "1m"})
	if at := m.Timers()["expire"]; !at.Equal(m.Clock.Now().Add(time.Minute)) {
		t.Fatalf("the timer stands at %v", at)
	}
	m.Clock.Advance(time.Minute)
	if r := login(m, id, early); r.Err == nil {
		t.Error("a secret id works after its time, before it is removed")
	}
	if n := len(m.List("role/r/secret-id").Map(t)["keys"].([]any)); n != 601 {
		t.Errorf("%d secret ids are listed, want 601", n)
	}
	m.Advance(0)
	m.Advance(time.Hour)
	if n := rows(t, m); n != bare+3 {
		t.Errorf("%d rows, want those of the role and one secret id (%d)", n, bare+3)
	}
	if r := login(m, id, late); r.Err != nil {
		t.Errorf("a secret id that has not expired: %v", r.Err)
	}
	m.Advance(2 * time.Hour)
	if n := rows(t, m); n != bare {
		t.Errorf("%d rows, want %d", n, bare)
	}
	if n := len(m.Timers()); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

func TestADeletedRoleTakesItsSecretIDsWithIt(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", nil)
	var secrets []string
	for i := range 600 {
		secret, _ := secretID(t, m, "r", object{"ttl": fmt.Sprintf("%dm", i%2*10)})
		secrets = append(secrets, secret)
	}
	m.Delete("role/r")
	if withRole(t, m, "r", object{"role_id": id}) != id {
		t.Fatal("the role id was not taken over")
	}
	if r := login(m, id, secrets[0]); fault.KindOf(r.Err) != fault.Unauthenticated {
		t.Errorf("a secret id of the deleted role: %v", r.Err)
	}
	m.Fails(fault.NotFound, route.VerbList, "role/r/secret-id", nil)
	m.Advance(0)
	if n := rows(t, m); n != 2 {
		t.Errorf("%d rows, want the two of the new role", n)
	}
}

func TestTidyHasNothingToDo(t *testing.T) {
	m := mount(t)
	withRole(t, m, "r", nil)
	secretID(t, m, "r", object{"ttl": 1})
	m.Clock.Advance(time.Second)
	if r := m.Write("tidy/secret-id", nil); !r.Accepted || r.Warn == "" {
		t.Errorf("tidy answers %+v", r.Reply)
	}
	if n := rows(t, m); n != 2 {
		t.Errorf("%d rows, want the two of the role", n)
	}
}

func TestCustomSecretIDs(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", nil)
	withRole(t, m, "other", nil)
	m.Write("role/r/custom-secret-id", object{"secret_id": "my own", "metadata": `{"k":"v"}`, "num_uses": 3})
	if r := login(m, id, "my own"); r.Err != nil || r.Login.Metadata["k"] != "v" {
		t.Errorf("login: %v", r.Err)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "role/r/custom-secret-id", object{"secret_id": "my own"})
	m.Write("role/other/custom-secret-id", object{"secret_id": "my own"})
	m.Fails(fault.Invalid, route.VerbWrite, "role/r/custom-secret-id", object{})
	m.Fails(fault.Invalid, route.VerbWrite, "role/r/custom-secret-id", object{"secret_id": strings.Repeat("x", 5000)})
	m.Write("role/r", object{"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})
	m.Fails(fault.Invalid, route.VerbWrite, "role/r/secret-id", nil)
}

func TestSecretIDsAreNotStored(t *testing.T) {
	m := mount(t)
	withRole(t, m, "r", nil)
	secret, _ := secretID(t, m, "r", object{"ttl": "1h"})
	m.Write("role/r/custom-secret-id", object{"secret_id": "canary-canary"})
	err := m.Store.View(t.Context(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			row := append([]byte(e.Key), e.Value...)
			if bytes.Contains(row, []byte(secret)) || bytes.Contains(row, []byte("canary")) {
				t.Errorf("a row of kind %d holds a secret id", e.Key.Kind())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A value of the wrong type must not come back in the error: it may be a
// secret that landed in the wrong field.
func TestErrorsDoNotRepeatWhatWasSent(t *testing.T) {
	m := mount(t)
	withRole(t, m, "r", nil)
	for _, e := range approleWrites() {
		for _, p := range e.Input() {
			if p.In == "path" {
				continue
			}
			for _, bad := range []any{object{"canary": "canary"}, []any{object{"canary": "canary"}}, "canary canary \x00", []any{"canary canary"}} {
				body := object{p.Name: bad}
				path := strings.ReplaceAll(e.Pattern, "{role_name}", "r")
				if r := m.Call(e.Verb, path, body); r.Err != nil && strings.Contains(r.Err.Error(), "canary") {
					t.Errorf("%s, field %s: %v", path, p.Name, r.Err)
				}
			}
		}
	}
}
