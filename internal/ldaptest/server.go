package ldaptest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// What every server has.
const (
	Base         = "dc=example,dc=org"
	BindDN       = "cn=admin,dc=example,dc=org"
	BindPassword = "adminpw"
	ServiceDN    = "cn=svc,dc=example,dc=org"
	ServicePW    = "svcpw"
	UserDN       = "ou=users,dc=example,dc=org"
	GroupDN      = "ou=groups,dc=example,dc=org"
)

// patience bounds the wait for a server to start or stop.
const patience = 20 * time.Second

// Server is a running directory.
type Server struct {
	// URL and TLSURL are where it listens.
	URL, TLSURL string
	// CAPEM is the certificate that it shows, for 127.0.0.1.
	CAPEM string

	t      testing.TB
	dir    string
	args   []string
	cmd    *exec.Cmd
	exited chan error
}

const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
attributetype ( 1.2.840.113556.1.4.656 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.221 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.99999.1 NAME 'principal' SUP top AUXILIARY MAY ( userPrincipalName $ sAMAccountName ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile %[1]s/pid
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw adminpw
directory %[1]s/data
maxsize 67108864
dbnosync
index uid,cn,member eq
overlay memberof
access to attrs=userPassword by self write by anonymous auth by * none
access to * by * read
`

// Start starts a server with its directory and stops it when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	binary, err := exec.LookPath("/usr/sbin/slapd")
	if err != nil {
		t.Fatal("this test needs OpenLDAP's server; install the package slapd")
	}
	s := &Server{t: t, dir: t.TempDir()}
	if err := s.files(); err != nil {
		t.Fatal(err)
	}
	port, tlsPort := freePort(t), freePort(t)
	s.URL, s.TLSURL = "ldap://127.0.0.1:"+port, "ldaps://127.0.0.1:"+tlsPort
	s.args = []string{binary, "-f", filepath.Join(s.dir, "slapd.conf"), "-h", s.URL + " " + s.TLSURL, "-d", "0"}
	s.start()
	t.Cleanup(s.Stop)
	s.seed()
	return s
}

func (s *Server) files() error {
	cert, key, err := certificate()
	if err != nil {
		return err
	}
	s.CAPEM = string(cert)
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"slapd.conf": fmt.Appendf(nil, slapdConf, s.dir), "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// certificate makes one for 127.0.0.1 that is its own authority.
func certificate() (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), err
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// start starts the process and waits until it answers.
func (s *Server) start() {
	s.t.Helper()
	var out bytes.Buffer
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &out, &out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	deadline := time.After(patience)
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if c, err := ldap.DialURL(s.URL); err == nil {
			_ = c.Close()
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case err := <-s.exited:
			s.t.Fatalf("slapd has ended: %v\n%s", err, out.String())
		case <-deadline:
			s.t.Fatalf("slapd does not answer\n%s", out.String())
		}
	}
}

// Stop stops the server; it can be started again with its data.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// Restart starts a server that was stopped.
func (s *Server) Restart() { s.t.Helper(); s.start() }

// As returns a connection that is bound as somebody, "" for nobody.
func (s *Server) As(dn, password string) (*ldap.Conn, error) {
	c, err := ldap.DialURL(s.URL)
	if err != nil || dn == "" {
		return c, err
	}
	return c, errors.Join(c.Bind(dn, password))
}

// Add makes an entry: attributes and values alternate; several values of one
// attribute repeat it.
func (s *Server) Add(dn string, attributes ...string) {
	s.t.Helper()
	s.change(func(c *ldap.Conn) error {
		values, order := map[string][]string{}, []string{}
		for i := 0; i+1 < len(attributes); i += 2 {
			name := attributes[i]
			if values[name] == nil {
				order = append(order, name)
			}
			values[name] = append(values[name], attributes[i+1])
		}
		r := ldap.NewAddRequest(dn, nil)
		for _, name := range order {
			r.Attribute(name, values[name])
		}
		return c.Add(r)
	})
}

// Person makes an inetOrgPerson under ou=users.
func (s *Server) Person(uid, password string, more ...string) {
	s.t.Helper()
	s.Add("uid="+ldap.EscapeDN(uid)+","+UserDN, append([]string{"objectClass", "inetOrgPerson", "uid", uid, "cn", uid, "sn", uid, "userPassword", password}, more...)...)
}

// Group makes a groupOfNames under ou=groups with the DNs of its members.
func (s *Server) Group(cn string, members ...string) {
	s.t.Helper()
	attributes := []string{"objectClass", "groupOfNames", "cn", cn}
	for _, m := range members {
		attributes = append(attributes, "member", m)
	}
	s.Add("cn="+ldap.EscapeDN(cn)+","+GroupDN, attributes...)
}

// Delete removes an entry.
func (s *Server) Delete(dn string) {
	s.t.Helper()
	s.change(func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(dn, nil)) })
}

// Replace sets an attribute.
func (s *Server) Replace(dn, attribute string, values ...string) {
	s.t.Helper()
	s.change(func(c *ldap.Conn) error {
		r := ldap.NewModifyRequest(dn, nil)
		r.Replace(attribute, values)
		return c.Modify(r)
	})
}

// change does something as the directory's owner.
func (s *Server) change(fn func(*ldap.Conn) error) {
	s.t.Helper()
	c, err := s.As(BindDN, BindPassword)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := fn(c); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) seed() {
	s.t.Helper()
	s.Add(Base, "objectClass", "organization", "objectClass", "dcObject", "dc", "example", "o", "example")
	s.Add(UserDN, "objectClass", "organizationalUnit", "ou", "users")
	s.Add(GroupDN, "objectClass", "organizationalUnit", "ou", "groups")
	s.Add(ServiceDN, "objectClass", "organizationalRole", "objectClass", "simpleSecurityObject", "cn", "svc", "userPassword", ServicePW)
	s.Person("alice", "alicepw", "mail", "alice@example.org")
	s.Person("bob", "bobpw")
	s.Group("engineers", "uid=alice,"+UserDN)
}
