package acme

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Network is how challenges reach those who answer them.
type Network struct {
	// HTTPPort and TLSPort are "80" and "443" but in tests. Nothing else is
	// dialled.
	HTTPPort, TLSPort string
}

// Internet is the network with the ports of RFC 8555 and RFC 8737.
func Internet() Network { return Network{HTTPPort: "80", TLSPort: "443"} }

// Validator validates challenges.
type Validator struct {
	Network Network
	// Resolver is the address (host and port) of the DNS server to ask; "" is
	// the system's.
	Resolver string
	// Permitted are networks that are reached although they are not public, and
	// Excluded those that never are.
	Permitted, Excluded []netip.Prefix
}

// Challenge is what is to be shown, and where.
type Challenge struct {
	Type string // [HTTP01], [DNS01] or [TLSALPN01]
	// Kind and Value are the identifier, without a wildcard's "*.".
	Kind, Value string
	Token       string
	// Authorization is the key authorization.
	Authorization string
}

const (
	// attemptTime bounds one validation.
	attemptTime = 10 * time.Second
	// maxBody bounds what is read of an http-01 answer, in bytes.
	maxBody      = 4 << 10
	maxRedirects = 5
)

// Validate reports what is wrong with the answer to a challenge; nil is success.
func (v *Validator) Validate(ctx context.Context, c Challenge) *Problem {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	switch c.Type {
	case HTTP01:
		return v.http(ctx, c)
	case DNS01:
		return v.dns(ctx, c)
	case TLSALPN01:
		return v.tls(ctx, c)
	}
	return Errorf(Malformed, "there is no such challenge")
}

func (v *Validator) resolver() *net.Resolver {
	if v.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, v.Resolver)
	}}
}

var errForbidden = errors.New("the address is not one that challenges may reach")

// dialer connects to permitted addresses alone. It is asked about the address
// that the connection is made to, after the name was resolved, so a name that
// resolves to something else a moment later gains nothing.
func (v *Validator) dialer() *net.Dialer {
	return &net.Dialer{Resolver: v.resolver(), ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !v.MayReach(ap.Addr()) {
			return errForbidden
		}
		return nil
	}}
}

// MayReach decides about an address: public ones, unless they are excluded, and
// those that are permitted.
func (v *Validator) MayReach(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	in := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	if in(v.Excluded) {
		return false
	}
	return in(v.Permitted) || isPublic(ip)
}

// special are networks that are not public, beside those that package netip
// knows (RFC 6890).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() &&
		!slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// failed words a failure to connect. Addresses stay out of it: they would tell
// a stranger about the network.
func failed(c Challenge, err error) *Problem {
	var dns *net.DNSError
	switch {
	case errors.Is(err, errForbidden):
		return Errorf(Connection, "%s is at an address that challenges may not reach", c.Value)
	case errors.As(err, &dns):
		return Errorf(DNS, "looking up %s failed", c.Value)
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(Connection, "%s did not answer in time", c.Value)
	}
	return Errorf(Connection, "connecting to %s failed", c.Value)
}

