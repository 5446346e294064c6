package material_test

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
)

// hexBytes are bytes that a vector has in hexadecimal digits.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// group is a group of Wycheproof's tests: what any kind of them has.
type group struct {
	KeySize         int      `json:"keySize"`
	PublicKeyDER    hexBytes `json:"publicKeyDer"`
	PrivateKeyPKCS8 hexBytes `json:"privateKeyPkcs8"`
	ParameterSet    string   `json:"parameterSet"`
	SHA             string   `json:"sha"`
	Salt            int      `json:"sLen"`
	Tests           []vector `json:"tests"`
}

type vector struct {
	ID                         int      `json:"tcId"`
	Key, IV, AAD, Msg, CT, Tag hexBytes `json:",omitempty"`
	IKM, Salt, Info, OKM       hexBytes
	Size                       int
	Sig, Ctx, Label            hexBytes
	Seed, EK, C, K             hexBytes
	Public, Private, Shared    hexBytes
	Flags                      []string
	Result                     string
}

func (v *vector) valid() bool { return v.Result == "valid" }

// wycheproof calls fn for every test of a file.
func wycheproof(t *testing.T, file string, fn func(t *testing.T, g *group, v *vector)) {
	t.Helper()
	t.Run(file, func(t *testing.T) {
		f, err := os.Open(filepath.Join("testdata", "wycheproof", file+".json.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Groups []group `json:"testGroups"`
		}
		if err := json.NewDecoder(z).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range doc.Groups {
			g := &doc.Groups[i]
			for j := range g.Tests {
				fn(t, g, &g.Tests[j])
				n++
			}
		}
		if n < 10 {
			t.Fatalf("only %d tests", n)
		}
	})
}

func TestAEADs(t *testing.T) {
	byNonce := map[string]func(keySize int) material.Type{
		"aes_gcm_test": func(size int) material.Type {
			if size == 128 {
				return material.AES128GCM
			}
			return material.AES256GCM
		},
		"chacha20_poly1305_test":  func(int) material.Type { return material.ChaCha20Poly1305 },
		"xchacha20_poly1305_test": func(int) material.Type { return material.XChaCha20Poly1305 },
	}
	for file, typ := range byNonce {
		wycheproof(t, file, func(t *testing.T, g *group, v *vector) {
			k, err := material.Parse(typ(g.KeySize), v.Key)
			if err != nil {
				t.Fatal(err)
			}
			sealed := bytes.Join([][]byte{v.IV, v.CT, v.Tag}, nil)
			opened, err := k.Open(nil, sealed, v.AAD)
			if (err == nil) != v.valid() || err == nil && !bytes.Equal(opened, v.Msg) {
				t.Errorf("test %d: opening gives %x, %v, want %s", v.ID, opened, err, v.Result)
			}
			if !v.valid() {
				return
			}
			// The nonce is what the source of randomness gives.
			again, err := k.Seal(nil, v.Msg, v.AAD, bytes.NewReader(v.IV))
			if err != nil || !bytes.Equal(again, sealed) {
				t.Errorf("test %d: sealing gives %x, %v", v.ID, again, err)
			}
		})
	}
}

func hashNamed(t *testing.T, name string) crypto.Hash {
	t.Helper()
	h, ok := map[string]crypto.Hash{"SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512, "SHA3-256": crypto.SHA3_256}[name]
	if !ok {
		t.Fatalf("no hash function %q", name)
	}
	return h
}

func TestSignatures(t *testing.T) {
	for file, typ := range map[string]material.Type{
		"ed25519_test":                      material.Ed25519,
		"ecdsa_secp256r1_sha256_test":       material.ECDSAP256,
		"ecdsa_secp256r1_sha512_test":       material.ECDSAP256,
		"ecdsa_secp256r1_sha3_256_test":     material.ECDSAP256,
		"ecdsa_secp384r1_sha384_test":       material.ECDSAP384,
		"ecdsa_secp521r1_sha512_test":       material.ECDSAP521,
		"ecdsa_secp256r1_sha256_p1363_test": material.ECDSAP256,
		"ecdsa_secp384r1_sha384_p1363_test": material.ECDSAP384,
		"ecdsa_secp521r1_sha512_p1363_test": material.ECDSAP521,
		"rsa_signature_2048_sha256_test":    material.RSA2048,
		"rsa_signature_3072_sha512_test":    material.RSA3072,
		"rsa_signature_4096_sha256_test":    material.RSA4096,
		"rsa_pss_2048_sha256_mgf1_32_test":  material.RSA2048,
		"rsa_pss_3072_sha256_mgf1_32_test":  material.RSA3072,
		"rsa_pss_4096_sha512_mgf1_64_test":  material.RSA4096,
	} {
		wycheproof(t, file, func(t *testing.T, g *group, v *vector) {
			k, err := material.ParsePublic(typ, g.PublicKeyDER)
			if err != nil {
				t.Fatal(err)
			}
			o := material.Signing{JWS: strings.Contains(file, "p1363"), PKCS1v15: strings.HasPrefix(file, "rsa_signature"), Salt: g.Salt}
			if typ != material.Ed25519 {
				o.Hash = hashNamed(t, g.SHA)
			}
			valid, err := k.Verify(v.Msg, v.Sig, o)
			if err != nil {
				t.Fatalf("test %d: %v", v.ID, err)
			}
			if v.Result != "acceptable" && valid != v.valid() {
				t.Errorf("test %d %v: valid is %t, want %s", v.ID, v.Flags, valid, v.Result)
			}
		})
	}
}

func TestMLDSASignatures(t *testing.T) {
	for file, typ := range map[string]material.Type{
		"mldsa_44_verify_test": material.MLDSA44, "mldsa_65_verify_test": material.MLDSA65, "mldsa_87_verify_test": material.MLDSA87,
	} {
		wycheproof(t, file, func(t *testing.T, g *group, v *vector) {
			k, err := material.ParsePublic(typ, g.PublicKeyDER)
			if err != nil {
				if v.valid() {
					t.Errorf("test %d: %v", v.ID, err)
				}
				return
			}
			if len(v.Ctx) > 0 {
				return // transit signs without context
			}
			if valid, err := k.Verify(v.Msg, v.Sig, material.Signing{}); err != nil || valid != v.valid() {
				t.Errorf("test %d: valid is %t, %v, want %s", v.ID, valid, err, v.Result)
			}
		})
	}
}

func TestRSAEncryption(t *testing.T) {
	for file, typ := range map[string]material.Type{
		"rsa_oaep_2048_sha256_mgf1sha256_test": material.RSA2048,
		"rsa_oaep_3072_sha256_mgf1sha256_test": material.RSA3072,
		"rsa_oaep_4096_sha256_mgf1sha256_test": material.RSA4096,
	} {
		wycheproof(t, file, func(t *testing.T, g *group, v *vector) {
			if len(v.Label) > 0 {
				return // transit encrypts without label
			}
			k, err := material.Parse(typ, g.PrivateKeyPKCS8)
			if err != nil {
				t.Fatal(err)
			}
			opened, err := k.Open(nil, v.CT, nil)
			if (err == nil) != v.valid() || err == nil && !bytes.Equal(opened, v.Msg) {
				t.Errorf("test %d: opening gives %x, %v, want %s", v.ID, opened, err, v.Result)
			}
		})
	}
}

func TestMACs(t *testing.T) {
	for file, h := range map[string]crypto.Hash{"hmac_sha256_test": crypto.SHA256, "hmac_sha512_test": crypto.SHA512, "hmac_sha3_256_test": crypto.SHA3_256} {
		wycheproof(t, file, func(t *testing.T, _ *group, v *vector) {
			sum := material.MAC(h, v.Key, v.Msg)[:len(v.Tag)]
			if bytes.Equal(sum, v.Tag) != v.valid() {
				t.Errorf("test %d: got %x, want %s", v.ID, sum, v.Result)
			}
		})
	}
}

func TestKeyWrapping(t *testing.T) {
	wycheproof(t, "aes_kwp_test", func(t *testing.T, _ *group, v *vector) {
		opened, err := material.UnwrapKWP(v.Key, v.CT)
		switch v.Result {
		case "valid":
			if err != nil || !bytes.Equal(opened, v.Msg) {
				t.Errorf("test %d: unwrapping gives %x, %v", v.ID, opened, err)
			}
			if wrapped, err := material.WrapKWP(v.Key, v.Msg); err != nil || !bytes.Equal(wrapped, v.CT) {
				t.Errorf("test %d: wrapping gives %x, %v", v.ID, wrapped, err)
			}
		case "invalid":
			if err == nil {
				t.Errorf("test %d: unwrapping gives %x", v.ID, opened)
			}
		}
	})
}

// TestDerivation derives keys and looks through them at HKDF's output: the
// encryption of nothing under the derived key is that under the expected one.
func TestDerivation(t *testing.T) {
	wycheproof(t, "hkdf_sha256_test", func(t *testing.T, g *group, v *vector) {
		if len(v.Salt) > 0 || v.Size < 32 || !v.valid() {
			return
		}
		typ, size := material.AES256GCM, 32
		if g.KeySize == 128 {
			typ, size = material.AES128GCM, 16
		}
		k, err := material.Parse(typ, v.IKM)
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.Derive(v.Info, false)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.Secret(), v.OKM[:size]) {
			t.Errorf("test %d: derived %x, want %x", v.ID, d.Secret(), v.OKM[:size])
		}
	})
}

func TestMLKEMOpensWhatOthersEncapsulate(t *testing.T) {
	for file, typ := range map[string]material.Type{"mlkem_768_test": material.MLKEM768, "mlkem_1024_test": material.MLKEM1024} {
		wycheproof(t, file, func(t *testing.T, _ *group, v *vector) {
			k, err := material.Parse(typ, v.Seed)
			if err != nil {
				if v.valid() {
					t.Errorf("test %d: %v", v.ID, err)
				}
				return
			}
			if !v.valid() {
				return // a wrong ciphertext decapsulates to a wrong key, which the AEAD finds
			}
			public, err := k.PublicDER()
			if err != nil || !bytes.HasSuffix(public, v.EK) {
				t.Errorf("test %d: another public key", v.ID)
			}
			sealed := append(bytes.Clone(v.C), sealGCM(t, v.K, []byte("hello"), []byte("ad"))...)
			if got, err := k.Open(nil, sealed, []byte("ad")); err != nil || string(got) != "hello" {
				t.Errorf("test %d: opened %q, %v", v.ID, got, err)
			}
		})
	}
}

// sealGCM seals as the documentation of the package says ML-KEM keys do.
func sealGCM(t *testing.T, shared, plaintext, ad []byte) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, shared, nil, "coffer transit ml-kem", 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, 12)
	return gcm.Seal(nonce, nonce, plaintext, ad)
}

