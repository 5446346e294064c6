package ssh_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/ssh"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// in is a request's body.
type in = map[string]any

// mounted mounts the engine at the present time, with an issuer.
func mounted(t *testing.T) *enginetest.Mount {
	t.Helper()
	m := enginetest.New(t, ssh.Type.Routes, ssh.Type.New)
	m.Clock.Advance(time.Since(m.Clock.Now()))
	m.Write("config/ca", in{"key_type": "ed25519"})
	return m
}

func text(t *testing.T, r enginetest.Result, name string) string {
	t.Helper()
	s, ok := r.Map(t)[name].(string)
	if !ok {
		t.Fatalf("the answer has no text %q: %s", name, r.Data)
	}
	return s
}

// publicKey makes a user's key pair and returns its public half.
func publicKey(t *testing.T, key any) string {
	t.Helper()
	if key == nil {
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = public
	}
	k, err := gossh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(gossh.MarshalAuthorizedKey(k))
}

// role writes a role that signs for users, with more settings.
func role(m *enginetest.Mount, name string, more in) {
	body := in{"key_type": "ca", "allow_user_certificates": true}
	for k, v := range more {
		body[k] = v
	}
	m.Write("roles/"+name, body)
}

// certificate signs with a role and parses what comes.
func certificate(t *testing.T, m *enginetest.Mount, role string, body in) *gossh.Certificate {
	t.Helper()
	if body["public_key"] == nil {
		body["public_key"] = publicKey(t, nil)
	}
	r := m.Write("sign/"+role, body)
	k, _, _, _, err := gossh.ParseAuthorizedKey([]byte(text(t, r, "signed_key")))
	if err != nil {
		t.Fatal(err)
	}
	c, ok := k.(*gossh.Certificate)
	if !ok {
		t.Fatalf("signed a %T", k)
	}
	if fmt.Sprintf("%x", c.Serial) != text(t, r, "serial_number") {
		t.Errorf("serial number %s, in the certificate %x", text(t, r, "serial_number"), c.Serial)
	}
	return c
}

