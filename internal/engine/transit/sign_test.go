package transit_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// openssl runs the program and returns what it has to say.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// publicKey reads the public half of a key's first version.
func publicKey(t *testing.T, m *enginetest.Mount, name string) string {
	t.Helper()
	var a struct{ Keys map[string]string }
	if err := json.Unmarshal(m.Read("export/public-key/"+name+"/1?format=pem").Data, &a); err != nil {
		t.Fatal(err)
	}
	return a.Keys["1"]
}

// TestOpenSSLVerifiesSignatures has another implementation look at signatures of
// every kind, and at ones that were changed.
func TestOpenSSLVerifiesSignatures(t *testing.T) {
	m := mounted(t)
	message := "what is signed"
	for _, tt := range []struct {
		typ  string
		body in
		args []string
	}{
		{"ecdsa-p256", in{}, []string{"-sha256"}},
		{"ecdsa-p256", in{"hash_algorithm": "sha1"}, []string{"-sha1"}},
		{"ecdsa-p256", in{"hash_algorithm": "sha2-224"}, []string{"-sha224"}},
		{"ecdsa-p384", in{"hash_algorithm": "sha2-384"}, []string{"-sha384"}},
		{"ecdsa-p521", in{"hash_algorithm": "sha3-512"}, []string{"-sha3-512"}},
		{"ecdsa-p521", in{"algorithm": "sha3-224"}, []string{"-sha3-224"}},
		{"rsa-2048", in{}, []string{"-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:max"}},
		{"rsa-2048", in{"salt_length": "hash"}, []string{"-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}},
		{"rsa-2048", in{"salt_length": "20", "hash_algorithm": "sha2-512"}, []string{"-sha512", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"}},
		{"rsa-2048", in{"signature_algorithm": "pkcs1v15"}, []string{"-sha256"}},
		{"rsa-2048", in{"signature_algorithm": "pkcs1v15", "hash_algorithm": "sha3-384"}, []string{"-sha3-384"}},
		{"rsa-3072", in{"signature_algorithm": "pkcs1v15", "hash_algorithm": "sha2-384"}, []string{"-sha384"}},
	} {
		t.Run(fmt.Sprint(tt.typ, tt.body), func(t *testing.T) {
			m.Write("keys/"+tt.typ, in{"type": tt.typ})
			tt.body["input"] = b64(message)
			sig := text(t, m.Write("sign/"+tt.typ, tt.body), "signature")
			tt.body["signature"] = sig
			if m.Write("verify/"+tt.typ, tt.body).Map(t)["valid"] != true {
				t.Error("not valid here")
			}
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sig, "vault:v1:"))
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{"dgst", "-verify", write(t, "pub.pem", []byte(publicKey(t, m, tt.typ)))}, tt.args...)
			file := write(t, "message", []byte(message))
			if out, err := openssl(t, append(args, "-signature", write(t, "sig", raw), file)...); err != nil {
				t.Errorf("openssl: %s", out)
			}
			raw[len(raw)-1] ^= 1
			if out, err := openssl(t, append(args, "-signature", write(t, "sig", raw), file)...); err == nil {
				t.Errorf("openssl accepts a changed signature: %s", out)
			}
		})
	}
}

func TestOpenSSLVerifiesEd25519(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"type": "ed25519"})
	sig := text(t, m.Write("sign/k", in{"input": b64("message")}), "signature")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sig, "vault:v1:"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := openssl(t, "pkeyutl", "-verify", "-pubin", "-inkey", write(t, "pub.pem", []byte(publicKey(t, m, "k"))), "-rawin",
		"-in", write(t, "message", []byte("message")), "-sigfile", write(t, "sig", raw))
	if err != nil {
		t.Errorf("openssl: %s", out)
	}
}

func TestOpenSSLEncryptsForUs(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"type": "rsa-2048"})
	sealed := filepath.Join(t.TempDir(), "sealed")
	out, err := openssl(t, "pkeyutl", "-encrypt", "-pubin", "-inkey", write(t, "pub.pem", []byte(publicKey(t, m, "k"))), "-in", write(t, "plain", []byte("hello")),
		"-out", sealed, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
	if err != nil {
		t.Fatal(out)
	}
	raw, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, m.Write("decrypt/k", in{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(raw)}), "plaintext"); got != b64("hello") {
		t.Errorf("decrypted to %s", got)
	}
}