// http fetches the well-known resource (RFC 8555, section 8.3).
func (v *Validator) http(ctx context.Context, c Challenge) *Problem {
	d := v.dialer()
	transport := &http.Transport{
		DialContext: d.DialContext, Proxy: nil, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
		// A redirect to https may meet a certificate that is about to be replaced:
		// that is what this is for.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errForbidden
		}
		return v.checkURL(r.URL)
	}}
	host := c.Value
	if c.Kind == TypeIP && strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if v.Network.HTTPPort != "80" {
		host += ":" + v.Network.HTTPPort
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/.well-known/acme-challenge/"+c.Token, http.NoBody)
	if err != nil {
		return Errorf(Malformed, "the identifier cannot be asked over HTTP")
	}
	res, err := client.Do(req)
	if err != nil {
		return failed(c, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return Errorf(Unauthorized, "%s answered with status %d", c.Value, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return failed(c, err)
	}
	if !same(strings.TrimRight(string(body), " \t\r\n"), c.Authorization) {
		return Errorf(Unauthorized, "%s answered with something else than the key authorization", c.Value)
	}
	return nil
}

// checkURL refuses redirects to other schemes and ports.
func (v *Validator) checkURL(u *url.URL) error {
	port := u.Port()
	switch u.Scheme {
	case "http":
		if port == "" {
			port = "80"
		}
	case "https":
		if port == "" {
			port = "443"
		}
	default:
		return errForbidden
	}
	if port != v.Network.HTTPPort && port != v.Network.TLSPort || u.User != nil {
		return errForbidden
	}
	return nil
}

// dns looks for the record (RFC 8555, section 8.4).
func (v *Validator) dns(ctx context.Context, c Challenge) *Problem {
	records, err := v.resolver().LookupTXT(ctx, "_acme-challenge."+strings.TrimSuffix(c.Value, ".")+".")
	if err != nil {
		return Errorf(DNS, "looking up the TXT record of _acme-challenge.%s failed", c.Value)
	}
	sum := sha256.Sum256([]byte(c.Authorization))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	for _, r := range records {
		if same(r, want) {
			return nil
		}
	}
	return Errorf(Unauthorized, "no TXT record of _acme-challenge.%s is the key authorization's digest", c.Value)
}

// The extension and the protocol of RFC 8737.
var oidACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

const alpnACME = "acme-tls/1"

// tls makes a handshake and looks at the certificate (RFC 8737, section 3).
func (v *Validator) tls(ctx context.Context, c Challenge) *Problem {
	name := c.Value
	if c.Kind == TypeIP {
		name = reverseName(c.Value)
	}
	d := tls.Dialer{NetDialer: v.dialer(), Config: &tls.Config{
		ServerName: name, NextProtos: []string{alpnACME}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // the certificate is self-signed; what it says is checked below
	}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(c.Value, v.Network.TLSPort))
	if err != nil {
		if p := failed(c, err); p.Detail != "connecting to "+c.Value+" failed" {
			return p
		}
		return Errorf(TLS, "the handshake with %s failed", c.Value)
	}
	defer func() { _ = conn.Close() }()
	state := conn.(*tls.Conn).ConnectionState()
	if state.NegotiatedProtocol != alpnACME || len(state.PeerCertificates) == 0 {
		return Errorf(Unauthorized, "%s does not speak %s", c.Value, alpnACME)
	}
	if !provesControl(state.PeerCertificates[0], c) {
		return Errorf(Unauthorized, "the certificate of %s does not prove control", c.Value)
	}
	return nil
}

// provesControl checks that a certificate is for the identifier alone and has
// the digest of the key authorization, as a critical extension.
func provesControl(cert *x509.Certificate, c Challenge) bool {
	switch c.Kind {
	case TypeDNS:
		if len(cert.DNSNames) != 1 || !strings.EqualFold(cert.DNSNames[0], c.Value) || len(cert.IPAddresses) != 0 {
			return false
		}
	case TypeIP:
		if len(cert.IPAddresses) != 1 || cert.IPAddresses[0].String() != c.Value || len(cert.DNSNames) != 0 {
			return false
		}
	}
	if len(cert.EmailAddresses)+len(cert.URIs) != 0 {
		return false
	}
	sum := sha256.Sum256([]byte(c.Authorization))
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidACMEIdentifier) {
			continue
		}
		var digest []byte
		rest, err := asn1.Unmarshal(ext.Value, &digest)
		return ext.Critical && err == nil && len(rest) == 0 && subtle.ConstantTimeCompare(digest, sum[:]) == 1
	}
	return false
}

// reverseName is the name of an address in a handshake (RFC 8738, section 6).
func reverseName(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	raw := addr.AsSlice()
	for i := len(raw) - 1; i >= 0; i-- {
		if addr.Is4() {
			b.WriteString(netip.AddrFrom4([4]byte{0, 0, 0, raw[i]}).String()[len("0.0.0."):] + ".")
			continue
		}
		b.WriteByte(digits[raw[i]&15])
		b.WriteByte('.')
		b.WriteByte(digits[raw[i]>>4])
		b.WriteByte('.')
	}
	if addr.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
