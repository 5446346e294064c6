package profile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func env() profile.Env {
	return profile.Env{Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), DefaultTTL: time.Hour, MaxTTL: 1000 * time.Hour, DisplayName: "token-web1.display.org"}
}

// role is one for EC keys whose names nobody has allowed yet.
func role(change func(*profile.Role)) *profile.Role {
	r := profile.NewRole()
	r.KeyType, r.RequireCN, r.AllowLocalhost = "any", false, false
	change(&r)
	return &r
}

// request builds a request from a certificate request with these names.
func request(t testing.TB, key crypto.Signer, t0 *x509.CertificateRequest) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, t0, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// TestF3_WhichFlagsLetInWhichNames is the truth table of a role's flags and the
// shapes of names. Every name is tried as a common name, as a name of the
// request, and as a name of a certificate request.
func TestF3_WhichFlagsLetInWhichNames(t *testing.T) {
	const (
		bare = 1 << iota
		sub
		glob
		wild
		localhost
		display
	)
	shapes := []struct {
		name string
		// needs are the sets of flags any of which lets the name in.
		needs []int
	}{
		{"example.org", []int{bare}},
		{"EXAMPLE.org", []int{bare}},
		{"www.example.org", []int{sub}},
		{"a.b.example.org", []int{sub}},
		{"*.example.org", []int{sub | wild}},
		{"w*.example.org", []int{sub | wild}},
		{"*.b.example.org", []int{sub | wild}},
		{"notexample.org", nil},
		{"example.org.evil.com", nil},
		{"evil.com", nil},
		{"*", nil},
		{"*.org", nil},
		{"**.example.org", nil},
		{"a.*.example.org", nil},
		{"a_b.example.org", []int{sub}},
		{"-a.example.org", nil},
		{"a..example.org", nil},
		{"a b.example.org", nil},
		{"x.glob.net", []int{glob}},
		{"x.y.glob.net", []int{glob}},
		{"glob.net", nil},
		{"*.glob.net", []int{glob | wild, bare | wild}},
		{"user@example.org", []int{bare}},
		{"user@www.example.org", []int{sub}},
		{"user@*.example.org", nil},
		{"user@evil.com", nil},
		{"a@evil.com@example.org", nil},
		{"@example.org", nil},
		{"localhost", []int{localhost}},
		{"a.localhost", []int{localhost | sub}},
		{"token-web1.display.org", []int{display}},
		{"a.token-web1.display.org", []int{display | sub}},
		{"bücher.example.org", []int{sub}},
	}
	key := newKey(t)
	for flags := range 1 << 6 {
		r := role(func(r *profile.Role) {
			r.AllowedDomains = profile.Strings{"example.org", "*.glob.net"}
			r.AllowBareDomains, r.AllowSubdomains, r.AllowGlobDomains = flags&bare != 0, flags&sub != 0, flags&glob != 0
			r.AllowWildcards, r.AllowLocalhost, r.AllowTokenDisplayName = flags&wild != 0, flags&localhost != 0, flags&display != 0
		})
		for _, s := range shapes {
			want := false
			for _, need := range s.needs {
				want = want || flags&need == need
			}
			var viaCSR *x509.CertificateRequest
			ascii := !strings.ContainsFunc(s.name, func(r rune) bool { return r > 126 })
			if ascii {
				csr := &x509.CertificateRequest{DNSNames: []string{s.name}}
				if strings.Contains(s.name, "@") {
					csr = &x509.CertificateRequest{EmailAddresses: []string{s.name}}
				}
				viaCSR = csr
			}
			for from, q := range map[string]*profile.Request{
				"common name":                     {CommonName: s.name},
				"common name alone":               {CommonName: s.name, ExcludeCN: true},
				"alternative name":                {AltNames: []string{s.name}},
				"alternative name beside another": {AltNames: []string{"evil.example.com", s.name}},
			} {
				if from == "alternative name beside another" && !want {
					continue
				}
				_, err := r.Build(q, key.Public(), env())
				if got := err == nil; got != (want && from != "alternative name beside another") {
					t.Errorf("flags %06b: %q as %s: %v", flags, s.name, from, err)
				}
			}
			if viaCSR != nil && flags%7 == 0 {
				_, err := r.Build(&profile.Request{CSR: request(t, key, viaCSR)}, key.Public(), env())
				if (err == nil) != want {
					t.Errorf("flags %06b: %q of a certificate request: %v", flags, s.name, err)
				}
			}
		}
	}
}