// TestAgreement agrees on keys by the vectors of ECDH: the key is HKDF of the
// shared secret.
func TestAgreement(t *testing.T) {
	wycheproof(t, "ecdh_secp256r1_test", func(t *testing.T, _ *group, v *vector) {
		peer, err := x509.ParsePKIXPublicKey(v.Public)
		if err != nil {
			if v.valid() {
				t.Errorf("test %d: %v", v.ID, err)
			}
			return
		}
		scalar := v.Private
		for len(scalar) > 32 {
			scalar = scalar[1:]
		}
		scalar = append(make([]byte, 32-len(scalar)), scalar...)
		private, err := ecdh.P256().NewPrivateKey(scalar)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		k, err := material.Parse(material.ECDSAP256, der)
		if err != nil {
			t.Fatal(err)
		}
		agreed, err := k.Agree(peer, material.AES256GCM)
		if err != nil {
			if v.valid() {
				t.Errorf("test %d: %v", v.ID, err)
			}
			return
		}
		want, err := hkdf.Key(sha256.New, v.Shared, nil, "", 32)
		if err != nil {
			t.Fatal(err)
		}
		if v.Result != "acceptable" && bytes.Equal(agreed.Secret(), want) != v.valid() {
			t.Errorf("test %d: agreed on another key, want %s", v.ID, v.Result)
		}
	})
}
