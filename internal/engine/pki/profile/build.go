package profile

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
)

// Request is what somebody wants a certificate to say.
type Request struct {
	CommonName   string
	AltNames     []string // DNS names and email addresses
	IPs          []string
	URIs         []string
	OtherNames   []string
	UserIDs      []string
	SerialNumber string // of the subject
	TTL          time.Duration
	NotBefore    string
	NotAfter     string
	ExcludeCN    bool // keep the common name out of the alternative names
	// CSR, if set, is a request whose signature has been checked.
	CSR *x509.CertificateRequest
	// WholeSubject takes the subject's attributes from the CSR, not the role.
	WholeSubject bool
}

// Env is what a certificate depends on beside the role and the request.
type Env struct {
	Now time.Time
	// DefaultTTL and MaxTTL are the mount's.
	DefaultTTL, MaxTTL time.Duration
	// DisplayName is the caller's.
	DisplayName string
	// Values are what templates may speak of; nil for nothing.
	Values func(name string) (string, bool)
}

// Template is a certificate that only lacks its issuer.
type Template struct {
	*x509.Certificate
	// Warning is what the caller should know, "" if nothing.
	Warning string
}

// Build makes the template of a certificate for a key. It refuses with
// [fault.Invalid] what the role does not allow. The template has no serial
// number and nothing of the issuer.
func (r *Role) Build(q *Request, public crypto.PublicKey, env Env) (*Template, error) {
	spec, ok := keypair.Of(public)
	if !ok {
		return nil, fault.New(fault.Invalid, "the key must be RSA, ECDSA or Ed25519")
	}
	if err := r.checkPublic(spec); err != nil {
		return nil, err
	}
	n, err := r.collect(q)
	if err != nil {
		return nil, err
	}
	if err := r.check(n, env); err != nil {
		return nil, err
	}
	v, err := r.Validity(q, env)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{NotBefore: v.NotBefore, NotAfter: v.NotAfter, PublicKey: public, BasicConstraintsValid: r.BasicConstraints}
	if t.SubjectKeyId, err = keypair.ID(public); err != nil {
		return nil, err
	}
	if err := r.FillUsage(t); err != nil {
		return nil, err
	}
	if err := r.fillNames(t, n, q); err != nil {
		return nil, err
	}
	return &Template{t, v.Warning}, nil
}

// FillUsage writes the usages and policies of the role into a template.
func (r *Role) FillUsage(t *x509.Certificate) (err error) {
	if t.KeyUsage, err = keyUsage(r.KeyUsage); err != nil {
		return err
	}
	if t.ExtKeyUsage, t.UnknownExtKeyUsage, err = r.extKeyUsage(); err != nil {
		return err
	}
	list, err := policies(r.Policies)
	if err != nil || len(list) == 0 {
		return err
	}
	ext, err := policyExtension(list)
	t.ExtraExtensions = append(t.ExtraExtensions, ext)
	return err
}

// names are all names of a certificate, wherever they came from.
type names struct {
	common  string
	dns     []string
	email   []string
	ips     []netip.Addr
	uris    []*url.URL
	others  []otherName
	userIDs []string
	serial  string
}

// collect takes the names from the request's fields or its CSR, as the role
// says.
func (r *Role) collect(q *Request) (*names, error) {
	n := &names{common: strings.TrimSpace(q.CommonName), serial: q.SerialNumber, userIDs: q.UserIDs}
	if q.CSR != nil && r.UseCSRCommonName && q.CSR.Subject.CommonName != "" {
		n.common = q.CSR.Subject.CommonName
	}
	if q.WholeSubject && q.CSR != nil && n.serial == "" {
		n.serial = q.CSR.Subject.SerialNumber
	}
	var err error
	if q.CSR != nil && r.UseCSRNames {
		err = n.fromCSR(q.CSR)
	} else {
		err = n.fromFields(q)
	}
	if err != nil {
		return nil, err
	}
	if !q.ExcludeCN {
		n.includeCommon()
	}
	return n, n.normalise(r)
}