// TestF2_LimitsHoldWhereverNamesComeFrom: each limit of a role is asked about
// names of the request's fields and of its CSR alike.
func TestF2_LimitsHoldWhereverNamesComeFrom(t *testing.T) {
	key := newKey(t)
	r := role(func(r *profile.Role) {
		r.AllowedDomains, r.AllowSubdomains = profile.Strings{"example.org"}, true
		r.AllowedIPs, r.AllowedURIs = profile.Strings{"10.1.0.0/16", "2001:db8::/64"}, profile.Strings{"spiffe://example.org/*"}
		r.AllowedOtherNames, r.AllowedSerialNumbers, r.AllowedUserIDs = profile.Strings{"1.3.6.1.4.1.311.20.2.3;UTF8:*@example.org"}, profile.Strings{"S-*"}, profile.Strings{"u1"}
	})
	uri := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	for _, tt := range []struct {
		name   string
		fields profile.Request
		csr    *x509.CertificateRequest
		want   bool
	}{
		{"address within", profile.Request{IPs: []string{"10.1.2.3"}}, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 1, 2, 3)}}, true},
		{"address outside", profile.Request{IPs: []string{"10.2.2.3"}}, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 2, 2, 3)}}, false},
		{"address outside, as IPv6", profile.Request{IPs: []string{"::ffff:10.2.2.3"}}, &x509.CertificateRequest{IPAddresses: []net.IP{net.ParseIP("::ffff:10.2.2.3")}}, false},
		{"address as common name", profile.Request{CommonName: "10.2.2.3"}, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "10.2.2.3"}}, false},
		{"address as DNS name", profile.Request{AltNames: []string{"10.2.2.3"}}, &x509.CertificateRequest{DNSNames: []string{"10.2.2.3"}}, false},
		{"URI within", profile.Request{URIs: []string{"spiffe://example.org/a"}}, &x509.CertificateRequest{URIs: []*url.URL{uri("spiffe://example.org/a")}}, true},
		{"URI outside", profile.Request{URIs: []string{"spiffe://evil.org/a"}}, &x509.CertificateRequest{URIs: []*url.URL{uri("spiffe://evil.org/a")}}, false},
		{"email outside", profile.Request{AltNames: []string{"a@evil.org"}}, &x509.CertificateRequest{EmailAddresses: []string{"a@evil.org"}}, false},
		{"common name outside, not an alternative one", profile.Request{CommonName: "evil.org", ExcludeCN: true}, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "evil.org"}}, false},
		{"other name within", profile.Request{OtherNames: []string{"1.3.6.1.4.1.311.20.2.3;UTF8:me@example.org"}}, otherCSR("me@example.org"), true},
		{"other name outside", profile.Request{OtherNames: []string{"1.3.6.1.4.1.311.20.2.3;UTF8:me@evil.org"}}, otherCSR("me@evil.org"), false},
		{"other name of another kind", profile.Request{OtherNames: []string{"1.2.3;UTF8:me@example.org"}}, nil, false},
		{"serial number within", profile.Request{SerialNumber: "S-1"}, nil, true},
		{"serial number outside", profile.Request{SerialNumber: "1"}, nil, false},
		{"user id within", profile.Request{UserIDs: []string{"u1"}}, nil, true},
		{"user id outside", profile.Request{UserIDs: []string{"u1", "root"}}, nil, false},
		{"registered id of a CSR", profile.Request{AltNames: []string{"a b"}}, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: []byte{0x30, 0x04, 0x88, 0x02, 0x2a, 0x03}}}}, false},
	} {
		check := func(from string, q *profile.Request) {
			got, err := r.Build(q, key.Public(), env())
			if (err == nil) != tt.want || err != nil && fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s, of %s: %v", tt.name, from, err)
			}
			if err != nil {
				return
			}
			for _, ip := range got.IPAddresses {
				if a, _ := netip.AddrFromSlice(ip); !netip.MustParsePrefix("10.1.0.0/16").Contains(a.Unmap()) {
					t.Errorf("%s, of %s: %s is in the certificate", tt.name, from, a)
				}
			}
		}
		check("fields", &tt.fields)
		if tt.csr != nil {
			check("a CSR", &profile.Request{CSR: request(t, key, tt.csr)})
		}
	}
}

// otherCSR asks for an other name of the type of Windows' user principal names.
func otherCSR(value string) *x509.CertificateRequest {
	text := append([]byte{0x0c, byte(len(value))}, value...)
	name := append([]byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x03, 0xa0, byte(len(text))}, text...)
	other := append([]byte{0xa0, byte(len(name))}, name...)
	return &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: append([]byte{0x30, byte(len(other))}, other...)}}}
}

