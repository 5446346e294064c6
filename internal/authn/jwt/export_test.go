package jwt

import (
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

// Judge holds a payload against a role that looks at everything.
func Judge(payload []byte, pointer string) {
	cl, err := parseClaims(payload)
	if err != nil {
		return
	}
	r := role{
		BoundAudiences: []string{"b"}, BoundClaims: map[string]wire.JSON{pointer: wire.JSON(`["x",1]`)}, BoundClaimsType: compareGlob,
		UserClaim: pointer, UserClaimPointer: true, GroupsClaim: pointer, ClaimMappings: map[string]string{pointer: "x"},
	}
	_ = r.current(cl, time.Unix(0, 0))
	_ = r.audience(cl)
	_, _ = r.identity("dev", cl)
}

// KeySet reads a key set and counts its keys.
func KeySet(body []byte) (int, error) {
	keys, err := parseKeySet(body)
	return len(keys), err
}

// Discovery reads a discovery document and returns its issuer.
func Discovery(body []byte, url string) (string, error) {
	p, err := parseDiscovery(body, url)
	if err != nil {
		return "", err
	}
	return p.IssuerURL, nil
}

// The kinds of rows that tests count.
const (
	KindUsed      = kindUsed
	KindUsedUntil = kindUsedUntil
)
