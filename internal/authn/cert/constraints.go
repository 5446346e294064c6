package cert

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// constraints are what a role wants of a certificate: of each list that is not
// empty one pattern must fit, and all of Extensions. "*" stands for any text.
// Only the client's certificate counts, which the chain or the pin has vouched
// for.
type constraints struct {
	Names       []string `json:"names,omitempty"`
	CommonNames []string `json:"common_names,omitempty"`
	DNSNames    []string `json:"dns_names,omitempty"`
	Emails      []string `json:"emails,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	Units       []string `json:"units,omitempty"`
	Extensions  []string `json:"extensions,omitempty"`
}

// fit reports whether a certificate satisfies the constraints.
func (w *constraints) fit(c *x509.Certificate) bool {
	uris := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		uris[i] = u.String()
	}
	common := []string{c.Subject.CommonName}
	for _, l := range []struct{ patterns, held []string }{
		{w.Names, slices.Concat(common, c.DNSNames, c.EmailAddresses)},
		{w.CommonNames, common},
		{w.DNSNames, c.DNSNames},
		{w.Emails, c.EmailAddresses},
		{w.URIs, uris},
		{w.Units, c.Subject.OrganizationalUnit},
	} {
		if len(l.patterns) > 0 && !anyFits(l.patterns, l.held) {
			return false
		}
	}
	return !slices.ContainsFunc(w.Extensions, func(text string) bool {
		want, err := parseExtension(text)
		return err != nil || !want.in(c)
	})
}

// anyFits reports whether one of the patterns fits one of the values. A value
// that is not there fits nothing, not even "*".
func anyFits(patterns, held []string) bool {
	return slices.ContainsFunc(held, func(h string) bool {
		return h != "" && slices.ContainsFunc(patterns, func(p string) bool { return wire.MatchGlob(p, h) })
	})
}

func (w *constraints) validate() error {
	for _, text := range w.Extensions {
		if _, err := parseExtension(text); err != nil {
			return err
		}
	}
	return nil
}

// extension is one that a certificate must have: with a text that fits a pattern,
// or with exactly these bytes.
type extension struct {
	oid     string
	pattern string
	hex     bool
}

// parseExtension reads "OID:TEXT" or "hex:OID:HEX".
func parseExtension(text string) (extension, error) {
	var e extension
	rest, isHex := strings.CutPrefix(text, "hex:")
	oid, pattern, ok := strings.Cut(rest, ":")
	e = extension{oid: oid, pattern: pattern, hex: isHex}
	if isHex {
		e.pattern = strings.ToLower(pattern)
	}
	if _, err := x509.ParseOID(oid); err != nil || !ok || isHex && strings.Trim(e.pattern, "0123456789abcdef*") != "" {
		return e, fault.New(fault.Invalid, `required_extensions has items such as "1.3.6.1.4.1.1:text" and "hex:1.3.6.1.4.1.1:0c0474657874"`)
	}
	return e, nil
}

func (e extension) in(c *x509.Certificate) bool {
	for _, x := range c.Extensions {
		if x.Id.String() != e.oid {
			continue
		}
		held, ok := extensionText(x.Value)
		if e.hex {
			held, ok = hex.EncodeToString(x.Value), true
		}
		if ok && wire.MatchGlob(e.pattern, held) {
			return true
		}
	}
	return false
}

// extensionText reads the value of an extension that is one ASN.1 string.
func extensionText(der []byte) (string, bool) {
	var text string
	rest, err := asn1.Unmarshal(der, &text)
	return text, err == nil && len(rest) == 0
}

// extensionMetadata is the text of the extensions in oids, each under its OID
// with dashes for dots, since metadata is addressed with dots in templates.
func extensionMetadata(c *x509.Certificate, oids []string) map[string]string {
	m := map[string]string{}
	for _, x := range c.Extensions {
		id := x.Id.String()
		if !slices.Contains(oids, id) {
			continue
		}
		if text, ok := extensionText(x.Value); ok {
			m[strings.ReplaceAll(id, ".", "-")] = text
		}
	}
	return m
}
