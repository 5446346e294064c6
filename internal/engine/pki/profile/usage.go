package profile

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// keyUsages are the bits of RFC 5280, section 4.2.1.3, by the names of Go's
// constants without their prefix.
var keyUsages = map[string]x509.KeyUsage{
	"digitalsignature": x509.KeyUsageDigitalSignature, "contentcommitment": x509.KeyUsageContentCommitment, "nonrepudiation": x509.KeyUsageContentCommitment,
	"keyencipherment": x509.KeyUsageKeyEncipherment, "dataencipherment": x509.KeyUsageDataEncipherment, "keyagreement": x509.KeyUsageKeyAgreement,
	"certsign": x509.KeyUsageCertSign, "crlsign": x509.KeyUsageCRLSign, "encipheronly": x509.KeyUsageEncipherOnly, "decipheronly": x509.KeyUsageDecipherOnly,
}

// extKeyUsages are purposes by the names of Go's constants without their prefix.
var extKeyUsages = map[string]x509.ExtKeyUsage{
	"any": x509.ExtKeyUsageAny, "serverauth": x509.ExtKeyUsageServerAuth, "clientauth": x509.ExtKeyUsageClientAuth, "codesigning": x509.ExtKeyUsageCodeSigning,
	"emailprotection": x509.ExtKeyUsageEmailProtection, "ipsecendsystem": x509.ExtKeyUsageIPSECEndSystem, "ipsectunnel": x509.ExtKeyUsageIPSECTunnel,
	"ipsecuser": x509.ExtKeyUsageIPSECUser, "timestamping": x509.ExtKeyUsageTimeStamping, "ocspsigning": x509.ExtKeyUsageOCSPSigning,
	"microsoftservergatedcrypto": x509.ExtKeyUsageMicrosoftServerGatedCrypto, "netscapeservergatedcrypto": x509.ExtKeyUsageNetscapeServerGatedCrypto,
	"microsoftcommercialcodesigning": x509.ExtKeyUsageMicrosoftCommercialCodeSigning, "microsoftkernelcodesigning": x509.ExtKeyUsageMicrosoftKernelCodeSigning,
}

func keyUsage(names []string) (x509.KeyUsage, error) {
	var usage x509.KeyUsage
	for _, name := range names {
		name = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "keyusage")
		if name == "" {
			continue
		}
		bit, ok := keyUsages[name]
		if !ok {
			return 0, fault.Newf(fault.Invalid, "unknown key usage %q", clip(name))
		}
		usage |= bit
	}
	return usage, nil
}

// extKeyUsage returns the purposes that flags, names and object identifiers of
// the role stand for.
func (r *Role) extKeyUsage() ([]x509.ExtKeyUsage, []asn1.ObjectIdentifier, error) {
	var list []x509.ExtKeyUsage
	seen := map[x509.ExtKeyUsage]bool{}
	add := func(u x509.ExtKeyUsage) {
		if !seen[u] {
			seen[u] = true
			list = append(list, u)
		}
	}
	for _, f := range []struct {
		on    bool
		usage x509.ExtKeyUsage
	}{
		{r.ServerFlag, x509.ExtKeyUsageServerAuth}, {r.ClientFlag, x509.ExtKeyUsageClientAuth},
		{r.CodeSigningFlag, x509.ExtKeyUsageCodeSigning}, {r.EmailFlag, x509.ExtKeyUsageEmailProtection},
	} {
		if f.on {
			add(f.usage)
		}
	}
	for _, name := range r.ExtKeyUsage {
		name = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "extkeyusage")
		if name == "" {
			continue
		}
		u, ok := extKeyUsages[name]
		if !ok {
			return nil, nil, fault.Newf(fault.Invalid, "unknown extended key usage %q", clip(name))
		}
		add(u)
	}
	var oids []asn1.ObjectIdentifier
	for _, text := range r.ExtKeyUsageOIDs {
		oid, err := parseOID(text)
		if err != nil {
			return nil, nil, err
		}
		oids = append(oids, oid)
	}
	return list, oids, nil
}

func parseOID(text string) (asn1.ObjectIdentifier, error) {
	parts := strings.Split(strings.TrimSpace(text), ".")
	oid := make(asn1.ObjectIdentifier, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return nil, fault.Newf(fault.Invalid, "%q is no object identifier", clip(text))
		}
		oid[i] = int(n)
	}
	if len(oid) < 2 || oid[0] > 2 || oid[0] < 2 && oid[1] > 39 {
		return nil, fault.Newf(fault.Invalid, "%q is no object identifier", clip(text))
	}
	return oid, nil
}

// policy is a certificate policy (RFC 5280, section 4.2.1.4).
type policy struct {
	OID    string `json:"oid"`
	CPS    string `json:"cps"`
	Notice string `json:"notice"`
	id     asn1.ObjectIdentifier
}

// policies reads a role's list: object identifiers, or JSON objects with "oid",
// "cps" and "notice" (one each, or a list of them in one text).
func policies(texts []string) ([]policy, error) {
	var list []policy
	joined := strings.TrimSpace(strings.Join(texts, ","))
	switch {
	case joined == "":
		return nil, nil
	case strings.HasPrefix(joined, "["):
		if json.Unmarshal([]byte(joined), &list) != nil {
			return nil, errPolicies
		}
	case strings.HasPrefix(joined, "{"):
		if json.Unmarshal([]byte("["+joined+"]"), &list) != nil {
			return nil, errPolicies
		}
	default:
		for _, text := range texts {
			list = append(list, policy{OID: text})
		}
	}
	for i := range list {
		var err error
		if list[i].id, err = parseOID(list[i].OID); err != nil {
			return nil, err
		}
	}
	return list, nil
}

var errPolicies = fault.New(fault.Invalid, `policy_identifiers holds object identifiers, or objects with "oid", "cps" and "notice"`)
