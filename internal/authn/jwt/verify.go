package jwt

import (
	"context"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxToken bounds a token, in bytes.
const maxToken = 64 << 10

// refused is the answer to a token that is not good enough. The text says which
// check failed, never what would have passed.
func refused(why string) error {
	return fault.New(fault.Unauthenticated, "error validating token: "+why)
}

// signed verifies the signature of a token and returns its payload.
func (t *trust) signed(ctx context.Context, token string) ([]byte, error) {
	if len(token) > maxToken {
		return nil, refused("it is too long")
	}
	allowed, err := chosenAlgorithms(t.config.Algorithms)
	if err != nil {
		return nil, err
	}
	jws, err := jose.ParseSignedCompact(token, allowed)
	if err != nil {
		return nil, refused("it is no signed token in compact form, or its algorithm is not accepted")
	}
	header := jws.Signatures[0].Protected
	keys, err := t.keys.candidates(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if alg := keys[i].Algorithm; alg != "" && alg != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(keys[i].Key); err == nil {
			return payload, nil
		}
	}
	return nil, refused("no known key has signed it")
}

// issued checks who issued a token. An issuer that describes itself must be
// named, unless the configuration names another.
func (t *trust) issued(ctx context.Context, c claims) error {
	want := t.config.BoundIssuer
	if want == "" && t.issuer != nil {
		p, err := t.issuer.get(ctx)
		if err != nil {
			return err
		}
		want = p.IssuerURL
	}
	if want == "" {
		return nil
	}
	if iss, ok := c.text("iss"); !ok || iss != want {
		return refused("invalid issuer (iss) claim")
	}
	return nil
}

// current checks the times of a token. One of exp, nbf and iat must be there;
// what is missing follows from the others.
func (r *role) current(c claims, now time.Time) error {
	exp, hasExp, err := c.time("exp")
	if err != nil {
		return refused("the expiry (exp) is not a date")
	}
	nbf, hasNbf, err := c.time("nbf")
	if err != nil {
		return refused("the start (nbf) is not a date")
	}
	iat, hasIat, err := c.time("iat")
	if err != nil {
		return refused("the issue time (iat) is not a date")
	}
	if !hasExp && !hasNbf && !hasIat {
		return refused("it has neither an expiry (exp), a start (nbf) nor an issue time (iat)")
	}
	if !hasExp {
		if exp = iat; nbf.After(exp) {
			exp = nbf
		}
		exp = exp.Add(r.ExpirationLeeway.or(usualLeeway))
	}
	if !hasNbf {
		if nbf = iat; !hasIat {
			nbf = exp.Add(-r.NotBeforeLeeway.or(usualLeeway))
		}
	}
	skew := r.ClockSkewLeeway.or(usualClockSkew)
	switch {
	case now.Add(-skew).After(exp):
		return refused("it has expired")
	case now.Add(skew).Before(nbf):
		return refused("it is not valid yet")
	case hasIat && now.Add(skew).Before(iat):
		return refused("it was issued in the future")
	}
	return nil
}

// audience checks whom a token is for. A token for somebody is good only for a
// role that names one of them: it may have been stolen from another service.
func (r *role) audience(c claims) error {
	held, present, err := c.strings("aud")
	if err != nil {
		return refused("invalid audience (aud) claim")
	}
	if present && len(r.BoundAudiences) == 0 {
		return refused("audience claim found in JWT but no audiences bound to the role")
	}
	if len(r.BoundAudiences) > 0 && !slices.ContainsFunc(held, func(a string) bool { return slices.Contains(r.BoundAudiences, a) }) {
		return refused("invalid audience (aud) claim")
	}
	return nil
}
