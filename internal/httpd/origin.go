package httpd

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/wire"
)

// The headers in which a node tells the leader of a request's client. They are
// believed on connections between nodes, and nowhere else: what a client sends
// under these names stays behind.
const (
	ownPrefix         = "Coffer-"
	notExecutedHeader = "Coffer-Not-Executed" // of an answer: nothing was done
	hopsHeader        = "Coffer-Hops"
	idHeader          = "Coffer-Request-Id"
	remoteHeader      = "Coffer-Remote"      // address and port; absent for a unix socket
	openHeader        = "Coffer-Open"        // see [gate.Request.Open]
	limitsHeader      = "Coffer-Limits"      // see [wire.Limits]
	certificateHeader = "Coffer-Certificate" // one for each of the client's, in base64; absent without TLS
	tlsHeader         = "Coffer-Tls"         // version, cipher suite, server name; absent without TLS
)

// origin is what the leader cannot see of a request itself.
type origin struct{ req *gate.Request }

func (o origin) write(h http.Header) {
	r := o.req
	h.Set(hopsHeader, "1")
	h.Set(idHeader, r.ID)
	if r.Within != "" {
		h.Set(namespaceHeader, r.Within) // with the listener's own before it
	}
	if r.Remote.IsValid() {
		h.Set(remoteHeader, netip.AddrPortFrom(r.Remote, uint16(r.RemotePort)).String())
	}
	if r.Open {
		h.Set(openHeader, "1")
	}
	if r.Limits != wire.DefaultLimits {
		h.Set(limitsHeader, writeLimits(r.Limits))
	}
	if r.TLS == nil {
		return
	}
	h.Set(tlsHeader, strconv.Itoa(int(r.TLS.Version))+" "+strconv.Itoa(int(r.TLS.CipherSuite))+" "+r.TLS.ServerName)
	for _, c := range r.TLS.PeerCertificates {
		h.Add(certificateHeader, base64.StdEncoding.EncodeToString(c.Raw))
	}
}

var errOrigin = fault.New(fault.Invalid, "what the other node says of the client is malformed")

// parseForwarded makes the gate's request of one that another node has taken.
func (f *Forwarded) parseForwarded(r *http.Request) (*gate.Request, error) {
	h := r.Header
	in := &inbound{listener: f.Listener, flight: flying{id: h.Get(idHeader), http: r}}
	if err := in.parse(); err != nil {
		return nil, err
	}
	req := &in.request
	var err error
	req.Remote, req.RemotePort = netip.Addr{}, 0
	if text := h.Get(remoteHeader); text != "" {
		ap, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, errOrigin
		}
		req.Remote, req.RemotePort = ap.Addr(), int(ap.Port())
	}
	req.Open = h.Get(openHeader) == "1"
	if text := h.Get(limitsHeader); text != "" {
		if req.Limits, err = parseLimits(text); err != nil {
			return nil, err
		}
	}
	if req.TLS, err = parseTLS(h); err != nil {
		return nil, err
	}
	for name := range h {
		if strings.HasPrefix(name, ownPrefix) {
			delete(h, name) // the audit log is about the client's headers
		}
	}
	return req, nil
}

func parseTLS(h http.Header) (*tls.ConnectionState, error) {
	text := h.Get(tlsHeader)
	if text == "" {
		return nil, nil //nolint:nilnil // no TLS is nil, as in an http.Request
	}
	version, rest, _ := strings.Cut(text, " ")
	suite, name, _ := strings.Cut(rest, " ")
	v, err := strconv.ParseUint(version, 10, 16)
	if err != nil {
		return nil, errOrigin
	}
	c, err := strconv.ParseUint(suite, 10, 16)
	if err != nil {
		return nil, errOrigin
	}
	state := &tls.ConnectionState{HandshakeComplete: true, Version: uint16(v), CipherSuite: uint16(c), ServerName: name}
	for _, text := range h[certificateHeader] {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errOrigin
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errOrigin
		}
		state.PeerCertificates = append(state.PeerCertificates, cert)
	}
	return state, nil
}

func writeLimits(l wire.Limits) string {
	parts := make([]string, 0, len(limitFields(&l)))
	for _, v := range limitFields(&l) {
		parts = append(parts, strconv.Itoa(*v))
	}
	return strings.Join(parts, " ")
}

func parseLimits(text string) (l wire.Limits, err error) {
	parts, fields := strings.Split(text, " "), limitFields(&l)
	if len(parts) != len(fields) {
		return l, errOrigin
	}
	for i, v := range fields {
		if *v, err = strconv.Atoi(parts[i]); err != nil || *v <= 0 {
			return l, errOrigin
		}
	}
	return l, nil
}

// limitFields are the fields of limits in the order in which they are sent.
func limitFields(l *wire.Limits) []*int {
	return []*int{&l.Depth, &l.String, &l.Keys, &l.Elements, &l.Values}
}
