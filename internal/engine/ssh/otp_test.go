package ssh_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestF8_PasswordsAreForOneAddressAndOneUse(t *testing.T) {
	m := mounted(t)
	m.Write("roles/o", in{"key_type": "otp", "default_user": "ubuntu", "cidr_list": "10.0.0.0/8", "exclude_cidr_list": "10.9.0.0/16", "allowed_users": "admin"})
	r := m.Write("creds/o", in{"ip": "10.1.2.3", "username": "admin"})
	password := text(t, r, "key")
	want := map[string]any{"ip": "10.1.2.3", "role_name": "o", "username": "admin"}
	if diff := cmp.Diff(want, m.Write("verify", in{"otp": password}).Map(t)); diff != "" {
		t.Error(diff) // the address itself, not the role's network
	}
	m.Fails(fault.Invalid, route.VerbWrite, "verify", in{"otp": password})
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), r.Issued.Payload); err != nil {
		t.Errorf("revoking a used password: %v", err)
	}
	for _, bad := range []in{
		{"ip": "11.0.0.1"}, {"ip": "10.9.1.1"}, {"ip": "::ffff:11.0.0.1"}, {"ip": "10.1.2.3/8"}, {"ip": ""}, {"ip": "fe80::1%eth0"},
		{"ip": "10.1.2.3", "username": "root"}, {"ip": "10.1.2.3", "username": "Admin"},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "creds/o", bad)
	}
	if got := text(t, m.Write("creds/o", in{"ip": "::ffff:10.1.2.3"}), "ip"); got != "10.1.2.3" {
		t.Errorf("the address is %s", got)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/o", in{"public_key": publicKey(t, nil)})
}

func TestRevokedPasswordsAreWorthless(t *testing.T) {
	m := mounted(t)
	m.Write("roles/o", in{"key_type": "otp", "default_user": "ubuntu", "cidr_list": "10.0.0.0/8"})
	r := m.Write("creds/o", in{"ip": "10.1.2.3"})
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), r.Issued.Payload); err != nil {
		t.Fatal(err)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "verify", in{"otp": text(t, r, "key")})
}

// TestPasswordsAreNotStored looks for a password in every row.
func TestPasswordsAreNotStored(t *testing.T) {
	m := mounted(t)
	m.Write("roles/o", in{"key_type": "otp", "default_user": "ubuntu", "cidr_list": "10.0.0.0/8"})
	r := m.Write("creds/o", in{"ip": "10.1.2.3"})
	password, found := text(t, r, "key"), 0
	err := m.Storage.View(t.Context(), func(r store.Reader) error {
		for kind := store.Kind(1); kind < 9; kind++ {
			for e, err := range r.Scan(store.Under(m.Storage.Key(kind))) {
				if err != nil {
					return err
				}
				found++
				if strings.Contains(string(e.Key), password) || strings.Contains(string(e.Value), password) {
					t.Errorf("a row of kind %d has the password", kind)
				}
			}
		}
		return nil
	})
	if err != nil || found < 3 {
		t.Errorf("%d rows, %v", found, err)
	}
	if strings.Contains(string(r.Issued.Payload), password) {
		t.Error("the lease has the password")
	}
}

func TestRolesByAddress(t *testing.T) {
	m := mounted(t)
	lookup := func(ip string) any { return m.Write("lookup", in{"ip": ip}).Map(t)["roles"] }
	m.Write("roles/ten", in{"key_type": "otp", "default_user": "a", "cidr_list": "10.0.0.0/8, 2001:db8::/32"})
	m.Write("roles/anywhere", in{"key_type": "otp", "default_user": "a", "exclude_cidr_list": "192.168.0.0/16"})
	role(m, "ca", in{"default_user": "a"})
	if diff := cmp.Diff([]any{"ten"}, lookup("10.1.1.1")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{"ten"}, lookup("2001:db8::1")); diff != "" {
		t.Error(diff)
	}
	if got := lookup("8.8.8.8"); got != nil {
		t.Errorf("roles of an address outside: %v", got)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "creds/anywhere", in{"ip": "8.8.8.8"})
	m.Fails(fault.NotFound, route.VerbRead, "config/zeroaddress", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "config/zeroaddress", in{"roles": "ca"})
	m.Write("config/zeroaddress", in{"roles": "anywhere"})
	if diff := cmp.Diff([]any{"anywhere"}, lookup("8.8.8.8")); diff != "" {
		t.Error(diff)
	}
	if got := lookup("192.168.1.1"); got != nil {
		t.Errorf("roles of an excluded address: %v", got)
	}
	m.Write("creds/anywhere", in{"ip": "8.8.8.8"})
	m.Delete("config/zeroaddress")
	m.Fails(fault.Invalid, route.VerbWrite, "creds/anywhere", in{"ip": "8.8.8.8"})
}
