package pki

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"math/big"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// Fill stores n certificates as if the engine had issued them, each a copy of
// cert but for its serial number and end, and revokes one in ten.
func Fill(ctx context.Context, e *Engine, cert *x509.Certificate, n int) error {
	a, err := e.ca(ctx)
	if err != nil {
		return err
	}
	issuer := a.issuing.Default
	const page = 2000
	for from := 0; from < n; from += page {
		err := e.update(ctx, func(tx store.Txn) error {
			for i := from; i < min(n, from+page); i++ {
				t := *cert
				serial := make([]byte, 20)
				serial[0] = 1
				binary.BigEndian.PutUint64(serial[1:], uint64(i)*0x9e3779b97f4a7c15)
				binary.BigEndian.PutUint64(serial[12:], uint64(i))
				t.SerialNumber = new(big.Int).SetBytes(serial)
				t.NotAfter = cert.NotAfter.Add(time.Duration(i) * time.Second)
				if err := e.storeCert(tx, &record{DER: cert.Raw, Issuer: issuer, Role: "web", NotAfter: t.NotAfter.Unix(), Source: "issue"}, &t); err != nil {
					return err
				}
				if i%10 == 0 {
					rev := &revocation{Issuer: issuer, At: e.host.Clock.Now(), NotAfter: t.NotAfter.Unix()}
					if err := store.PutJSON(tx, e.key(kindRevoked, issuer, string(serial)), rev); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
