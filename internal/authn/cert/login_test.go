package cert_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// world is a mount with a role "web" that trusts an authority, which has made a
// certificate.
type world struct {
	*enginetest.Mount
	ca, web *holder
}

func newWorld(t testing.TB, role object) *world {
	t.Helper()
	w := &world{Mount: mount(t), ca: authority(t, "CA", nil)}
	w.web = issue(t, w.ca, nil, client("web"))
	w.role(role)
	return w
}

func (w *world) role(changes object) {
	body := object{"certificate": w.ca.pem(), "token_policies": "web", "token_ttl": "10m"}
	for k, v := range changes {
		body[k] = v
	}
	w.Delete("certs/web")
	w.Write("certs/web", body)
}

func (w *world) login(chain ...*holder) enginetest.Result {
	w.TLS = present(chain...)
	return w.Call(route.VerbWrite, "login", object{})
}

func TestALoginSaysWhoTheCallerIs(t *testing.T) {
	w := newWorld(t, object{"allowed_metadata_extensions": "1.3.6.1.4.1.99999.1", "display_name": "shown"})
	r := w.login(w.web)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if len(r.Login.Metadata["authority_key_id"]) != 20*3-1 {
		t.Errorf("authority_key_id is %q", r.Login.Metadata["authority_key_id"])
	}
	metadata := map[string]string{
		"cert_name": "web", "common_name": "web.example", "serial_number": w.web.SerialNumber.String(), "subject_key_id": "",
		"authority_key_id": r.Login.Metadata["authority_key_id"], "1-3-6-1-4-1-99999-1": "blue",
	}
	if diff := cmp.Diff(metadata, r.Login.Metadata); diff != "" {
		t.Error(diff)
	}
	if r.Login.Alias != "web.example" || r.Login.DisplayName != "shown" || r.Login.AliasMetadata != nil {
		t.Errorf("got %+v", r.Login)
	}
	if diff := cmp.Diff(authn.TokenParams{Policies: []string{"web"}, TTL: 10 * time.Minute}, r.Login.Token); diff != "" {
		t.Error(diff)
	}
	w.Write("config", object{"enable_identity_alias_metadata": true})
	if diff := cmp.Diff(metadata, w.login(w.web).Login.AliasMetadata); diff != "" {
		t.Error(diff)
	}
}

func TestLoginsWithoutACertificate(t *testing.T) {
	w := newWorld(t, nil)
	for name, r := range map[string]enginetest.Result{"without TLS": w.Call(route.VerbWrite, "login", object{}), "without certificate": w.login()} {
		if !errors.Is(r.Err, fault.Unauthenticated) || !strings.Contains(fault.Message(r.Err), "no client certificate found") {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

// TestWhatARoleWantsOfACertificate has a login that passes and one that does not
// for each setting that binds.
func TestWhatARoleWantsOfACertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		role object
		ok   bool
	}{
		"common name":                  {object{"allowed_common_names": "web.example"}, true},
		"common name, glob":            {object{"allowed_common_names": "*.example"}, true},
		"another common name":          {object{"allowed_common_names": "db.example"}, false},
		"common name as prefix":        {object{"allowed_common_names": "web"}, false},
		"DNS name":                     {object{"allowed_dns_sans": []string{"x", "*.dns.example"}}, true},
		"another DNS name":             {object{"allowed_dns_sans": "web.example"}, false},
		"email":                        {object{"allowed_email_sans": "*@example.org"}, true},
		"another email":                {object{"allowed_email_sans": "*@example.com"}, false},
		"URI":                          {object{"allowed_uri_sans": "spiffe://example/*"}, true},
		"another URI":                  {object{"allowed_uri_sans": "spiffe://other/*"}, false},
		"unit":                         {object{"allowed_organizational_units": "dev"}, true},
		"another unit":                 {object{"allowed_organizational_units": "root"}, false},
		"any of the names: common":     {object{"allowed_names": "web.example"}, true},
		"any of the names: DNS":        {object{"allowed_names": "web.dns.example"}, true},
		"any of the names: email":      {object{"allowed_names": "web@*"}, true},
		"none of the names":            {object{"allowed_names": "spiffe://example/web"}, false},
		"extension":                    {object{"required_extensions": "1.3.6.1.4.1.99999.1:blue"}, true},
		"extension, glob":              {object{"required_extensions": "1.3.6.1.4.1.99999.1:b*"}, true},
		"extensions, both":             {object{"required_extensions": []string{"1.3.6.1.4.1.99999.1:blue", "1.3.6.1.4.1.99999.2:x"}}, true},
		"extensions, one only":         {object{"required_extensions": []string{"1.3.6.1.4.1.99999.1:blue", "1.3.6.1.4.1.99999.2:y"}}, false},
		"extension that is not there":  {object{"required_extensions": "1.3.6.1.4.1.99999.3:*"}, false},
		"extension in hexadecimal":     {object{"required_extensions": "hex:1.3.6.1.4.1.99999.1:1304626c7565"}, true},
		"extension of other bytes":     {object{"required_extensions": "hex:1.3.6.1.4.1.99999.1:1304626c7566"}, false},
		"all must hold":                {object{"allowed_common_names": "web.example", "allowed_organizational_units": "root"}, false},
		"address":                      {object{"token_bound_cidrs": "127.0.0.0/8"}, true},
		"another address":              {object{"token_bound_cidrs": "192.0.2.0/24"}, false},
		"any name needs one, of a URI": {object{"allowed_uri_sans": "*"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.role)
			w.Remote = netip.MustParseAddr("127.0.0.1")
			if r := w.login(w.web); (r.Err == nil) != tt.ok {
				t.Errorf("got %v", r.Err)
			}
		})
	}
}

