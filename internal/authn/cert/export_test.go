package cert

import (
	"crypto/x509"
	"time"
)

// Good reports whether an OCSP answer says that a certificate is good.
func Good(body []byte, c, issuer *x509.Certificate, now time.Time) bool {
	r := responders{now: now}
	v, ok := r.judge(body, c, issuer)
	return ok && v.good
}

// HasExtension parses a required extension and looks for it.
func HasExtension(text string, c *x509.Certificate) (bool, error) {
	e, err := parseExtension(text)
	return err == nil && e.in(c), err
}
