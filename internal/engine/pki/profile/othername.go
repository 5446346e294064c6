package profile

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"strings"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// The tags of a GeneralName (RFC 5280, section 4.2.1.6).
const (
	tagOtherName = 0
	tagEmail     = 1
	tagDNS       = 2
	tagURI       = 6
	tagIP        = 7
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidPolicies       = asn1.ObjectIdentifier{2, 5, 29, 32}
	oidCPS            = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 2, 1}
	oidNotice         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 2, 2}
	oidUserID         = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
)

// otherName is a name of a type of its own, with a UTF-8 value: what
// "1.3.6.1.4.1.311.20.2.3;UTF8:user@example.org" stands for.
type otherName struct {
	id    asn1.ObjectIdentifier
	value string
}

// parseOther reads "<object identifier>;UTF8:<value>".
func parseOther(text string) (otherName, error) {
	id, rest, ok := strings.Cut(text, ";")
	kind, value, ok2 := strings.Cut(rest, ":")
	if kind = strings.ToUpper(strings.TrimSpace(kind)); !ok || !ok2 || kind != "UTF8" && kind != "UTF-8" || !utf8.ValidString(value) {
		return otherName{}, fault.New(fault.Invalid, "other_sans holds names such as 1.3.6.1.4.1.311.20.2.3;UTF8:user@example.org")
	}
	oid, err := parseOID(id)
	return otherName{oid, value}, err
}

// allowedOther is a rule about other names; any lets in all.
type allowedOther struct {
	any  bool
	name otherName // its value is a pattern
}

func parseAllowedOther(text string) (allowedOther, error) {
	if text == "*" {
		return allowedOther{any: true}, nil
	}
	n, err := parseOther(text)
	if err != nil {
		return allowedOther{}, fault.New(fault.Invalid, "allowed_other_sans holds * or patterns such as 1.3.6.1.4.1.311.20.2.3;UTF8:*@example.org")
	}
	return allowedOther{name: n}, nil
}

func (r *Role) checkOther(n otherName) error {
	for _, rule := range r.AllowedOtherNames {
		if a, err := parseAllowedOther(rule); err == nil && (a.any || a.name.id.Equal(n.id) && wire.MatchGlob(a.name.value, n.value)) {
			return nil
		}
	}
	return fault.Newf(fault.Invalid, "other SAN %s not allowed by this role", n.id)
}

// otherNames finds the other names of a certificate request. A kind of name
// that is not known here is refused: nobody would check it.
func otherNames(csr *x509.CertificateRequest) ([]otherName, error) {
	var list []otherName
	for _, ext := range csr.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var seq asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &seq); err != nil || len(rest) > 0 || seq.Tag != asn1.TagSequence || !seq.IsCompound {
			return nil, errAltNames
		}
		for rest := seq.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil || name.Class != asn1.ClassContextSpecific {
				return nil, errAltNames
			}
			switch name.Tag {
			case tagEmail, tagDNS, tagURI, tagIP:
			case tagOtherName:
				other, err := parseOtherDER(name.Bytes)
				if err != nil {
					return nil, err
				}
				list = append(list, other)
			default:
				return nil, fault.New(fault.Invalid, "the certificate request has an alternative name of a kind that is not supported")
			}
		}
	}
	return list, nil
}

var errAltNames = fault.New(fault.Invalid, "the alternative names of the certificate request are malformed")

func parseOtherDER(der []byte) (otherName, error) {
	var n otherName
	rest, err := asn1.Unmarshal(der, &n.id)
	if err != nil {
		return n, errAltNames
	}
	var value asn1.RawValue
	if rest, err = asn1.Unmarshal(rest, &value); err != nil || len(rest) > 0 || value.Class != asn1.ClassContextSpecific || value.Tag != 0 {
		return n, errAltNames
	}
	if rest, err = asn1.UnmarshalWithParams(value.Bytes, &n.value, "utf8"); err != nil || len(rest) > 0 {
		return n, fault.New(fault.Invalid, "the certificate request has an other name whose value is no UTF-8 text")
	}
	return n, nil
}

// altNames encodes a subjectAltName extension. The standard library writes it
// unless there are other names.
func altNames(t *x509.Certificate, others []otherName, critical bool) (pkix.Extension, error) {
	var names []asn1.RawValue
	for _, o := range others {
		id, err := asn1.Marshal(o.id)
		if err != nil {
			return pkix.Extension{}, errAltNames
		}
		text, err := asn1.MarshalWithParams(o.value, "utf8")
		if err != nil {
			return pkix.Extension{}, errAltNames
		}
		value, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: text})
		if err != nil {
			return pkix.Extension{}, errAltNames
		}
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagOtherName, IsCompound: true, Bytes: append(id, value...)})
	}
	add := func(tag int, b []byte) {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: b})
	}
	for _, d := range t.DNSNames {
		add(tagDNS, []byte(d))
	}
	for _, e := range t.EmailAddresses {
		add(tagEmail, []byte(e))
	}
	for _, ip := range t.IPAddresses {
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		add(tagIP, net.IP(ip))
	}
	for _, u := range t.URIs {
		add(tagURI, []byte(u.String()))
	}
	der, err := asn1.Marshal(names)
	return pkix.Extension{Id: oidSubjectAltName, Critical: critical, Value: der}, err
}

// policyExtension encodes policies that have qualifiers, which the standard
// library does not write.
func policyExtension(list []policy) (pkix.Extension, error) {
	type qualifier struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	type information struct {
		ID         asn1.ObjectIdentifier
		Qualifiers []qualifier `asn1:"optional,omitempty"`
	}
	var infos []information
	for _, p := range list {
		info := information{ID: p.id}
		if p.CPS != "" {
			info.Qualifiers = append(info.Qualifiers, qualifier{oidCPS, asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(p.CPS)}})
		}
		if p.Notice != "" {
			text, err := asn1.MarshalWithParams(p.Notice, "utf8")
			if err != nil {
				return pkix.Extension{}, errPolicies
			}
			info.Qualifiers = append(info.Qualifiers, qualifier{oidNotice, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: text}})
		}
		infos = append(infos, info)
	}
	der, err := asn1.Marshal(infos)
	return pkix.Extension{Id: oidPolicies, Value: der}, err
}