// TestNothingRidesAlong: of a CSR nothing but the key and names gets into a
// certificate.
func TestNothingRidesAlong(t *testing.T) {
	key := newKey(t)
	csr := request(t, key, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "a.example.org", Organization: []string{"Evil"}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{0, 9, 2342, 19200300, 100, 1, 1}, Value: "root"}}},
		ExtraExtensions: []pkix.Extension{
			{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}, // CA:TRUE
			{Id: []int{2, 5, 29, 15}, Value: []byte{0x03, 0x02, 0x01, 0x06}},                       // certSign
			{Id: []int{1, 2, 3, 4}, Value: []byte{0x05, 0x00}},
		},
	})
	r := role(func(r *profile.Role) {
		r.AllowedDomains, r.AllowSubdomains, r.Organization = profile.Strings{"example.org"}, true, profile.Strings{"Ours"}
	})
	verbatim := profile.Verbatim()
	for name, q := range map[string]struct {
		r    *profile.Role
		all  bool
		want string
	}{"by a role": {r, false, "CN=a.example.org,O=Ours"}, "verbatim": {&verbatim, true, "CN=a.example.org,O=Evil"}} {
		got, err := q.r.Build(&profile.Request{CSR: csr, WholeSubject: q.all}, key.Public(), env())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.IsCA || got.KeyUsage&x509.KeyUsageCertSign != 0 || len(got.ExtraExtensions) != 0 || got.Subject.String() != q.want {
			t.Errorf("%s: CA %t, usage %b, %d extensions, subject %s", name, got.IsCA, got.KeyUsage, len(got.ExtraExtensions), got.Subject)
		}
	}
}

// TestA5_TemplatesAreNoWildcards: what an identity says cannot widen a rule.
func TestA5_TemplatesAreNoWildcards(t *testing.T) {
	key := newKey(t)
	r := role(func(r *profile.Role) {
		r.AllowedDomains, r.AllowedDomainsTemplate, r.AllowSubdomains, r.AllowGlobDomains, r.AllowBareDomains = profile.Strings{"{{identity.entity.metadata.team}}.example.org"}, true, true, true, true
	})
	for value, want := range map[string]bool{"web": true, "*": false, "+": false, "x,evil.com": false, "evil.com/": false, "": false, "a\nb": false, "a b": false, "other": false} {
		e := env()
		e.Values = func(name string) (string, bool) { return value, name == "identity.entity.metadata.team" }
		_, err := r.Build(&profile.Request{CommonName: "a.web.example.org"}, key.Public(), e)
		if (err == nil) != want || err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("team %q: %v", value, err)
		}
	}
	e := env()
	e.Values = func(string) (string, bool) { return "", false }
	if _, err := r.Build(&profile.Request{CommonName: "a.example.org"}, key.Public(), e); err == nil {
		t.Error("a rule without its value let a name in")
	}
}

func TestValidity(t *testing.T) {
	key := newKey(t)
	now := env().Now
	day := 24 * time.Hour
	for _, tt := range []struct {
		name          string
		change        func(*profile.Role)
		q             profile.Request
		before, after time.Time
		warned, fails bool
	}{
		{name: "by default", before: now.Add(-30 * time.Second), after: now.Add(time.Hour)},
		{name: "by the role", change: func(r *profile.Role) { r.TTL, r.NotBeforeDuration = 60e9, 5e9 }, before: now.Add(-5 * time.Second), after: now.Add(time.Minute)},
		{name: "by the request", q: profile.Request{TTL: day}, before: now.Add(-30 * time.Second), after: now.Add(day)},
		{name: "cut to the role", change: func(r *profile.Role) { r.MaxTTL = 60e9 }, q: profile.Request{TTL: day}, before: now.Add(-30 * time.Second), after: now.Add(time.Minute), warned: true},
		{name: "cut to the mount", q: profile.Request{TTL: 2000 * time.Hour}, before: now.Add(-30 * time.Second), after: now.Add(1000 * time.Hour), warned: true},
		{name: "dates", q: profile.Request{NotBefore: "2026-01-01T00:00:00Z", NotAfter: "2027-01-01T00:00:00Z"}, before: now.Add(-day).Truncate(day), after: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
		{name: "a day", q: profile.Request{NotAfter: "2026-02-01"}, before: now.Add(-30 * time.Second), after: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)},
		{name: "an end that has been", q: profile.Request{NotAfter: "2020-01-01T00:00:00Z"}, fails: true},
		{name: "both", q: profile.Request{TTL: day, NotAfter: "2027-01-01T00:00:00Z"}, fails: true},
		{name: "no date", q: profile.Request{NotAfter: "tomorrow"}, fails: true},
		{name: "backwards", q: profile.Request{NotBefore: "2027-01-01T00:00:00Z"}, fails: true},
		{name: "forbidden end", change: func(r *profile.Role) { r.NotAfterBound = profile.BoundForbid }, q: profile.Request{NotAfter: "2026-02-01"}, fails: true},
		{name: "forbidden begin", change: func(r *profile.Role) { r.NotBeforeBound = profile.BoundForbid }, q: profile.Request{NotBefore: "2026-01-01"}, fails: true},
		{name: "an end beyond the lifetime", change: func(r *profile.Role) { r.NotAfterBound, r.MaxTTL = profile.BoundTTL, 60e9 }, q: profile.Request{NotAfter: "2026-02-01"}, fails: true},
		{name: "a begin too long ago", change: func(r *profile.Role) { r.NotBeforeBound = profile.BoundDuration }, q: profile.Request{NotBefore: "2026-01-01"}, fails: true},
		{name: "an end beyond a date", change: func(r *profile.Role) { r.NotAfterBound = "2026-01-15T00:00:00Z" }, q: profile.Request{NotAfter: "2026-02-01"}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := role(func(r *profile.Role) {
				r.AllowAnyName = true
				if tt.change != nil {
					tt.change(r)
				}
			})
			got, err := r.Build(&tt.q, key.Public(), env())
			if (err != nil) != tt.fails {
				t.Fatalf("got %v", err)
			}
			if err == nil && (!got.NotBefore.Equal(tt.before) || !got.NotAfter.Equal(tt.after) || (got.Warning != "") != tt.warned) {
				t.Errorf("from %v to %v, warning %q", got.NotBefore, got.NotAfter, got.Warning)
			}
		})
	}
}