func TestF7_Principals(t *testing.T) {
	for _, tt := range []struct {
		name    string
		role    in
		asked   string
		want    []string
		refused bool
	}{
		{name: "the default", role: in{"default_user": "app"}, want: []string{"app"}},
		{name: "the default by name", role: in{"default_user": "app"}, asked: "app", want: []string{"app"}},
		{name: "one that is allowed", role: in{"allowed_users": "a, b"}, asked: "b", want: []string{"b"}},
		{name: "several", role: in{"allowed_users": "a,b", "default_user": "c"}, asked: "a,c", want: []string{"a", "c"}},
		{name: "any", role: in{"allowed_users": "*"}, asked: "x,y", want: []string{"x", "y"}},
		{name: "a default that looks like any", role: in{"default_user": "*"}, asked: "root", refused: true},
		{name: "one that is not allowed", role: in{"allowed_users": "a"}, asked: "b", refused: true},
		{name: "one of several that is not", role: in{"allowed_users": "a"}, asked: "a,root", refused: true},
		{name: "another case", role: in{"allowed_users": "a"}, asked: "A", refused: true},
		{name: "nobody is allowed", role: in{}, asked: "a", refused: true},
		{name: "none at all", role: in{"allowed_users": "a"}, refused: true},
		{name: "none, of any", role: in{"allowed_users": "*"}, refused: true},
		{name: "only commas", role: in{"allowed_users": "*"}, asked: " , ", refused: true},
		{name: "none, with the role's word", role: in{"allow_empty_principals": true}},
		{name: "a template", role: in{"allowed_users": "{{identity.entity.name}}", "allowed_users_template": true}, asked: "alice", want: []string{"alice"}},
		{name: "somebody else by a template", role: in{"allowed_users": "{{identity.entity.name}}", "allowed_users_template": true}, asked: "bob", refused: true},
		{name: "a template of what is not known", role: in{"allowed_users": "{{identity.entity.metadata.none}}", "allowed_users_template": true}, asked: "", refused: true},
		{name: "a template that is none", role: in{"allowed_users": "{{identity.entity.name}}"}, asked: "alice", refused: true},
		{name: "the default by a template", role: in{"default_user": "{{identity.entity.name}}", "default_user_template": true}, want: []string{"alice"}},
		{name: "a template with a list in it", role: in{"allowed_users": "{{identity.entity.metadata.list}}", "allowed_users_template": true}, asked: "root", refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mounted(t)
			m.Caller.EntityID = "1"
			m.Values = map[string]string{"identity.entity.name": "alice", "identity.entity.metadata.list": "a,root"}
			role(m, "r", tt.role)
			body := in{"valid_principals": tt.asked, "public_key": publicKey(t, nil)}
			if tt.refused {
				m.Fails(fault.Invalid, route.VerbWrite, "sign/r", body)
				body["key_type"] = "ed25519"
				m.Fails(fault.Invalid, route.VerbWrite, "issue/r", body)
				return
			}
			if diff := cmp.Diff(tt.want, certificate(t, m, "r", body).ValidPrincipals); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTemplatesNeedAnIdentity(t *testing.T) {
	m := mounted(t) // the caller has no entity
	role(m, "r", in{"default_user": "{{identity.entity.name}}", "default_user_template": true})
	role(m, "x", in{"default_user": "a", "default_extensions_template": true, "default_extensions": in{"login@example.org": "{{identity.entity.name}}"}})
	for _, name := range []string{"r", "x"} {
		m.Fails(fault.Invalid, route.VerbWrite, "sign/"+name, in{"public_key": publicKey(t, nil)})
	}
	m.Caller.EntityID, m.Values = "1", map[string]string{"identity.entity.name": "alice"}
	if c := certificate(t, m, "x", in{}); c.Extensions["login@example.org"] != "alice" {
		t.Errorf("extensions %v", c.Extensions)
	}
}

func TestHosts(t *testing.T) {
	for _, tt := range []struct {
		name string
		role in
		host string
		ok   bool
	}{
		{"below a domain", in{"allowed_domains": "example.org", "allow_subdomains": true}, "a.example.org", true},
		{"in another case", in{"allowed_domains": "Example.org", "allow_subdomains": true}, "a.EXAMPLE.org", true},
		{"the domain itself", in{"allowed_domains": "example.org", "allow_subdomains": true}, "example.org", false},
		{"the domain itself, allowed", in{"allowed_domains": "example.org", "allow_bare_domains": true}, "example.org", true},
		{"below, where only the domain is", in{"allowed_domains": "example.org", "allow_bare_domains": true}, "a.example.org", false},
		{"a name that ends alike", in{"allowed_domains": "example.org", "allow_subdomains": true}, "evilexample.org", false},
		{"only a dot before", in{"allowed_domains": "example.org", "allow_subdomains": true}, ".example.org", false},
		{"a pattern", in{"allowed_domains": "example.org", "allow_subdomains": true}, "*.example.org", false},
		{"a pattern of one letter", in{"allowed_domains": "example.org", "allow_subdomains": true}, "?.example.org", false},
		{"anything", in{"allowed_domains": "*"}, "h", true},
		{"nothing is allowed", in{}, "h", false},
		{"neither flag", in{"allowed_domains": "example.org"}, "example.org", false},
		{"a user's name", in{"allowed_users": "root", "default_user": "root"}, "root", false},
		{"a template", in{"allowed_domains": "{{identity.entity.name}}.example.org", "allowed_domains_template": true, "allow_subdomains": true}, "h.alice.example.org", true},
		{"somebody else's by a template", in{"allowed_domains": "{{identity.entity.name}}.example.org", "allowed_domains_template": true, "allow_subdomains": true}, "h.bob.example.org", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mounted(t)
			m.Caller.EntityID, m.Values = "1", map[string]string{"identity.entity.name": "alice"}
			tt.role["allow_host_certificates"], tt.role["allow_user_certificates"] = true, false
			role(m, "h", tt.role)
			body := in{"cert_type": "host", "valid_principals": tt.host, "public_key": publicKey(t, nil)}
			if !tt.ok {
				m.Fails(fault.Invalid, route.VerbWrite, "sign/h", body)
				return
			}
			if c := certificate(t, m, "h", body); c.CertType != gossh.HostCert || !cmp.Equal(c.ValidPrincipals, []string{tt.host}) || len(c.Extensions) != 0 {
				t.Errorf("signed %+v", c)
			}
		})
	}
	m := mounted(t)
	role(m, "h", in{"allow_host_certificates": true, "allow_user_certificates": false, "allowed_domains": "*"})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/h", in{"cert_type": "host", "public_key": publicKey(t, nil)})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/h", in{"cert_type": "user", "valid_principals": "a", "public_key": publicKey(t, nil)})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/h", in{"cert_type": "both", "valid_principals": "a", "public_key": publicKey(t, nil)})
}

func TestLifetimes(t *testing.T) {
	m := mounted(t)
	m.Settings.DefaultTTL, m.Settings.MaxTTL = 2*time.Hour, 4*time.Hour
	for _, tt := range []struct {
		role    in
		asked   string
		want    time.Duration
		refused bool
	}{
		{role: in{}, want: 2 * time.Hour},
		{role: in{"ttl": "30m"}, want: 30 * time.Minute},
		{role: in{"ttl": "30m", "max_ttl": "1h"}, asked: "1h", want: time.Hour},
		{role: in{"ttl": "30m", "max_ttl": "1h"}, asked: "61m", refused: true},
		{role: in{"max_ttl": "1h"}, want: time.Hour},
		{role: in{"ttl": "20h", "max_ttl": "20h"}, want: 4 * time.Hour},
		{role: in{"max_ttl": "20h"}, asked: "5h", refused: true},
	} {
		tt.role["default_user"], tt.role["not_before_duration"] = "a", "1m"
		role(m, "r", tt.role)
		body := in{"ttl": tt.asked, "public_key": publicKey(t, nil)}
		if tt.refused {
			m.Fails(fault.Invalid, route.VerbWrite, "sign/r", body)
			continue
		}
		c := certificate(t, m, "r", body)
		now := m.Clock.Now().Unix()
		if int64(c.ValidBefore)-now != int64(tt.want.Seconds()) || now-int64(c.ValidAfter) != 60 {
			t.Errorf("%v: valid from %d to %d seconds", tt.role, int64(c.ValidAfter)-now, int64(c.ValidBefore)-now)
		}
	}
}

func TestExtensionsAndOptions(t *testing.T) {
	m := mounted(t)
	role(m, "r", in{
		"default_user": "a", "allowed_extensions": "permit-pty,permit-port-forwarding", "default_extensions": in{"permit-pty": ""},
		"allowed_critical_options": "force-command", "default_critical_options": in{"source-address": "10.0.0.0/8"},
	})
	c := certificate(t, m, "r", in{})
	if !cmp.Equal(c.Extensions, map[string]string{"permit-pty": ""}) || !cmp.Equal(c.CriticalOptions, map[string]string{"source-address": "10.0.0.0/8"}) {
		t.Errorf("by default %v, %v", c.Extensions, c.CriticalOptions)
	}
	c = certificate(t, m, "r", in{"extensions": in{"permit-port-forwarding": ""}, "critical_options": in{"force-command": "ls"}})
	if !cmp.Equal(c.Extensions, map[string]string{"permit-port-forwarding": ""}) || !cmp.Equal(c.CriticalOptions, map[string]string{"force-command": "ls"}) {
		t.Errorf("asked for %v, %v", c.Extensions, c.CriticalOptions)
	}
	role(m, "none", in{"default_user": "a"})
	for _, bad := range []in{
		{"extensions": in{"permit-agent-forwarding": ""}}, {"extensions": in{"permit-pty": "", "x": ""}}, {"critical_options": in{"verify-required": ""}},
	} {
		bad["public_key"] = publicKey(t, nil)
		m.Fails(fault.Invalid, route.VerbWrite, "sign/r", bad)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/none", in{"public_key": publicKey(t, nil), "extensions": in{"permit-pty": ""}})
}

func TestKeyIDs(t *testing.T) {
	m := mounted(t)
	m.Caller.DisplayName = "ldap-alice"
	role(m, "plain", in{"default_user": "a"})
	role(m, "own", in{"default_user": "a", "allow_user_key_ids": true, "key_id_format": "{{role_name}}/{{token_display_name}}"})
	if id := certificate(t, m, "plain", in{}).KeyId; !strings.HasPrefix(id, "vault-ldap-alice-") || len(id) != len("vault-ldap-alice-")+64 {
		t.Errorf("key id %q", id)
	}
	if id := certificate(t, m, "own", in{}).KeyId; id != "own/ldap-alice" {
		t.Errorf("key id %q", id)
	}
	if id := certificate(t, m, "own", in{"key_id": "x"}).KeyId; id != "x" {
		t.Errorf("key id %q", id)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/plain", in{"public_key": publicKey(t, nil), "key_id": "x"})
}

func TestKeysThatAreSigned(t *testing.T) {
	m := mounted(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	role(m, "any", in{"default_user": "a"})
	role(m, "ed", in{"default_user": "a", "allowed_user_key_lengths": in{"ed25519": 0}})
	role(m, "rsa", in{"default_user": "a", "allowed_user_key_lengths": in{"rsa": []int{2048, 4096}}})
	role(m, "ec", in{"default_user": "a", "allowed_user_key_lengths": `{"ecdsa-sha2-nistp256": 256}`})
	sign := func(role, key string) error { return m.Call(route.VerbWrite, "sign/"+role, in{"public_key": key}).Err }
	for _, tt := range []struct {
		role, key string
		ok        bool
	}{
		{"any", publicKey(t, nil), true}, {"any", publicKey(t, &strong.PublicKey), true}, {"any", publicKey(t, &weak.PublicKey), false},
		{"ed", publicKey(t, nil), true}, {"ed", publicKey(t, &strong.PublicKey), false},
		{"rsa", publicKey(t, &strong.PublicKey), true}, {"rsa", publicKey(t, nil), false}, {"ec", publicKey(t, nil), false},
		{"any", "junk", false}, {"any", "", false},
	} {
		if err := sign(tt.role, tt.key); (err == nil) != tt.ok {
			t.Errorf("%s, %.20s: %v", tt.role, tt.key, err)
		}
	}
	// A certificate is no key to certify.
	m2 := mounted(t)
	role(m2, "any", in{"default_user": "a"})
	signed := text(t, m2.Write("sign/any", in{"public_key": publicKey(t, nil)}), "signed_key")
	m.Fails(fault.Invalid, route.VerbWrite, "sign/any", in{"public_key": signed})
	// Generated keys meet the same bounds.
	for kind, want := range map[string]string{"rsa": "ssh-rsa", "ec": "ecdsa-sha2-nistp256", "ed25519": "ssh-ed25519"} {
		r := m.Write("issue/any", in{"key_type": kind, "key_bits": map[string]int{"rsa": 2048}[kind]})
		signer, err := gossh.ParsePrivateKey([]byte(text(t, r, "private_key")))
		if err != nil || signer.PublicKey().Type() != want || text(t, r, "private_key_type") != kind {
			t.Errorf("%s: %v", kind, err)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "issue/rsa", in{"key_type": "ed25519"})
	m.Fails(fault.Invalid, route.VerbWrite, "issue/any", in{"key_type": "dsa"})
	m.Fails(fault.Invalid, route.VerbWrite, "issue/any", in{"key_type": "rsa", "key_bits": 1024})
	m.Fails(fault.Invalid, route.VerbWrite, "issue/any", in{"key_type": "ecdsa-sha2-nistp384", "key_bits": 256})
}

func TestIssuers(t *testing.T) {
	m := enginetest.New(t, ssh.Type.Routes, ssh.Type.New)
	m.Fails(fault.Invalid, route.VerbRead, "config/ca", nil)
	m.Fails(fault.Invalid, route.VerbRead, "public_key", nil)
	first := m.Write("issuers/import/one", in{"key_type": "ed25519"})
	second := m.Write("issuers/import", in{"key_type": "ec", "issuer_name": "two"})
	if got := text(t, m.Read("config/issuers"), "default"); got != text(t, first, "issuer_id") {
		t.Errorf("the default is %s", got)
	}
	role(m, "a", in{"default_user": "a"})
	role(m, "b", in{"default_user": "a", "issuer_ref": "two"})
	signedBy := func(name string) string {
		t.Helper()
		c := certificate(t, m, name, in{})
		return string(gossh.MarshalAuthorizedKey(c.SignatureKey))
	}
	if signedBy("a") != text(t, first, "public_key") || signedBy("b") != text(t, second, "public_key") {
		t.Error("signed by the wrong issuers")
	}
	m.Write("config/issuers", in{"default": "two"})
	if signedBy("a") != text(t, second, "public_key") {
		t.Error("signed by an issuer that is no longer the default")
	}
	m.Write("issuer/two", in{"issuer_name": "deux"})
	m.Fails(fault.Invalid, route.VerbRead, "issuer/two", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "sign/b", in{"public_key": publicKey(t, nil)})
	if got := text(t, m.Read("issuer/deux"), "issuer_id"); got != text(t, second, "issuer_id") {
		t.Error("renamed another")
	}
	for path, body := range map[string]in{
		"issuers/import/one": {}, "issuers/import/default": {}, "issuers/import/a b": {}, "issuer/deux": {"issuer_name": "one"}, "config/issuers": {"default": "none"},
		"issuers/import": {"key_type": "dsa"}, "config/ca": {"private_key": "x"},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, path, body)
	}
	raw := m.Read("issuer/one/public_key").Raw
	if raw == nil || string(raw.Body) != text(t, first, "public_key") {
		t.Errorf("the public key is %v", raw)
	}
	var list struct {
		Keys []string
		Info map[string]struct {
			Name string `json:"issuer_name"`
		} `json:"key_info"`
	}
	if err := json.Unmarshal(m.List("issuers").Data, &list); err != nil || len(list.Keys) != 2 || list.Info[text(t, first, "issuer_id")].Name != "one" {
		t.Errorf("listed %+v, %v", list, err)
	}
	if r := m.Delete("issuer/deux"); len(r.Warnings) != 1 {
		t.Errorf("warnings %v", r.Warnings)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/a", in{"public_key": publicKey(t, nil)})
	m.Delete("config/ca")
	m.Fails(fault.NotFound, route.VerbList, "issuers", nil)
}

func TestSignatureAlgorithms(t *testing.T) {
	m := mounted(t)
	role(m, "ed", in{"default_user": "a", "algorithm_signer": "rsa-sha2-256"})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/ed", in{"public_key": publicKey(t, nil)})
	m.Write("config/ca", in{"key_type": "rsa", "key_bits": 2048})
	for name, want := range map[string]string{"default": "rsa-sha2-256", "rsa-sha2-256": "rsa-sha2-256", "rsa-sha2-512": "rsa-sha2-512", "ssh-rsa": "ssh-rsa"} {
		role(m, "r", in{"default_user": "a", "algorithm_signer": name})
		if got := certificate(t, m, "r", in{}).Signature.Format; got != want {
			t.Errorf("%s signs by %s", name, got)
		}
	}
}

func TestRolesThatMakeNoSense(t *testing.T) {
	m := mounted(t)
	for _, bad := range []in{
		{}, {"key_type": "dynamic"}, {"key_type": "ca"}, {"key_type": "ca", "allow_user_certificates": true, "ttl": "2h", "max_ttl": "1h"},
		{"key_type": "ca", "allow_user_certificates": true, "algorithm_signer": "md5"}, {"key_type": "ca", "allow_user_certificates": true, "allow_commas_in_identity_templates": true},
		{"key_type": "ca", "allow_user_certificates": true, "allowed_user_key_lengths": in{"dsa": 1024}}, {"key_type": "ca", "allow_user_certificates": true, "allowed_user_key_lengths": "x"},
		{"key_type": "otp"}, {"key_type": "otp", "default_user": "a", "cidr_list": "10.0.0.1"}, {"key_type": "otp", "default_user": "a", "port": 70000},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "roles/r", bad)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "roles/a b", in{"key_type": "otp", "default_user": "a"})
	m.Fails(fault.NotFound, route.VerbRead, "roles/r", nil)
}
