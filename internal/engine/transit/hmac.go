package transit

import (
	"context"
	"crypto"
	"crypto/hmac"
	"encoding/base64"
	"strconv"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

type hmacOptions struct {
	Name      string           `path:"name" doc:"Name of the key."`
	Input     wire.Opt[string] `json:"input" sensitive:"true" doc:"Data, in base64."`
	Algorithm string           `json:"algorithm" default:"sha2-256" doc:"Hash function: sha2-224, sha2-256, sha2-384, sha2-512, or sha3 with the same sizes."`
	Version   int              `json:"key_version" doc:"Version to use; 0 is the latest."`
	batch
}

type hmacRequest struct {
	hmacOptions
	URLAlgorithm string `json:"urlalgorithm" doc:"Hash function; beats algorithm."`
}

type hmacByRequest struct {
	hmacOptions
	URLAlgorithm string `path:"urlalgorithm" doc:"Hash function."`
}

func (e *Engine) hmacBy(ctx context.Context, c *route.Call, in hmacByRequest) (*route.Reply, error) {
	return e.hmac(ctx, c, hmacRequest(in))
}

func (e *Engine) hmac(ctx context.Context, _ *route.Call, in hmacRequest) (*route.Reply, error) {
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	name := in.Algorithm
	if in.URLAlgorithm != "" {
		name = in.URLAlgorithm
	}
	op := &macer{e: e, k: k}
	if op.hash, err = macHash(name); err != nil {
		return nil, err
	}
	if in.given() {
		return in.run(ctx, op, true)
	}
	return one(ctx, op, &item{input: given(in.Input), version: in.Version})
}

// macHash finds the hash function of an HMAC.
func macHash(name string) (crypto.Hash, error) {
	h, err := material.ParseHash(name)
	if err == nil && (h == 0 || h == crypto.SHA1) {
		err = fault.New(fault.Invalid, "unsupported hash algorithm; use sha2-224, sha2-256, sha2-384, sha2-512, sha3-224, sha3-256, sha3-384 or sha3-512")
	}
	return h, err
}

// macer computes HMACs.
type macer struct {
	e     *Engine
	k     *key
	hash  crypto.Hash
	input []byte
}

func (m *macer) failed() string { return "" }

func (m *macer) do(ctx context.Context, dst []byte, it *item) (_ []byte, err error) {
	if it.input == nil {
		return dst, errInput
	}
	if m.input, err = decode(m.input, it.input, base64.StdEncoding); err != nil {
		return dst, errInput
	}
	v, err := m.e.forNew(ctx, m.k, it.version)
	if err != nil {
		return dst, err
	}
	return appendText(dst, "hmac", v.n, material.MAC(m.hash, v.macKey(), m.input), base64.StdEncoding), nil
}

// macVerifier verifies HMACs.
type macVerifier struct {
	e          *Engine
	k          *key
	hash       crypto.Hash
	batched    bool
	input, sum []byte
}

func (m *macVerifier) failed() string { return "" }

func (m *macVerifier) do(ctx context.Context, dst []byte, it *item) (_ []byte, err error) {
	if it.input == nil {
		return dst, errInput
	}
	if m.input, err = decode(m.input, it.input, base64.StdEncoding); err != nil {
		return dst, errInput
	}
	n, encoded, err := splitText(it.hmac)
	if err != nil {
		return dst, err
	}
	if m.sum, err = decode(m.sum, encoded, base64.StdEncoding); err != nil {
		return dst, errText
	}
	v, err := m.e.forOld(ctx, m.k, n)
	if err != nil {
		return dst, err
	}
	valid := hmac.Equal(m.sum, material.MAC(m.hash, v.macKey(), m.input))
	if m.batched && !valid {
		return dst, nil // in a batch of HMACs, the field leaves "valid" out
	}
	dst = append(dst, `"valid":`...)
	return strconv.AppendBool(dst, valid), nil
}