func TestRolesAreChecked(t *testing.T) {
	for name, change := range map[string]func(*profile.Role){
		"ttl":            func(r *profile.Role) { r.TTL, r.MaxTTL = 10e9, 1e9 },
		"key type":       func(r *profile.Role) { r.KeyType = "dsa" },
		"key bits":       func(r *profile.Role) { r.KeyBits = 123 },
		"bits of any":    func(r *profile.Role) { r.KeyType, r.KeyBits = "any", 256 },
		"signature bits": func(r *profile.Role) { r.SignatureBits = 1 },
		"key usage":      func(r *profile.Role) { r.KeyUsage = profile.Strings{"Everything"} },
		"purpose":        func(r *profile.Role) { r.ExtKeyUsage = profile.Strings{"Everything"} },
		"purpose id":     func(r *profile.Role) { r.ExtKeyUsageOIDs = profile.Strings{"1"} },
		"policy":         func(r *profile.Role) { r.Policies = profile.Strings{"x"} },
		"policy object":  func(r *profile.Role) { r.Policies = profile.Strings{`{"oid":1}`} },
		"network":        func(r *profile.Role) { r.AllowedIPs = profile.Strings{"10.0.0.1"} },
		"validation":     func(r *profile.Role) { r.CNValidations = profile.Strings{"disabled", "email"} },
		"other names":    func(r *profile.Role) { r.AllowedOtherNames = profile.Strings{"x"} },
		"bound":          func(r *profile.Role) { r.NotAfterBound = "duration" },
		"date":           func(r *profile.Role) { r.NotAfter = "soon" },
	} {
		r := profile.NewRole()
		change(&r)
		if err := r.Check(); fault.KindOf(err) != fault.Invalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzBuild signs whatever certificate request comes, and checks that the rules
// hold in the template.
func FuzzBuild(f *testing.F) {
	key := newKey(f)
	for _, csr := range []*x509.CertificateRequest{{DNSNames: []string{"a.example.org"}}, {Subject: pkix.Name{CommonName: "*.example.org"}}, otherCSR("x"), {IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}} {
		f.Add(request(f, key, csr).Raw)
	}
	r := role(func(r *profile.Role) {
		r.AllowedDomains, r.AllowSubdomains, r.AllowWildcards, r.AllowedIPs = profile.Strings{"example.org"}, true, false, profile.Strings{"10.0.0.0/8"}
	})
	f.Fuzz(func(t *testing.T, der []byte) {
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return
		}
		got, err := r.Build(&profile.Request{CSR: csr}, key.Public(), env())
		if err != nil {
			return
		}
		for _, name := range got.DNSNames {
			if !strings.HasSuffix(name, ".example.org") || strings.Contains(name, "*") {
				t.Errorf("the name %q came through", name)
			}
		}
		if len(got.URIs) > 0 || len(got.ExtraExtensions) > 0 || got.IsCA {
			t.Errorf("something else came through: %+v", got)
		}
	})
}
