package server_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/server"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// remoteOf returns the address that the audit log has for a path.
func remoteOf(t *testing.T, log, path string) string {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // without a line there is no file
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"path":"`+path+`"`) {
			_, rest, _ := strings.Cut(line, `"remote_address":"`)
			addr, _, _ := strings.Cut(rest, `"`)
			return addr
		}
	}
	return "not served"
}

func TestProxyProtocol(t *testing.T) {
	const header = "PROXY TCP4 203.0.113.9 192.0.2.2 4711 8200\r\n"
	loopback, others := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")
	for _, tt := range []struct {
		name, behavior string
		authorized     netip.Prefix
		header         string
		want           string // the client's address
	}{
		{"off", "", loopback, "", "127.0.0.1"},
		{"always", "use_always", others, header, "203.0.113.9"},
		{"always, none sent", "use_always", others, "", "127.0.0.1"},
		{"authorised to be allowed", "allow_authorized", loopback, header, "203.0.113.9"},
		{"not authorised to be allowed", "allow_authorized", others, header, "127.0.0.1"},
		{"not authorised and none sent", "allow_authorized", others, "", "127.0.0.1"},
		{"not denied", "deny_unauthorized", loopback, header, "203.0.113.9"},
		{"not denied, none sent", "deny_unauthorized", loopback, "", "127.0.0.1"},
		{"denied", "deny_unauthorized", others, header, "not served"},
		{"denied, none sent", "deny_unauthorized", others, "", "not served"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.New(t, servertest.Options{Change: func(c *config.Config) {
				c.Listeners[0].ProxyProtocol = config.ProxyProtocol{Behavior: tt.behavior, Authorized: []netip.Prefix{tt.authorized}}
			}})
			for range 2 { // a connection that is refused does not end the listener
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addr, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(conn, tt.header+"GET /v1/probe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") // it may be closed already
				_, _ = io.ReadAll(conn)
				_ = conn.Close()
			}
			if got := remoteOf(t, s.AuditLog, "probe"); got != tt.want {
				t.Errorf("the client is %s, want %s", got, tt.want)
			}
		})
	}
}

// authority is a certificate authority of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	der, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, key
	return a
}

