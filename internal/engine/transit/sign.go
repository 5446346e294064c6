package transit

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"strconv"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// signing are the settings that signing and verifying have in common.
type signing struct {
	Name       string           `path:"name" doc:"Name of the key."`
	Input      wire.Opt[string] `json:"input" sensitive:"true" doc:"Data, in base64."`
	Context    string           `json:"context" doc:"Context of a derived key, in base64."`
	Hash       string           `json:"hash_algorithm" doc:"Hash function: sha2-224, sha2-256, sha2-384, sha2-512, sha3 with the same sizes, sha1, or none."`
	Algorithm  string           `json:"algorithm" deprecated:"true" doc:"Older name of hash_algorithm."`
	Signature  string           `json:"signature_algorithm" doc:"For RSA: pss or pkcs1v15."`
	Marshaling string           `json:"marshaling_algorithm" default:"asn1" doc:"asn1, or jws for the form and encoding of JSON Web Signatures."`
	Salt       string           `json:"salt_length" default:"auto" doc:"For PSS: auto, hash, or a number of bytes."`
	Prehashed  bool             `json:"prehashed" doc:"The input is a hash already."`
	batch
}

// algorithm is the name of the hash function, the first that is given.
func (in *signing) algorithm(path string) string {
	for _, name := range []string{path, in.Hash, in.Algorithm} {
		if name != "" {
			return name
		}
	}
	return "sha2-256"
}

// options turn the settings into those of package material.
func (in *signing) options(path string) (material.Signing, *base64.Encoding, error) {
	o := material.Signing{Prehashed: in.Prehashed}
	encoding := base64.StdEncoding
	var err error
	if o.Hash, err = material.ParseHash(in.algorithm(path)); err != nil {
		return o, nil, err
	}
	switch in.Signature {
	case "", "pss":
	case "pkcs1v15":
		o.PKCS1v15 = true
	default:
		return o, nil, fault.New(fault.Invalid, `signature_algorithm must be "pss" or "pkcs1v15"`)
	}
	switch in.Marshaling {
	case "", "asn1":
	case "jws":
		o.JWS, encoding = true, base64.RawURLEncoding
	default:
		return o, nil, fault.New(fault.Invalid, `marshaling_algorithm must be "asn1" or "jws"`)
	}
	switch in.Salt {
	case "", "auto":
		o.Salt = rsa.PSSSaltLengthAuto
	case "hash":
		o.Salt = rsa.PSSSaltLengthEqualsHash
	default:
		// A salt of no bytes cannot be told from "auto" where the length is used.
		if o.Salt, err = strconv.Atoi(in.Salt); err != nil || o.Salt < 1 {
			return o, nil, fault.New(fault.Invalid, `salt_length must be "auto", "hash" or a number of bytes from 1 on`)
		}
	}
	return o, encoding, nil
}

var errInput = fault.New(fault.Invalid, "the input must be base64")

type signRequest struct {
	signing
	Version      int    `json:"key_version" doc:"Version to sign with; 0 is the latest."`
	URLAlgorithm string `json:"urlalgorithm" doc:"Hash function; beats hash_algorithm."`
}

type signByRequest struct {
	signing
	Version      int    `json:"key_version" doc:"Version to sign with; 0 is the latest."`
	URLAlgorithm string `path:"urlalgorithm" doc:"Hash function."`
}

func (e *Engine) signBy(ctx context.Context, c *route.Call, in signByRequest) (*route.Reply, error) {
	return e.sign(ctx, c, signRequest(in))
}

func (e *Engine) sign(ctx context.Context, _ *route.Call, in signRequest) (*route.Reply, error) {
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	op := &signer{deriver: deriver{k: k}, e: e}
	if op.options, op.encoding, err = in.options(in.URLAlgorithm); err != nil {
		return nil, err
	}
	if in.given() {
		return in.run(ctx, op, true)
	}
	// Here no input is an empty one: clients rely on it.
	return one(ctx, op, &item{input: []byte(in.Input.Value), context: optional(in.Context), version: in.Version})
}

// signer signs.
type signer struct {
	deriver
	e        *Engine
	options  material.Signing
	encoding *base64.Encoding
	input    []byte
}

func (s *signer) failed() string { return `"key_version":0,` }

