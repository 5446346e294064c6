package database_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
)

func took(fn func()) time.Duration {
	start := clock.System{}.Now()
	fn()
	return clock.System{}.Now().Sub(start)
}

func TestRestartOfTheDatabaseGoesUnnoticed(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app") // leaves a connection open
	s.Stop()
	s.Start()
	again := issue(t, m, "app") // the first request after it
	s.Stop()
	s.Start()
	revoke(t, m, c)
	revoke(t, m, again)
	if left := s.Roles("v-"); len(left) != 0 {
		t.Errorf("users left: %v", left)
	}
}

func TestDeadDatabaseDelaysNobodyElse(t *testing.T) {
	dead, well := pgtest.Start(t), pgtest.Start(t)
	m := mount(t)
	configure(t, m, dead, nil)
	m.Write("config/well", object{"plugin_name": "postgresql", "connection_url": well.Template("postgres"), "username": pgtest.Superuser, "password": pgtest.Password, "allowed_roles": "*"})
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	m.Write("roles/well", object{"db_name": "well", "creation_statements": createRole})
	c := issue(t, m, "app")
	m.Write("reset/pg", nil)
	dead.Freeze() // connections are accepted and never answered
	stuck := make(chan route.Verb, 20)
	for range cap(stuck) {
		go func() {
			if err := m.Call(route.VerbRead, "creds/app", nil).Err; fault.KindOf(err) != fault.Upstream {
				t.Errorf("frozen database: %v", err)
			}
			stuck <- 0
		}()
	}
	if d := took(func() { revoke(t, m, issue(t, m, "well")) }); d > 3*time.Second {
		t.Errorf("the other database took %v", d)
	}
	if d := took(func() {
		for range cap(stuck) {
			<-stuck
		}
	}); d > 10*time.Second {
		t.Errorf("%d requests to a frozen database took %v", cap(stuck), d)
	}
	// Revocation does not even try while the database is known to be away.
	if d := took(func() {
		for range 100 {
			if err := m.Instance.(engine.Revoker).Revoke(t.Context(), c.lease.Payload); fault.KindOf(err) != fault.Upstream {
				t.Errorf("revoking: %v", err)
			}
		}
	}); d > 3*time.Second {
		t.Errorf("revocations took %v", d)
	}
	dead.Thaw()
	m.Clock.Advance(time.Minute)
	revoke(t, m, c)
	m.Advance(time.Hour) // orphans, if any
	if left := dead.Roles("v-"); len(left) != 0 {
		t.Errorf("users left: %v", left)
	}
	if timers := m.Timers(); len(timers) != 0 {
		t.Errorf("timers left: %v", timers)
	}
}

func TestStoppedDatabaseIsReportedAtOnce(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app")
	s.Stop()
	if d := took(func() {
		err := m.Fails(fault.Upstream, route.VerbRead, "creds/app", nil)
		if text := fault.Message(err); !strings.Contains(text, "connection refused") || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), pgtest.Password) {
			t.Errorf("error %q", err)
		}
	}); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	if len(m.Timers()) != 0 {
		t.Error("an intent is left though nothing was sent")
	}
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), c.lease.Payload); fault.KindOf(err) != fault.Upstream {
		t.Errorf("revoking: %v", err)
	}
	s.Start()
	issue(t, m, "app") // a client's request tries at once
	revoke(t, m, c)
}

// certificate makes a self-signed authority, or a certificate from it for a
// host.
func certificate(t *testing.T, host string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := clock.System{}.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true}
	if parent == nil {
		tmpl.IsCA, parent, parentKey = true, tmpl, key
	} else if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

func TestServersMustProveThemselves(t *testing.T) {
	ca, caKey, caPEM, _ := certificate(t, "authority", nil, nil)
	_, _, otherPEM, _ := certificate(t, "another authority", nil, nil)
	_, _, cert, key := certificate(t, "127.0.0.1", ca, caKey)
	_, _, misnamed, misnamedKey := certificate(t, "db.example", ca, caKey)
	right, wrong, plain := pgtest.StartTLS(t, cert, key), pgtest.StartTLS(t, misnamed, misnamedKey), pgtest.Start(t)
	m := mount(t)
	for _, test := range []struct {
		what    string
		server  *pgtest.Server
		mode    string
		ca      []byte
		refused string
	}{
		{"right authority", right, "verify-full", caPEM, ""},
		{"right authority, mode not named", right, "", caPEM, ""},
		{"right authority, require", right, "require", caPEM, ""},
		{"wrong authority", right, "verify-full", otherPEM, "unknown authority"},
		{"wrong authority, mode not named", right, "", otherPEM, "unknown authority"},
		{"wrong authority, require", right, "require", otherPEM, "unknown authority"},
		{"wrong authority, prefer", right, "prefer", otherPEM, "unknown authority"},
		{"wrong authority, allow", right, "allow", otherPEM, "unknown authority"},
		{"wrong authority, verify-ca", right, "verify-ca", otherPEM, "unknown authority"},
		{"the system's authorities", right, "verify-full", nil, "unknown authority"},
		{"wrong name", wrong, "verify-full", caPEM, "host name"},
		{"wrong name, mode not named", wrong, "", caPEM, "host name"},
		{"wrong name, but only the authority matters", wrong, "verify-ca", caPEM, ""},
		{"explicitly unverified", wrong, "require", nil, ""},
		{"no TLS there", plain, "", caPEM, "TLS"},
		{"no TLS there, prefer", plain, "prefer", caPEM, "TLS"},
	} {
		t.Run(test.what, func(t *testing.T) {
			url, _, _ := strings.Cut(test.server.Template("postgres"), "?")
			if test.mode != "" {
				url += "?sslmode=" + test.mode
			}
			body := object{"plugin_name": "postgresql", "connection_url": url, "username": pgtest.Superuser, "password": pgtest.Password}
			if test.ca != nil {
				body["tls_ca"] = string(test.ca)
			}
			m.Delete("config/tls")
			err := m.Call(route.VerbWrite, "config/tls", body).Err
			if test.refused == "" && err != nil || test.refused != "" && !strings.Contains(fault.Message(err), test.refused) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestClientCertificateIsPresentedAndNotRead(t *testing.T) {
	ca, caKey, caPEM, _ := certificate(t, "authority", nil, nil)
	_, _, cert, key := certificate(t, "127.0.0.1", ca, caKey)
	_, _, own, ownKey := certificate(t, "postgres", ca, caKey)
	s := pgtest.StartTLS(t, cert, key)
	m := mount(t)
	configure(t, m, s, object{"tls_ca": string(caPEM), "tls_certificate": string(own), "private_key": string(ownKey)})
	if got := string(m.Read("config/pg").Data); strings.Contains(got, "PRIVATE KEY") || !strings.Contains(got, "CERTIFICATE") {
		t.Errorf("read %s", got)
	}
}
