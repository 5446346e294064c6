package httpd

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// opens reports whether the listener lets a path of sys/ be used without a
// token, because its configuration says so.
func (l *Listener) opens(path string) bool {
	rest, ok := strings.CutPrefix(path, "sys/")
	if !ok {
		return false
	}
	a := &l.Config.Access
	switch {
	case rest == "metrics":
		return a.UnauthenticatedMetrics
	case rest == "pprof" || strings.HasPrefix(rest, "pprof/"):
		return a.UnauthenticatedPprof
	case rest == "in-flight-req":
		return a.UnauthenticatedInFlight
	case strings.HasPrefix(rest, "rekey/") && rest != "rekey/backup":
		return !a.DisableUnauthedRekey
	case rest == "generate-root" || strings.HasPrefix(rest, "generate-root/"):
		return !a.DisableUnauthedGenerateRoot
	}
	return false
}

// serves reports whether the listener serves a path at all.
func (l *Listener) serves(path string) bool {
	return !l.Config.Access.MetricsOnly || path == "sys/metrics" || path == "sys/health"
}

// remote returns the client's address: the connection's, or what an authorised
// proxy says of it.
func (l *Listener) remote(r *http.Request) (netip.Addr, int, error) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, 0, nil // a unix socket has no addresses
	}
	addr, err := l.forwarded(ap.Addr().Unmap(), r.Header)
	return addr, int(ap.Port()), err
}

// forwarded reads X-Forwarded-For from a proxy that may speak for others. The
// rightmost addresses were added by the nearest proxies.
func (l *Listener) forwarded(peer netip.Addr, h http.Header) (netip.Addr, error) {
	f := &l.Config.Forwarded
	if len(f.Authorized) == 0 {
		return peer, nil
	}
	values := h.Values("X-Forwarded-For")
	trusted := false
	for _, p := range f.Authorized {
		trusted = trusted || p.Contains(peer)
	}
	switch {
	case len(values) == 0 && f.RejectNotPresent:
		return peer, fault.New(fault.Invalid, "missing x-forwarded-for header and configured to reject when not present")
	case len(values) == 0:
		return peer, nil
	case !trusted && f.RejectNotAuthorized:
		return peer, fault.New(fault.Invalid, "client address not authorized for x-forwarded-for, rejecting connection")
	case !trusted:
		return peer, nil
	}
	hops := strings.Split(strings.Join(values, ","), ",")
	at := len(hops) - 1 - f.HopSkips
	if at < 0 {
		return peer, fault.New(fault.Invalid, "malformed x-forwarded-for header: fewer addresses than hops to skip")
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(hops[at]))
	if err != nil {
		return peer, fault.New(fault.Invalid, "malformed x-forwarded-for header")
	}
	return addr.Unmap(), nil
}