func (s *signer) do(ctx context.Context, dst []byte, it *item) (_ []byte, err error) {
	if it.input == nil {
		return dst, errInput
	}
	if s.input, err = decode(s.input, it.input, base64.StdEncoding); err != nil {
		return dst, errInput
	}
	v, err := s.e.forNew(ctx, s.k, it.version)
	if err != nil {
		return dst, err
	}
	k, err := s.deriver.key(v, it)
	if err != nil {
		return dst, err
	}
	sig, err := k.Sign(s.input, s.options)
	if err != nil {
		return dst, err
	}
	dst = appendText(dst, "signature", v.n, sig, s.encoding)
	dst = append(dst, `,"key_version":`...)
	dst = strconv.AppendInt(dst, int64(v.n), 10)
	if s.k.row.Derived {
		public, err := k.PublicText()
		if err != nil {
			return dst, err
		}
		dst = append(dst, `,"public_key":`...)
		dst = wire.AppendQuoted(dst, public)
	}
	return dst, nil
}

type verifyRequest struct {
	signing
	Sig          wire.Opt[string] `json:"signature" doc:"Signature to verify."`
	HMAC         wire.Opt[string] `json:"hmac" doc:"HMAC to verify."`
	URLAlgorithm string           `json:"urlalgorithm" doc:"Hash function; beats hash_algorithm."`
}

type verifyByRequest struct {
	signing
	Sig          wire.Opt[string] `json:"signature" doc:"Signature to verify."`
	HMAC         wire.Opt[string] `json:"hmac" doc:"HMAC to verify."`
	URLAlgorithm string           `path:"urlalgorithm" doc:"Hash function."`
}

func (e *Engine) verifyBy(ctx context.Context, c *route.Call, in verifyByRequest) (*route.Reply, error) {
	return e.verify(ctx, c, verifyRequest(in))
}

var errWhich = fault.New(fault.Invalid, "give either a signature or an hmac, the same for all items of a batch")

func (e *Engine) verify(ctx context.Context, _ *route.Call, in verifyRequest) (*route.Reply, error) {
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	single := item{input: given(in.Input), signature: given(in.Sig), hmac: given(in.HMAC), context: optional(in.Context)}
	byHMAC, err := in.which(&single)
	if err != nil {
		return nil, err
	}
	var op operation
	if byHMAC {
		hash, err := macHash(in.algorithm(in.URLAlgorithm))
		if err != nil {
			return nil, err
		}
		op = &macVerifier{e: e, k: k, hash: hash, batched: in.given()}
	} else {
		v := &verifier{deriver: deriver{k: k}, e: e}
		if v.options, v.encoding, err = in.options(in.URLAlgorithm); err != nil {
			return nil, err
		}
		op = v
	}
	if in.given() {
		return in.run(ctx, op, true)
	}
	return one(ctx, op, &single)
}

// which tells whether HMACs or signatures are to be verified.
func (in *verifyRequest) which(single *item) (byHMAC bool, err error) {
	hmacs, signatures := 0, 0
	count := func(it *item) {
		if it.hmac != nil {
			hmacs++
		}
		if it.signature != nil {
			signatures++
		}
	}
	if !in.given() {
		count(single)
	} else if err := wire.EachElement(in.Items, func(element []byte) error {
		var it item
		if it.parse(element) == nil {
			count(&it)
		}
		return nil
	}); err != nil {
		return false, errBatch
	}
	if hmacs > 0 && signatures > 0 || !in.given() && hmacs+signatures == 0 {
		return false, errWhich
	}
	return hmacs > 0, nil
}

// verifier verifies signatures.
type verifier struct {
	deriver
	e          *Engine
	options    material.Signing
	encoding   *base64.Encoding
	input, sig []byte
}

func (v *verifier) failed() string { return `"valid":false,` }

func (v *verifier) do(ctx context.Context, dst []byte, it *item) (_ []byte, err error) {
	if it.input == nil {
		return dst, errInput
	}
	if v.input, err = decode(v.input, it.input, base64.StdEncoding); err != nil {
		return dst, errInput
	}
	n, encoded, err := splitText(it.signature)
	if err != nil {
		return dst, err
	}
	if v.sig, err = decode(v.sig, encoded, v.encoding); err != nil {
		return dst, fault.New(fault.Invalid, "the signature is not in the encoding of the marshaling_algorithm")
	}
	version, err := v.e.forOld(ctx, v.k, n)
	if err != nil {
		return dst, err
	}
	k, err := v.deriver.key(version, it)
	if err != nil {
		return dst, err
	}
	valid, err := k.Verify(v.input, v.sig, v.options)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `"valid":`...)
	return strconv.AppendBool(dst, valid), nil
}
