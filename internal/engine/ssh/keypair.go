package ssh

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cofferhq/coffer/internal/fault"
)

// pair is a key pair in the forms of OpenSSH.
type pair struct {
	// private is PEM, public a line of an authorized_keys file.
	private, public string
}

// keyKinds are the names of kinds of keys, with the one that answers have.
var keyKinds = map[string]string{
	"rsa": "rsa", "ssh-rsa": "rsa",
	"ec": "ec", "ecdsa": "ec", "ecdsa-sha2-nistp256": "ec", "ecdsa-sha2-nistp384": "ec", "ecdsa-sha2-nistp521": "ec",
	"ed25519": "ed25519", "ssh-ed25519": "ed25519",
}

// curveBits are the sizes that names of curves imply.
var curveBits = map[string]int{"ecdsa-sha2-nistp256": 256, "ecdsa-sha2-nistp384": 384, "ecdsa-sha2-nistp521": 521}

// generate makes a key pair. Bits may be 0 for the usual size of the kind.
func generate(kind string, bits int, random io.Reader) (pair, error) {
	if implied := curveBits[kind]; implied != 0 {
		if bits != 0 && bits != implied {
			return pair{}, fault.Newf(fault.Invalid, "a key of type %s has %d bits", kind, implied)
		}
		bits = implied
	}
	var private crypto.Signer
	var err error
	switch keyKinds[kind] {
	case "rsa":
		switch bits {
		case 0:
			bits = 4096
		case 2048, 3072, 4096:
		default:
			return pair{}, fault.New(fault.Invalid, "key_bits of an RSA key must be 2048, 3072 or 4096")
		}
		private, err = rsa.GenerateKey(random, bits)
	case "ec":
		curve := map[int]elliptic.Curve{0: elliptic.P256(), 256: elliptic.P256(), 384: elliptic.P384(), 521: elliptic.P521()}[bits]
		if curve == nil {
			return pair{}, fault.New(fault.Invalid, "key_bits of an EC key must be 256, 384 or 521")
		}
		private, err = ecdsa.GenerateKey(curve, random)
	case "ed25519":
		if bits != 0 && bits != 256 {
			return pair{}, fault.New(fault.Invalid, "an ed25519 key has no choice of key_bits")
		}
		_, private, err = ed25519.GenerateKey(random)
	default:
		return pair{}, fault.New(fault.Invalid, `unknown key_type; use "rsa", "ec" or "ed25519"`)
	}
	if err != nil {
		return pair{}, fmt.Errorf("generating a key: %w", err)
	}
	return encode(private)
}

func encode(private crypto.Signer) (pair, error) {
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return pair{}, fmt.Errorf("encoding a key: %w", err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return pair{}, fmt.Errorf("encoding a key: %w", err)
	}
	return pair{string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(public))}, nil
}

// check reads an imported key pair: the halves must belong together. The public
// half is kept as it was given.
func (p pair) check() error {
	signer, err := parseSigner(p.private)
	if err != nil {
		return err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(p.public))
	if err != nil {
		return fault.New(fault.Invalid, "the public_key must be a line as in authorized_keys")
	}
	if !bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()) {
		return fault.New(fault.Invalid, "the public_key is not that of the private_key")
	}
	return nil
}

// parseSigner reads a CA's private key.
func parseSigner(text string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fault.New(fault.Invalid, "the private_key is protected by a passphrase; remove it first")
	case err != nil: // the parser's text may tell of the key
		return nil, fault.New(fault.Invalid, "the private_key could not be parsed: it must be PEM of OpenSSH, PKCS #1, PKCS #8 or SEC 1")
	}
	if _, err := kindOf(signer.PublicKey()); err != nil {
		return nil, err
	}
	return signer, nil
}

// shape is what a role may demand of a key.
type shape struct {
	kind string // as in keyKinds' values
	bits int    // 0 for ed25519
}

// kindOf tells what a public key is. DSA, hardware-bound and certified keys are
// [fault.Invalid].
func kindOf(k ssh.PublicKey) (shape, error) {
	c, ok := k.(ssh.CryptoPublicKey)
	if ok {
		switch p := c.CryptoPublicKey().(type) {
		case *rsa.PublicKey:
			return shape{"rsa", p.N.BitLen()}, nil
		case *ecdsa.PublicKey:
			return shape{"ec", p.Curve.Params().BitSize}, nil
		case ed25519.PublicKey:
			if !strings.HasPrefix(k.Type(), "sk-") {
				return shape{"ed25519", 0}, nil
			}
		}
	}
	return shape{}, fault.New(fault.Invalid, "keys of this type are not supported; use RSA, ECDSA or Ed25519")
}