func (n *names) fromCSR(csr *x509.CertificateRequest) error {
	n.dns, n.email, n.uris = slices.Clone(csr.DNSNames), slices.Clone(csr.EmailAddresses), csr.URIs
	for _, ip := range csr.IPAddresses {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return errAltNames
		}
		n.ips = append(n.ips, addr)
	}
	var err error
	n.others, err = otherNames(csr)
	return err
}

func (n *names) fromFields(q *Request) error {
	for _, name := range q.AltNames {
		switch name = strings.TrimSpace(name); {
		case name == "":
		case strings.Contains(name, "@"):
			n.email = append(n.email, name)
		default:
			n.dns = append(n.dns, name)
		}
	}
	for _, text := range q.IPs {
		ip, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil || ip.Zone() != "" {
			return fault.Newf(fault.Invalid, "%q is no IP address", clip(text))
		}
		n.ips = append(n.ips, ip)
	}
	for _, text := range q.URIs {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme == "" {
			return fault.Newf(fault.Invalid, "%q is no URI", clip(text))
		}
		n.uris = append(n.uris, u)
	}
	for _, text := range q.OtherNames {
		o, err := parseOther(text)
		if err != nil {
			return err
		}
		n.others = append(n.others, o)
	}
	return nil
}

// includeCommon puts the common name among the alternative names, first, if it
// is a name of that sort.
func (n *names) includeCommon() {
	if strings.Contains(n.common, "@") {
		n.email = append([]string{n.common}, n.email...)
		return
	}
	if ip, err := netip.ParseAddr(n.common); err == nil {
		n.ips = append([]netip.Addr{ip}, n.ips...)
		return
	}
	if _, _, ok := asciiName(n.common); ok {
		n.dns = append([]string{n.common}, n.dns...)
	}
}

// normalise gives each name its one spelling and drops what is there twice.
func (n *names) normalise(r *Role) error {
	for i, name := range n.dns {
		ascii, _, ok := asciiName(name)
		switch {
		case ok:
			n.dns[i] = strings.TrimSuffix(ascii, ".")
		case r.EnforceHostnames || !isIA5(name):
			return fault.Newf(fault.Invalid, "%q is no valid host name", clip(name))
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return fault.Newf(fault.Invalid, "%s is an address, not a DNS name: give it in ip_sans", name)
		}
	}
	for i, name := range n.email {
		local, domain, ok := strings.Cut(name, "@")
		if !ok || local == "" || !isIA5(local) {
			return fault.Newf(fault.Invalid, "%q is no valid email address", clip(name))
		}
		if ascii, wildcard, ok := asciiName(domain); ok && !wildcard {
			n.email[i] = local + "@" + ascii
		} else if r.EnforceHostnames || !isIA5(domain) {
			return fault.Newf(fault.Invalid, "%q is no valid email address", clip(name))
		}
	}
	for i := range n.ips {
		n.ips[i] = n.ips[i].Unmap()
	}
	n.dns, n.email, n.ips = unique(n.dns), unique(n.email), unique(n.ips)
	return nil
}

func isIA5(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= 0x20 || r >= 0x7f })
}

