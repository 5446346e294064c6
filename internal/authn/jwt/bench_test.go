package jwt_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/authn/jwt"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
)

// BenchmarkLogin measures what the method adds to a login; the floor is one
// verification of a signature.
func BenchmarkLogin(b *testing.B) {
	for name, s := range map[string]signer{"ES256": newECDSA(b, "1"), "RS256": newRSA(b, "1")} {
		b.Run(name, func(b *testing.B) {
			m := enginetest.New(b, jwt.Type.Routes, jwt.Type.New)
			m.Write("config", object{"jwt_validation_pubkeys": s.pem(b)})
			m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer", "groups_claim": "groups", "bound_claims": object{"email": "alice@example.org"}})
			body := object{"role": "dev", "jwt": s.sign(b, claimsAt(m.Clock.Now(), nil))}
			b.ReportAllocs()
			for b.Loop() {
				m.Write("login", body)
			}
		})
	}
}