func (a *authority) sign(c *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.n), time.Unix(0, 0), time.Unix(1<<33, 0)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// issue makes a certificate for loopback.
func (a *authority) issue() tls.Certificate {
	der, key := a.sign(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func write(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// install puts a new certificate of the server in place.
func (a *authority) install(dir string) (certFile, keyFile string) {
	c := a.issue()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return write(a.t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", c.Certificate[0]), write(a.t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", der)
}

// start runs a server and returns where it listens and how to make it reload.
func start(t *testing.T, change func(*config.Config)) (url string, reload chan<- *config.Config, log *servertest.Buffer) {
	t.Helper()
	c := config.Dev(config.DevFlags{RootTokenID: "root", ListenAddress: "127.0.0.1:0", NoStoreToken: true})
	change(c)
	log = &servertest.Buffer{}
	urls := make(chan []string, 1)
	s, err := server.New(server.Options{Config: c, Out: io.Discard, Log: diag.NewLevels(slog.NewTextHandler(log, nil), slog.LevelInfo), Listening: func(u []string) { urls <- u }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends with the test
	ch, done := make(chan *config.Config), make(chan error, 1)
	go func() { done <- s.Run(ctx, ch) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	select {
	case u := <-urls:
		return u[0], ch, log
	case err := <-done:
		done <- nil
		t.Fatalf("starting: %v", err)
	}
	return "", nil, nil
}

// serial makes a connection of its own and returns the number of the server's
// certificate.
func serial(url string, c *tls.Config) (int64, error) {
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), c)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	// A server refuses a client's certificate after the client's handshake.
	if _, err := io.WriteString(conn, "GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestClientCertificates(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	certFile, keyFile := ours.install(dir)
	ca := write(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ours.cert.Raw)
	none, good, bad := tls.Certificate{}, ours.issue(), theirs.issue()
	for name, tt := range map[string]struct {
		tls   config.TLS
		takes [3]bool // none, good, bad
	}{
		"required":           {config.TLS{ClientCAFile: ca, RequireClientCert: true}, [3]bool{false, true, false}},
		"verified if given":  {config.TLS{ClientCAFile: ca}, [3]bool{true, true, false}},
		"taken without a CA": {config.TLS{}, [3]bool{true, true, true}},
		"not asked for":      {config.TLS{ClientCAFile: ca, IgnoreClientCerts: true}, [3]bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			url, _, _ := start(t, func(c *config.Config) {
				l := &c.Listeners[0]
				l.TLS = tt.tls
				l.TLS.CertFile, l.TLS.KeyFile, l.TLS.MinVersion, l.TLS.MaxVersion = certFile, keyFile, tls.VersionTLS12, tls.VersionTLS13
			})
			for i, cert := range []tls.Certificate{none, good, bad} {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					// The callback shows the certificate whatever the server asks for.
					_, err := serial(url, &tls.Config{RootCAs: ours.pool(), MinVersion: version, MaxVersion: version, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }})
					if (err == nil) != tt.takes[i] {
						t.Errorf("certificate %d, %s: %v", i, tls.VersionName(version), err)
					}
				}
			}
		})
	}
}

func TestANewCertificateIsUsedAfterAReload(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	certFile, keyFile := ca.install(dir)
	first := ca.n
	url, reload, log := start(t, func(c *config.Config) {
		c.Listeners[0].TLS = config.TLS{CertFile: certFile, KeyFile: keyFile, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}
	})
	client := &tls.Config{RootCAs: ca.pool()}
	want := func(n int64) {
		t.Helper()
		if got, err := serial(url, client); err != nil || got != n {
			t.Errorf("the certificate is number %d, want %d: %v", got, n, err)
		}
	}
	want(first)
	ca.install(dir)
	want(first) // nobody has asked for it
	reload <- nil
	reload <- nil // taken once the first is done
	want(ca.n)
	second := ca.n
	if err := os.WriteFile(certFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload <- nil
	reload <- nil
	want(second)
	if !strings.Contains(log.String(), "keeping the old certificate") {
		t.Error("nothing is said of a certificate that cannot be read")
	}
}

func TestUnixSockets(t *testing.T) {
	for mode, want := range map[string]os.FileMode{"": 0o600, "660": 0o660} {
		path := filepath.Join(t.TempDir(), "coffer.sock")
		// A socket that a crash has left behind is in nobody's way.
		left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		left.SetUnlinkOnClose(false)
		_ = left.Close()
		url, _, _ := start(t, func(c *config.Config) {
			c.Listeners[0] = config.Listener{Type: "unix", Address: path, Socket: config.Socket{Mode: mode}, TLS: config.TLS{Disabled: true}}
		})
		if url != "unix://"+path {
			t.Errorf("it listens at %s", url)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("mode %q: got %v, %v", mode, st.Mode(), err)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
		resp, err := client.Get("http://socket/v1/sys/health")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %v, %v", resp, err)
		}
		_ = resp.Body.Close()
		c := config.Dev(config.DevFlags{NoStoreToken: true})
		c.Listeners[0] = config.Listener{Type: "unix", Address: path, TLS: config.TLS{Disabled: true}}
		s, err := server.New(server.Options{Config: c, Out: io.Discard, Log: diag.NewLevels(slog.DiscardHandler, slog.LevelInfo)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "another process listens") {
			t.Errorf("a second server at the socket: %v", err)
		}
	}
}

func TestFollowingTheLogEndsWithTheServer(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	req, err := http.NewRequest(http.MethodGet, s.Addr+"/v1/sys/monitor?log_level=debug", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", servertest.RootToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", resp, err)
	}
	defer resp.Body.Close()
	stopped := make(chan struct{})
	go func() { s.Stop(); close(stopped) }()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	select {
	case <-stopped:
	case <-time.After(20 * time.Second):
		t.Error("the server waits for whoever follows its log")
	}
}

func TestTokensComeByEitherHeader(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	for _, tt := range []struct {
		status  int
		headers []string
	}{
		{200, []string{"X-Vault-Token", "root"}},
		{200, []string{"X-Vault-Token", " root "}},
		{200, []string{"Authorization", "Bearer root"}},
		{200, []string{"Authorization", "Bearer wrong", "X-Vault-Token", "root"}},
		{403, []string{"Authorization", "Bearer root", "X-Vault-Token", "wrong"}},
		{403, []string{"Authorization", "Basic root"}},
		{403, []string{"Authorization", "root"}},
		{403, nil},
	} {
		if a := s.Do("GET", "auth/token/lookup-self", "", nil, tt.headers...); a.Status != tt.status {
			t.Errorf("%q: got %s", fmt.Sprint(tt.headers), a)
		}
	}
}