func unique[T comparable](list []T) []T {
	var out []T
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// check asks the role about every name.
func (r *Role) check(n *names, env Env) error {
	values := env.Values
	if values == nil {
		values = func(string) (string, bool) { return "", false }
	}
	domains, err := expanded(r.AllowedDomains, r.AllowedDomainsTemplate, r.AllowGlobsInTemplates, values)
	if err != nil {
		return err
	}
	who := asker{displayName: env.DisplayName, domains: domains}
	if err := r.checkCommonName(n.common, who); err != nil {
		return err
	}
	for _, name := range slices.Concat(n.dns, n.email) {
		if !r.allowsName(strings.ToLower(name), who) {
			return fault.Newf(fault.Invalid, "subject alternate name %q not allowed by this role", clip(name))
		}
	}
	for _, ip := range n.ips {
		if err := r.checkIP(ip); err != nil {
			return err
		}
	}
	uris, err := expanded(r.AllowedURIs, r.AllowedURIsTemplate, r.AllowGlobsInTemplates, values)
	if err != nil {
		return err
	}
	for _, u := range n.uris {
		if text := u.String(); !isIA5(text) || !globs(uris, text) {
			return fault.Newf(fault.Invalid, "URI %q not allowed by this role", clip(text))
		}
	}
	for _, o := range n.others {
		if err := r.checkOther(o); err != nil {
			return err
		}
	}
	if n.serial != "" && !globs(r.AllowedSerialNumbers, n.serial) {
		return fault.New(fault.Invalid, "serial_number not allowed by this role")
	}
	for _, id := range n.userIDs {
		if !globs(r.AllowedUserIDs, id) {
			return fault.Newf(fault.Invalid, "user_id %q not allowed by this role", clip(id))
		}
	}
	return nil
}

// fillNames writes subject and alternative names.
func (r *Role) fillNames(t *x509.Certificate, n *names, q *Request) error {
	t.Subject = pkix.Name{Country: r.Country, Organization: r.Organization, OrganizationalUnit: r.Unit, Locality: r.Locality, Province: r.Province, StreetAddress: r.StreetAddress, PostalCode: r.PostalCode}
	if q.WholeSubject && q.CSR != nil {
		s := q.CSR.Subject
		t.Subject = pkix.Name{Country: s.Country, Organization: s.Organization, OrganizationalUnit: s.OrganizationalUnit, Locality: s.Locality, Province: s.Province, StreetAddress: s.StreetAddress, PostalCode: s.PostalCode}
	}
	t.Subject.CommonName, t.Subject.SerialNumber = n.common, n.serial
	for _, id := range n.userIDs {
		t.Subject.ExtraNames = append(t.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: oidUserID, Value: id})
	}
	t.DNSNames, t.EmailAddresses, t.URIs = n.dns, n.email, n.uris
	for _, ip := range n.ips {
		t.IPAddresses = append(t.IPAddresses, net.IP(ip.AsSlice()))
	}
	if len(n.others) == 0 {
		return nil
	}
	ext, err := altNames(t, n.others, len(t.Subject.ToRDNSequence()) == 0)
	t.ExtraExtensions = append(t.ExtraExtensions, ext)
	return err
}

// AlternativeOnly builds subject and alternative names for a certificate
// authority: names are the operator's, so no rule binds them.
func AlternativeOnly(q *Request, subject Role) (*x509.Certificate, error) {
	r := Verbatim()
	r.Country, r.Organization, r.Unit, r.Locality, r.Province = subject.Country, subject.Organization, subject.Unit, subject.Locality, subject.Province
	r.StreetAddress, r.PostalCode, r.UseCSRCommonName, r.UseCSRNames = subject.StreetAddress, subject.PostalCode, subject.UseCSRCommonName, subject.UseCSRNames
	n, err := r.collect(q)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{}
	return t, r.fillNames(t, n, q)
}

// Admits reports, as an error, whether the role lets all names of a request
// into a certificate.
func (r *Role) Admits(q *Request, env Env) error {
	n, err := r.collect(q)
	if err != nil {
		return err
	}
	return r.check(n, env)
}

// HasOtherNames reports whether a certificate request has alternative names of
// kinds that the standard library does not read, or malformed ones.
func HasOtherNames(csr *x509.CertificateRequest) bool {
	list, err := otherNames(csr)
	return err != nil || len(list) > 0
}

// ValidDNSName reports whether a name in lower case is a DNS name, or a
// wildcard whose first label is "*".
func ValidDNSName(name string) bool {
	ascii, wildcard, ok := asciiName(name)
	return ok && ascii == name && (!wildcard || strings.HasPrefix(name, "*."))
}