func TestChains(t *testing.T) {
	w := newWorld(t, nil)
	between := authority(t, "between", w.ca)
	below := issue(t, between, nil, client("below"))
	server := client("server")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	old := client("old")
	old.NotBefore, old.NotAfter = start().AddDate(-1, 0, 0), start()
	notCA := issue(t, w.ca, nil, client("notca"))
	other := authority(t, "CA", nil) // of the same name
	for name, tt := range map[string]struct {
		chain []*holder
		ok    bool
	}{
		"one step":                             {[]*holder{w.web}, true},
		"two steps":                            {[]*holder{below, between}, true},
		"two steps, the one between missing":   {[]*holder{below}, false},
		"by another of the same name":          {[]*holder{issue(t, other, nil, client("web"))}, false},
		"by another that comes along":          {[]*holder{issue(t, other, nil, client("web")), other}, false},
		"by itself":                            {[]*holder{issue(t, nil, nil, client("web"))}, false},
		"for servers":                          {[]*holder{issue(t, w.ca, nil, server)}, false},
		"expired":                              {[]*holder{issue(t, w.ca, nil, old)}, false},
		"by one that is no authority":          {[]*holder{issue(t, notCA, nil, client("x")), notCA}, false},
		"a stranger's, with a good one behind": {[]*holder{issue(t, nil, nil, client("web")), w.web}, false},
	} {
		if r := w.login(tt.chain...); (r.Err == nil) != tt.ok {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

// TestPinnedCertificates is E1 and E2: only the very same bytes count.
func TestPinnedCertificates(t *testing.T) {
	template := client("pinned")
	template.SerialNumber, template.SubjectKeyId = big.NewInt(77), []byte{1, 2, 3}
	pinned := issue(t, nil, nil, template)
	w := &world{Mount: mount(t), ca: pinned}
	w.role(nil)
	renamed := client("admin")
	renamed.SerialNumber, renamed.SubjectKeyId = template.SerialNumber, template.SubjectKeyId
	for name, tt := range map[string]struct {
		with *holder
		ok   bool
	}{
		"itself":                              {pinned, true},
		"same names and serial, another key":  {issue(t, nil, nil, template), false},
		"same key, another name":              {issue(t, nil, pinned.key, renamed), false},
		"same key and names, made anew":       {issue(t, nil, pinned.key, template), false},
		"signed by the key of the pinned one": {issue(t, pinned, nil, client("below")), false},
	} {
		if r := w.login(tt.with); (r.Err == nil) != tt.ok {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
	w.Clock.Advance(400 * 24 * time.Hour)
	if r := w.login(pinned); r.Err == nil {
		t.Error("a pinned certificate that has expired was accepted")
	}
}

func TestWhichRole(t *testing.T) {
	w := newWorld(t, object{"allowed_common_names": "web.example"})
	w.Write("certs/any", object{"certificate": w.ca.pem(), "token_policies": "any"})
	w.Write("certs/other", object{"certificate": authority(t, "other", nil).pem()})
	login := func(name string) string {
		w.TLS = present(w.web)
		r := w.Call(route.VerbWrite, "login", object{"name": name})
		if r.Err != nil {
			return r.Err.Error()
		}
		return r.Login.Metadata["cert_name"]
	}
	for name, want := range map[string]string{"": "any", "web": "web", "WEB": "web", "any": "any"} {
		if got := login(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
	for _, name := range []string{"other", "none", "a/b"} {
		if got := login(name); !strings.Contains(got, "invalid certificate") {
			t.Errorf("%q: %s", name, got)
		}
	}
}

// TestRenewalNeedsTheSameCertificate is C10.
func TestRenewalNeedsTheSameCertificate(t *testing.T) {
	w := newWorld(t, nil)
	payload := w.login(w.web).Login.Payload
	sibling := issue(t, w.ca, nil, client("web"))
	again := issue(t, w.ca, w.web.key, client("web"))
	renew := func(chain ...*holder) error {
		p, err := w.Instance.(authn.Renewer).Renew(t.Context(), &route.Call{TLS: present(chain...)}, payload)
		if err == nil && p.TTL != 10*time.Minute {
			t.Errorf("the settings are %+v", p)
		}
		return err
	}
	for name, tt := range map[string]struct {
		err  error
		want fault.Kind
	}{
		"a sibling":                      {renew(sibling), fault.Denied},
		"the same key, a new one":        {renew(again), fault.Denied},
		"a sibling, with the own behind": {renew(sibling, w.web), fault.Denied},
		"none":                           {renew(), fault.Unauthenticated},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	if err := renew(w.web); err != nil {
		t.Error(err)
	}
	w.Write("crls/c", object{"crl": w.ca.revocationList(t, 1, start().AddDate(1, 0, 0), w.web)})
	if err := renew(w.web); err == nil {
		t.Error("a token of a revoked certificate was renewed")
	}
	w.Delete("crls/c")
	w.Write("certs/web", object{"allowed_common_names": "x"})
	if err := renew(w.web); err == nil {
		t.Error("a token of a certificate that the role does not allow any more was renewed")
	}
	w.Write("config", object{"disable_binding": true})
	if err := renew(sibling); err != nil {
		t.Errorf("without binding: %v", err)
	}
	w.Delete("certs/web")
	if err := renew(w.web); !errors.Is(err, fault.Denied) {
		t.Errorf("without the role: %v", err)
	}
}

func TestBadRolesAreRefusedAndChangeNothing(t *testing.T) {
	w := newWorld(t, nil)
	w.Write("certs/web", object{"ttl": 60, "policies": "p"})
	before := w.Read("certs/web").Map(t)
	if before["ttl"] != 60.0 || before["token_ttl"] != 60.0 {
		t.Errorf("older names: %v", before)
	}
	good := object{"certificate": w.ca.pem()}
	server := x509.Certificate{Subject: pkix.Name{CommonName: "s"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for name, tt := range map[string]struct {
		path string
		body object
	}{
		"upper case":               {"certs/WEB", good},
		"mixed case":               {"certs/AdMiN", good},
		"space":                    {"certs/web ", good},
		"wildcard":                 {"certs/+", good},
		"long s":                   {"certs/\u017f", good},
		"no certificate":           {"certs/new", object{}},
		"junk":                     {"certs/web", object{"certificate": "junk"}},
		"junk behind":              {"certs/web", object{"certificate": w.ca.pem() + "junk"}},
		"a key":                    {"certs/web", object{"certificate": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}},
		"a server's":               {"certs/web", object{"certificate": issue(t, w.ca, nil, server).pem()}},
		"extension without text":   {"certs/web", object{"required_extensions": "1.2.3"}},
		"extension without OID":    {"certs/web", object{"required_extensions": "x:y"}},
		"extension not in hex":     {"certs/web", object{"required_extensions": "hex:1.2.3:xyz"}},
		"metadata without OID":     {"certs/web", object{"allowed_metadata_extensions": "x"}},
		"responder without scheme": {"certs/web", object{"ocsp_servers_override": "ocsp.example"}},
		"responder's CA is junk":   {"certs/web", object{"ocsp_ca_certificates": "junk"}},
		"retries without end":      {"certs/web", object{"ocsp_max_retries": 1000}},
		"policy with a path":       {"certs/web", object{"token_policies": "../root"}},
		"cache beyond memory":      {"config", object{"ocsp_cache_size": 1e9}},
		"list of junk":             {"crls/x", object{"crl": "junk"}},
		"no list":                  {"crls/x", object{}},
		"list in upper case":       {"crls/X", object{"crl": w.ca.revocationList(t, 1, start())}},
		"list from a file":         {"crls/x", object{"url": "file:///etc/passwd"}},
		"list from nowhere":        {"crls/x", object{"url": "http://127.0.0.1:1/"}},
	} {
		w.Fails(fault.Invalid, route.VerbWrite, tt.path, tt.body)
		if diff := cmp.Diff(before, w.Read("certs/web").Map(t)); diff != "" {
			t.Fatalf("%s changed the role: %s", name, diff)
		}
	}
	w.Fails(fault.Invalid, route.VerbDelete, "certs/WEB", nil)
	w.Fails(fault.NotFound, route.VerbList, "crls", nil)
}
