package transit

import (
	"context"
	"crypto/x509"
	"encoding/pem"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

type agreeRequest struct {
	Name        string `path:"name" doc:"Name of the key to make."`
	Base        string `json:"base_key_name" doc:"Name of the key of an ecdsa type to agree with."`
	BaseVersion string `json:"base_key_version" default:"latest" doc:"Version of that key, or latest."`
	Type        string `json:"derived_key_type" default:"aes256-gcm96" doc:"Type of the key to make: aes128-gcm96, aes256-gcm96, chacha20-poly1305 or xchacha20-poly1305."`
	Algorithm   string `json:"key_derivation_algorithm" default:"ecdh" doc:"ecdh."`
	Peer        string `json:"peer_public_key" doc:"The other party's public key, PKIX in PEM."`
}

// agreeKey makes a key of the secret that a key and another party's public key
// agree on.
func (e *Engine) agreeKey(ctx context.Context, c *route.Call, in agreeRequest) (*keyAnswer, error) {
	if err := engine.CheckName(in.Name); err != nil {
		return nil, err
	}
	if in.Algorithm != "ecdh" {
		return nil, fault.New(fault.Invalid, `key_derivation_algorithm must be "ecdh"`)
	}
	settings := traits{Type: in.Type}
	row, t, err := settings.newRow(false)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(in.Peer))
	if block == nil {
		return nil, fault.New(fault.Invalid, "the peer_public_key must be PEM")
	}
	peer, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the peer_public_key could not be parsed")
	}
	base, err := e.use(ctx, in.Base)
	if err != nil {
		return nil, err
	}
	n, err := base.row.parseVersion(in.BaseVersion)
	if err != nil {
		return nil, err
	}
	v, err := e.forNew(ctx, base, n)
	if err != nil {
		return nil, err
	}
	k, err := v.key.Agree(peer, t)
	if err != nil {
		return nil, err
	}
	fresh, err := e.asNew(in.Name, row, k, c.Now)
	if err != nil {
		return nil, err
	}
	stored, err := e.store(ctx, fresh)
	if err == nil && !stored {
		err = fault.New(fault.Invalid, "a key of that name exists")
	}
	if err != nil {
		return nil, err
	}
	return e.show(ctx, in.Name)
}
