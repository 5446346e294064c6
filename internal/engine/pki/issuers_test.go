package pki_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// intermediateOf makes an intermediate in a mount of its own, signed by a CA.
func intermediateOf(t *testing.T, ca *enginetest.Mount, constraints object) *enginetest.Mount {
	t.Helper()
	m := newMount(t)
	m.Settings.MaxTTL *= 20
	csr := text(t, m.Write("intermediate/generate/internal", object{"common_name": "Intermediate", "key_type": "ec"}), "csr")
	q := object{"csr": csr, "common_name": "Intermediate", "ttl": "4000h"}
	for k, v := range constraints {
		q[k] = v
	}
	m.Write("intermediate/set-signed", object{"certificate": text(t, ca.Write("root/sign-intermediate", q), "certificate")})
	m.Write("roles/any", object{"allow_any_name": true, "key_type": "ec", "ttl": "1h", "require_cn": false})
	return m
}

func TestNameConstraintsBindTheIssuer(t *testing.T) {
	ca := newCA(t)
	m := intermediateOf(t, ca, object{
		"permitted_dns_domains": "example.org", "excluded_dns_domains": "secret.example.org", "permitted_ip_ranges": "10.0.0.0/8", "permitted_email_addresses": "example.org",
	})
	for name, tt := range map[string]struct {
		q    object
		want bool
	}{
		"a permitted name":     {object{"common_name": "a.example.org"}, true},
		"another name":         {object{"common_name": "a.example.com"}, false},
		"an excluded name":     {object{"common_name": "a.secret.example.org"}, false},
		"a permitted address":  {object{"ip_sans": "10.1.1.1"}, true},
		"another address":      {object{"ip_sans": "192.168.1.1"}, false},
		"a permitted mailbox":  {object{"alt_names": "a@example.org"}, true},
		"a mailbox of another": {object{"alt_names": "a@example.com"}, false},
	} {
		r := m.Call(route.VerbWrite, "issue/any", tt.q)
		if (r.Err == nil) != tt.want || r.Err != nil && fault.KindOf(r.Err) != fault.Invalid {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
	root := text(t, ca.Read("cert/ca"), "certificate")
	m.Write("intermediate/set-signed", object{"certificate": root})
	leaf := m.Write("issue/any", object{"common_name": "b.example.org"})
	path := files(t, map[string]string{"root": root, "chain": text(t, leaf, "issuing_ca"), "leaf": text(t, leaf, "certificate")})
	if out, err := openssl(t, "verify", "-attime", itoa(m.Clock.Now().Unix()+1), "-CAfile", path("root"), "-untrusted", path("chain"), path("leaf")); err != nil {
		t.Errorf("openssl verify: %s", out)
	}
	if chain := leaf.Map(t)["ca_chain"].([]any); len(chain) != 2 {
		t.Errorf("the chain has %d certificates", len(chain))
	}
	if chain := m.Write("issue/any", object{"common_name": "b.example.org", "remove_roots_from_chain": true}).Map(t)["ca_chain"].([]any); len(chain) != 1 {
		t.Errorf("the chain without roots has %d certificates", len(chain))
	}
}

func TestPathLengths(t *testing.T) {
	ca := newMount(t)
	ca.Settings.MaxTTL *= 20
	ca.Write("root/generate/internal", object{"common_name": "Root", "key_type": "ec", "max_path_length": 2, "ttl": "8000h"})
	csr := text(t, newMount(t).Write("intermediate/generate/internal", object{"common_name": "I", "key_type": "ec"}), "csr")
	for given, want := range map[int]int{-1: 1, 0: 0, 1: 1} {
		q := object{"csr": csr, "common_name": "I", "max_path_length": given, "ttl": "1h"}
		cert := parse(t, text(t, ca.Write("root/sign-intermediate", q), "certificate"))
		if cert.MaxPathLen != want || !cert.IsCA {
			t.Errorf("asked for %d: path length %d, CA %t", given, cert.MaxPathLen, cert.IsCA)
		}
	}
	ca.Fails(fault.Invalid, route.VerbWrite, "root/sign-intermediate", object{"csr": csr, "common_name": "I", "max_path_length": 2})
	end := intermediateOf(t, ca, object{"max_path_length": 0})
	end.Fails(fault.Invalid, route.VerbWrite, "root/sign-intermediate", object{"csr": csr, "common_name": "I"})
}

func TestIssuersOutliveEachOther(t *testing.T) {
	m := newCA(t)
	old := text(t, m.Write("issue/web", object{"common_name": "old.example.org"}), "serial_number")
	second := m.Write("root/rotate/internal", object{"common_name": "Second", "key_type": "ec", "ttl": "8000h"})
	if text(t, second, "issuer_name") != "next" || parse(t, text(t, m.Write("issue/web", object{"common_name": "x.example.org"}), "certificate")).Issuer.CommonName != "Test Root" {
		t.Error("a rotated root issues before it is the default")
	}
	m.Write("root/replace", nil)
	fresh := m.Write("issue/web", object{"common_name": "new.example.org"})
	if parse(t, text(t, fresh, "certificate")).Issuer.CommonName != "Second" {
		t.Error("the replaced root still issues")
	}
	m.Write("revoke", object{"serial_number": old})
	if l := crl(t, m, "crl"); serials(l) != "" {
		t.Errorf("the second issuer's list has %s", serials(l))
	}
	if list := text(t, m.Read("issuer/r1/crl"), "crl"); !strings.Contains(list, "X509 CRL") {
		t.Errorf("the first issuer's list is %s", list)
	}
	m.Write("config/issuers", object{"default": "r1"})
	if l := crl(t, m, "crl"); serials(l) != hexSerial(old) {
		t.Errorf("the first issuer's list has %s", serials(l))
	}
	m.Write("issuer/r1", object{"issuer_name": "r1", "usage": "read-only"})
	m.Fails(fault.Invalid, route.VerbWrite, "issuer/r1/issue/web", object{"common_name": "x.example.org"})
	m.Fails(fault.NotFound, route.VerbRead, "issuer/nobody", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "issuer/nobody/issue/web", object{"common_name": "x.example.org"})
}

func TestCrossSigning(t *testing.T) {
	old, fresh := newCA(t), newMount(t)
	fresh.Settings.MaxTTL *= 20
	root := fresh.Write("root/generate/internal", object{"common_name": "Fresh Root", "key_type": "ec", "ttl": "4000h"})
	crossed := text(t, old.Write("root/sign-self-issued", object{"certificate": text(t, root, "certificate")}), "certificate")
	fresh.Write("roles/any", object{"allow_any_name": true, "key_type": "ec", "ttl": "1h"})
	leaf := text(t, fresh.Write("issue/any", object{"common_name": "a.example.org"}), "certificate")
	path := files(t, map[string]string{"old": text(t, old.Read("cert/ca"), "certificate"), "crossed": crossed, "leaf": leaf})
	at := itoa(fresh.Clock.Now().Unix() + 1)
	if out, err := openssl(t, "verify", "-attime", at, "-CAfile", path("old"), "-untrusted", path("crossed"), path("leaf")); err != nil {
		t.Errorf("through the old root: %s", out)
	}
	old.Fails(fault.Invalid, route.VerbWrite, "root/sign-self-issued", object{"certificate": leaf})
	csr := text(t, fresh.Write("intermediate/cross-sign", object{"common_name": "Fresh Root"}), "csr")
	again := text(t, old.Write("root/sign-intermediate", object{"csr": csr, "common_name": "Fresh Root", "ttl": "100h"}), "certificate")
	imported := fresh.Write("intermediate/set-signed", object{"certificate": again}).Map(t)
	if len(imported["mapping"].(map[string]any)) != 1 || imported["mapping"].(map[string]any)[imported["imported_issuers"].([]any)[0].(string)] != text(t, root, "key_id") {
		t.Errorf("the cross-signed certificate was not matched to its key: %v", imported)
	}
}

// TestEqualIssuersShareRevocations: two certificates for one name and key are
// one CA.
func TestEqualIssuersShareRevocations(t *testing.T) {
	m := newCA(t)
	m.Write("root/generate/existing", object{"common_name": "Test Root", "issuer_name": "renewed", "key_ref": "default", "ttl": "8000h"})
	serial := text(t, m.Write("issuer/renewed/issue/web", object{"common_name": "a.example.org"}), "serial_number")
	m.Write("revoke", object{"serial_number": serial})
	if l := crl(t, m, "crl"); serials(l) != hexSerial(serial) {
		t.Errorf("the list of the first certificate has %s", serials(l))
	}
}

func TestImport(t *testing.T) {
	from := newMount(t)
	made := from.Write("root/generate/exported", object{"common_name": "Exported", "key_type": "rsa", "ttl": "100h"})
	cert, key := text(t, made, "certificate"), text(t, made, "private_key")
	m := newMount(t)
	first := m.Write("issuers/import/cert", object{"pem_bundle": cert}).Map(t)
	id := first["imported_issuers"].([]any)[0].(string)
	m.Write("roles/any", object{"allow_any_name": true, "key_type": "ec", "ttl": "1h"})
	m.Fails(fault.Invalid, route.VerbWrite, "issue/any", object{"common_name": "a.example.org"})
	second := m.Write("config/ca", object{"pem_bundle": key + "\n" + cert}).Map(t)
	if second["existing_issuers"].([]any)[0] != id || second["mapping"].(map[string]any)[id] != second["imported_keys"].([]any)[0] {
		t.Errorf("the import answered %v", second)
	}
	if parse(t, text(t, m.Write("issue/any", object{"common_name": "a.example.org"}), "certificate")).Issuer.CommonName != "Exported" {
		t.Error("another issuer signed")
	}
	leaf := text(t, m.Write("issue/any", object{"common_name": "a.example.org"}), "certificate")
	for _, bundle := range []string{"", "junk", leaf, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----"} {
		err := m.Fails(fault.Invalid, route.VerbWrite, "issuers/import/bundle", object{"pem_bundle": bundle})
		if len(bundle) > 20 && strings.Contains(err.Error(), bundle[10:20]) {
			t.Errorf("the refusal repeats the bundle: %v", err)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "issuers/import/cert", object{"pem_bundle": key})
	m.Fails(fault.Invalid, route.VerbWrite, "root/generate/kms", object{"common_name": "x"})
}

// TestF19_ReadsShowNoKeys: no read of anything shows a private key.
func TestF19_ReadsShowNoKeys(t *testing.T) {
	m := newCA(t)
	for _, path := range []string{"key/default", "issuer/r1", "issuer/r1/json", "config/keys", "config/issuers", "config/urls", "config/cluster", "config/crl", "config/acme", "roles/web", "certs/search", "cert/ca"} {
		if got := string(m.Read(path).Data); strings.Contains(got, "PRIVATE") {
			t.Errorf("%s shows %s", path, got)
		}
	}
}

func TestInventory(t *testing.T) {
	m := newCA(t)
	m.Write("roles/other", object{"allow_any_name": true, "key_type": "ec", "ttl": "100h"})
	m.Caller.EntityID, m.Caller.Accessor, m.Caller.DisplayName = "entity-1", "accessor-1", "userpass-ann"
	www := text(t, m.Write("issue/web", object{"common_name": "www.example.org", "alt_names": "api.example.org", "ip_sans": "10.0.0.7", "cert_metadata": "aGVsbG8="}), "serial_number")
	m.Caller.EntityID, m.Caller.DisplayName = "entity-2", "userpass-bob"
	m.Write("issue/other", object{"common_name": "deep.www.example.org"})
	m.Write("issue/other", object{"common_name": "me@mail.example.org"})
	m.Write("issue/other", object{"common_name": "example.com"})
	m.Write("revoke", object{"serial_number": www})
	find := func(query string) string {
		t.Helper()
		var names []string
		for _, c := range m.Read("certs/search?" + query).Map(t)["certificates"].([]any) {
			names = append(names, c.(map[string]any)["common_name"].(string))
		}
		return strings.Join(names, " ")
	}
	for query, want := range map[string]string{
		"name=www.example.org":      "www.example.org",
		"name=WWW.Example.ORG":      "www.example.org",
		"name=api.example.org":      "www.example.org",
		"name=10.0.0.7":             "www.example.org",
		"name=.www.example.org":     "deep.www.example.org",
		"name=me@mail.example.org":  "me@mail.example.org",
		"name=org":                  "",
		"role=web":                  "www.example.org",
		"role=other&revoked=true":   "",
		"revoked=true":              "www.example.org",
		"entity_id=entity-1":        "www.example.org",
		"display_name=userpass-ann": "www.example.org",
		"role=web&issuer_ref=r1":    "www.example.org",
		"expires_before=50h":        "www.example.org",
		"expires_after=50h&expires_before=1000h&name=example.com": "example.com",
		"expires_after=2030-01-01T00:00:00Z":                      "",
	} {
		if got := find(query); got != want {
			t.Errorf("%s finds %q, want %q", query, got, want)
		}
	}
	all := 0
	for from := ""; ; {
		page := m.Read("certs/search?limit=2" + from).Map(t)
		all += len(page["certificates"].([]any))
		next, ok := page["next"].(string)
		if !ok {
			break
		}
		from = "&from=" + next
	}
	if all != 5 {
		t.Errorf("the pages have %d certificates, not 5", all)
	}
	m.Fails(fault.Invalid, route.VerbRead, "certs/search?from=00", nil)
	m.Fails(fault.Invalid, route.VerbRead, "certs/search?expires_before=soon", nil)
	info := m.Read("certs/search?name=www.example.org").Map(t)["certificates"].([]any)[0].(map[string]any)
	if info["token_accessor"] != "accessor-1" || info["entity_id"] != "entity-1" || info["role"] != "web" || info["revoked"] != true || info["source"] != "issue" || info["key_type"] != "ec" {
		t.Errorf("the certificate is described as %v", info)
	}
	if got := m.Read("cert-metadata/" + www).Map(t); got["cert_metadata"] != "aGVsbG8=" {
		t.Errorf("the metadata is %v", got)
	}
	if page := m.List("certs?limit=2").Map(t)["keys"].([]any); len(page) != 2 {
		t.Errorf("the page is %v", page)
	} else if rest := m.List("certs?after=" + page[1].(string)).Map(t)["keys"].([]any); len(rest) != 3 {
		t.Errorf("the rest is %v", rest)
	}
	if detailed := m.List("certs/detailed").Map(t)["key_info"].(map[string]any)[www].(map[string]any); detailed["display_name"] != "userpass-ann" {
		t.Errorf("the detailed listing has %v", detailed)
	}
}

func TestURLTemplates(t *testing.T) {
	m := newCA(t)
	m.Fails(fault.Invalid, route.VerbWrite, "config/urls", object{"enable_templating": true, "ocsp_servers": "{{cluster_path}}/{{nothing}}"})
	m.Write("config/urls", object{"enable_templating": true, "issuing_certificates": "{{cluster_aia_path}}/{{issuer_id}}.der", "ocsp_servers": "{{cluster_path}}/ocsp"})
	m.Fails(fault.Invalid, route.VerbWrite, "issue/web", object{"common_name": "a.example.org"})
	m.Write("config/cluster", object{"path": "https://ca.example/v1/pki", "aia_path": "http://aia.example"})
	cert := parse(t, text(t, m.Write("issue/web", object{"common_name": "a.example.org"}), "certificate"))
	id := text(t, m.Read("issuer/r1"), "issuer_id")
	if cert.IssuingCertificateURL[0] != "http://aia.example/"+id+".der" || cert.OCSPServer[0] != "https://ca.example/v1/pki/ocsp" {
		t.Errorf("the certificate names %v and %v", cert.IssuingCertificateURL, cert.OCSPServer)
	}
	m.Patch("issuer/r1", object{"ocsp_servers": "http://own.example/ocsp"})
	cert = parse(t, text(t, m.Write("issue/web", object{"common_name": "a.example.org"}), "certificate"))
	if len(cert.IssuingCertificateURL) != 0 || cert.OCSPServer[0] != "http://own.example/ocsp" {
		t.Errorf("with URLs of its own the issuer names %v and %v", cert.IssuingCertificateURL, cert.OCSPServer)
	}
}

func TestLeafCannotOutliveItsIssuer(t *testing.T) {
	m := newMount(t)
	m.Settings.MaxTTL *= 20
	m.Write("root/generate/internal", object{"common_name": "Short", "key_type": "ec", "issuer_name": "s", "ttl": "10h"})
	m.Write("roles/any", object{"allow_any_name": true, "key_type": "ec", "ttl": "20h"})
	m.Fails(fault.Invalid, route.VerbWrite, "issue/any", object{"common_name": "a.b"})
	end := parse(t, text(t, m.Read("cert/ca"), "certificate")).NotAfter
	for behaviour, want := range map[string]time.Time{"truncate": end, "permit": m.Clock.Now().Add(20 * time.Hour).Truncate(time.Second)} {
		m.Patch("issuer/s", object{"leaf_not_after_behavior": behaviour})
		if got := parse(t, text(t, m.Write("issue/any", object{"common_name": "a.b"}), "certificate")).NotAfter; !got.Equal(want) {
			t.Errorf("%s: until %v, want %v", behaviour, got, want)
		}
	}
}