func TestPrehashedInput(t *testing.T) {
	m := mounted(t)
	hash := sha256.Sum256([]byte("message"))
	hashed := base64.StdEncoding.EncodeToString(hash[:])
	for _, typ := range []string{"ecdsa-p256", "rsa-2048"} {
		m.Write("keys/"+typ, in{"type": typ})
		sig := text(t, m.Write("sign/"+typ, in{"input": hashed, "prehashed": true}), "signature")
		if m.Write("verify/"+typ, in{"input": b64("message"), "signature": sig}).Map(t)["valid"] != true {
			t.Errorf("%s: a signature of the hash is none of the message", typ)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/rsa-2048", in{"input": b64("short"), "prehashed": true})
	// Without a hash there is no DigestInfo: what openssl's raw pkcs1 signs too.
	body := in{"input": hashed, "prehashed": true, "hash_algorithm": "none", "signature_algorithm": "pkcs1v15"}
	sig := text(t, m.Write("sign/rsa-2048", body), "signature")
	body["signature"] = sig
	if m.Write("verify/rsa-2048", body).Map(t)["valid"] != true {
		t.Error("not valid")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sig, "vault:v1:"))
	if err != nil {
		t.Fatal(err)
	}
	recovered := filepath.Join(t.TempDir(), "recovered")
	if out, err := openssl(t, "pkeyutl", "-verifyrecover", "-pubin", "-inkey", write(t, "pub.pem", []byte(publicKey(t, m, "rsa-2048"))), "-in", write(t, "sig", raw), "-out", recovered); err != nil {
		t.Fatal(out)
	}
	if got, err := os.ReadFile(recovered); err != nil || hex.EncodeToString(got) != hex.EncodeToString(hash[:]) {
		t.Errorf("openssl recovers %x, %v", got, err)
	}
	for _, bad := range []in{
		{"hash_algorithm": "none"}, {"hash_algorithm": "none", "prehashed": true}, {"hash_algorithm": "none", "signature_algorithm": "pkcs1v15"},
		{"hash_algorithm": "md5"}, {"signature_algorithm": "raw"}, {"marshaling_algorithm": "der"}, {"salt_length": "0"}, {"salt_length": "-1"},
		{"salt_length": "many"}, {"salt_length": "223"}, {"input": "***"}, {"key_version": 2}, {"key_version": -1},
	} {
		body := in{"input": hashed}
		for k, v := range bad {
			body[k] = v
		}
		m.Fails(fault.Invalid, route.VerbWrite, "sign/rsa-2048", body)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/ecdsa-p256", in{"input": hashed, "hash_algorithm": "none", "prehashed": true, "signature_algorithm": "pkcs1v15"})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/ecdsa-p256", in{"input": "", "prehashed": true})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/rsa-2048", in{"input": "", "prehashed": true})
	m.Write("keys/pq", in{"type": "ml-dsa-44"})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/pq", in{"input": hashed, "prehashed": true})
}

func TestSignaturesForJWS(t *testing.T) {
	m := mounted(t)
	for typ, size := range map[string]int{"ecdsa-p256": 64, "ecdsa-p384": 96, "ecdsa-p521": 132} {
		m.Write("keys/"+typ, in{"type": typ})
		sig := text(t, m.Write("sign/"+typ, in{"input": b64("x"), "marshaling_algorithm": "jws"}), "signature")
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(sig, "vault:v1:"))
		if err != nil || len(raw) != size {
			t.Errorf("%s: %d bytes, %v", typ, len(raw), err)
		}
		if m.Write("verify/"+typ, in{"input": b64("x"), "marshaling_algorithm": "jws", "signature": sig}).Map(t)["valid"] != true {
			t.Error("not valid")
		}
		short := "vault:v1:" + base64.RawURLEncoding.EncodeToString(raw[1:])
		if m.Write("verify/"+typ, in{"input": b64("x"), "marshaling_algorithm": "jws", "signature": short}).Map(t)["valid"] != false {
			t.Error("a shorter signature is valid")
		}
	}
}

// TestDerivedSigning checks a derived signature with the public key that comes
// with it.
func TestDerivedSigning(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"type": "ed25519", "derived": true})
	r := m.Write("sign/k", in{"input": b64("x"), "context": b64("a")})
	shown, ok := m.Read("keys/k?context=" + b64("a")).Map(t)["keys"].(map[string]any)["1"].(map[string]any)
	if !ok || shown["public_key"] != text(t, r, "public_key") {
		t.Errorf("shown %v, signed by %s", shown, text(t, r, "public_key"))
	}
	other := m.Write("sign/k", in{"input": b64("x"), "context": b64("b")})
	if text(t, other, "public_key") == text(t, r, "public_key") {
		t.Error("two contexts have the same key")
	}
	m.Fails(fault.Invalid, route.VerbWrite, "sign/k", in{"input": b64("x")})
	m.Write("keys/pub", in{"type": "ecdsa-p256"})
	m.Fails(fault.Invalid, route.VerbRead, "export/public-key/k", nil)
}

func TestHMACs(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	for _, alg := range []string{"sha2-224", "sha2-256", "sha2-384", "sha2-512", "sha3-224", "sha3-256", "sha3-384", "sha3-512"} {
		mac := text(t, m.Write("hmac/k/"+alg, in{"input": b64("x")}), "hmac")
		if m.Write("verify/k/"+alg, in{"input": b64("x"), "hmac": mac}).Map(t)["valid"] != true {
			t.Errorf("%s: not valid", alg)
		}
		if m.Write("verify/k/"+alg, in{"input": b64("y"), "hmac": mac}).Map(t)["valid"] != false {
			t.Errorf("%s: valid for something else", alg)
		}
	}
	for _, alg := range []string{"sha1", "none", "md5"} {
		m.Fails(fault.Invalid, route.VerbWrite, "hmac/k", in{"input": b64("x"), "algorithm": alg})
	}
	m.Fails(fault.Invalid, route.VerbWrite, "verify/k", in{"input": b64("x")})
	m.Fails(fault.Invalid, route.VerbWrite, "verify/k", in{"batch_input": []in{{"input": "", "hmac": "vault:v1:AAAA"}, {"input": "", "signature": "vault:v1:AAAA"}}})
}
