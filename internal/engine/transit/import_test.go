package transit_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// wrapping reads a mount's wrapping key.
func wrapping(t *testing.T, m *enginetest.Mount) *rsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode([]byte(text(t, m.Read("wrapping_key"), "public_key")))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok || key.Size() != 512 {
		t.Fatalf("the wrapping key is a %T of %d bytes", public, key.Size())
	}
	return key
}

func wrapped(t *testing.T, public *rsa.PublicKey, h crypto.Hash, secret []byte) string {
	t.Helper()
	w, err := material.WrapFor(public, h, secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(w)
}

func exported(t *testing.T, m *enginetest.Mount, path string) map[string]string {
	t.Helper()
	var a struct{ Keys map[string]string }
	if err := json.Unmarshal(m.Read(path).Data, &a); err != nil {
		t.Fatal(err)
	}
	return a.Keys
}

func TestImports(t *testing.T) {
	m := mounted(t)
	public := wrapping(t, m)
	secret := []byte("0123456789abcdef0123456789abcdef")
	for name, h := range map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA224": crypto.SHA224, "SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512} {
		m.Write("keys/"+name+"/import", in{"ciphertext": wrapped(t, public, h, secret), "hash_function": name, "exportable": true})
		if got := exported(t, m, "export/encryption-key/"+name)["1"]; got != base64.StdEncoding.EncodeToString(secret) {
			t.Errorf("%s: imported %s", name, got)
		}
	}
	ct := wrapped(t, public, crypto.SHA256, secret)
	for _, bad := range []in{
		{}, {"ciphertext": "***"}, {"ciphertext": "AAAA"}, {"ciphertext": ct, "hash_function": "SHA512"}, {"ciphertext": ct, "hash_function": "MD5"},
		{"ciphertext": ct, "type": "aes128-gcm96"}, {"ciphertext": ct, "type": "ed25519"}, {"ciphertext": ct[:len(ct)-8] + "AAAAAAA="},
		{"ciphertext": ct, "public_key": "x"}, {"public_key": "x"}, {"public_key": publicPEM(t, public)},
		{"public_key": publicPEM(t, public), "type": "ecdsa-p256"}, {"public_key": publicPEM(t, public), "type": "rsa-2048"},
		{"ciphertext": ct, "auto_rotate_period": "2h"},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "keys/bad/import", bad)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "keys/SHA256/import", in{"ciphertext": ct})
	m.Fails(fault.NotFound, route.VerbRead, "keys/bad", nil)
}

func publicPEM(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestImportedVersions(t *testing.T) {
	m := mounted(t)
	public := wrapping(t, m)
	give := func(secret string) in { return in{"ciphertext": wrapped(t, public, crypto.SHA256, []byte(secret))} }
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
	m.Write("keys/k/import", give(one))
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/rotate", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/config", in{"auto_rotate_period": "2h"})
	m.Write("keys/k/import_version", give(two))
	if c := encrypt(t, m, "k", "x"); !strings.HasPrefix(c, "vault:v2:") {
		t.Error(c)
	}
	m.Write("keys/own", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "keys/own/import_version", give(two))

	rotating := give(one)
	rotating["allow_rotation"] = true
	m.Write("keys/r/import", rotating)
	m.Write("keys/r/rotate", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "keys/r/import_version", give(two))
}

// TestPublicHalves imports the public half of a key first, and the rest later.
func TestPublicHalves(t *testing.T) {
	m := mounted(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	give := func(k *ecdsa.PrivateKey) in {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return in{"ciphertext": wrapped(t, wrapping(t, m), crypto.SHA256, der)}
	}
	m.Write("keys/k/import", in{"type": "ecdsa-p256", "public_key": publicPEM(t, key.Public()), "exportable": true})
	m.Fails(fault.Invalid, route.VerbWrite, "sign/k", in{"input": b64("x")})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/csr", nil)
	m.Fails(fault.Invalid, route.VerbRead, "export/signing-key/k", nil)
	named := give(other)
	named["version"] = 1
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/import_version", named)
	m.Write("keys/k/import_version", give(key))
	sig := text(t, m.Write("sign/k", in{"input": b64("x")}), "signature")
	if !strings.HasPrefix(sig, "vault:v1:") {
		t.Errorf("the private half made a version of its own: %s", sig)
	}
	m.Write("keys/k/import_version", give(other))
	if sig := text(t, m.Write("sign/k", in{"input": b64("x")}), "signature"); !strings.HasPrefix(sig, "vault:v2:") {
		t.Error(sig)
	}
	for _, typ := range []string{"rsa-2048", "ml-dsa-44", "ml-kem-768", "ed25519"} {
		m.Write("keys/"+typ, in{"type": typ})
		m.Write("keys/p-"+typ+"/import", in{"type": typ, "public_key": publicKey(t, m, typ)})
	}
	// Who has the public half encrypts for who has the other.
	if got := text(t, m.Write("decrypt/ml-kem-768", in{"ciphertext": encrypt(t, m, "p-ml-kem-768", "x")}), "plaintext"); got != b64("x") {
		t.Errorf("decrypted to %s", got)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/p-ml-kem-768", in{"ciphertext": encrypt(t, m, "p-ml-kem-768", "x")})
	sig = text(t, m.Write("sign/ml-dsa-44", in{"input": b64("x")}), "signature")
	if m.Write("verify/p-ml-dsa-44", in{"input": b64("x"), "signature": sig}).Map(t)["valid"] != true {
		t.Error("not valid for the public half")
	}
}

// TestSecureExport takes keys of every type from one mount to another, with
// nothing in the clear between them.
func TestSecureExport(t *testing.T) {
	from, to := mounted(t), mounted(t)
	from.Write("keys/wrap/import", in{"type": "rsa-4096", "public_key": text(t, to.Read("wrapping_key"), "public_key")})
	for _, typ := range []string{"aes256-gcm96", "chacha20-poly1305", "ed25519", "ecdsa-p384", "rsa-2048", "ml-dsa-65", "ml-kem-768"} {
		from.Write("keys/"+typ, in{"type": typ, "exportable": true})
		from.Write("keys/"+typ+"/rotate", nil)
		keys := exported(t, from, "byok-export/wrap/"+typ)
		if len(keys) != 2 {
			t.Fatalf("%d versions", len(keys))
		}
		to.Write("keys/"+typ+"/import", in{"type": typ, "ciphertext": keys["1"]})
		to.Write("keys/"+typ+"/import_version", in{"ciphertext": exported(t, from, "byok-export/wrap/"+typ+"/latest")["2"]})
		kind := "sign"
		if from.Read("keys/" + typ).Map(t)["supports_encryption"] == true {
			kind = "encrypt"
		}
		if kind == "sign" {
			sig := text(t, from.Write("sign/"+typ, in{"input": b64("x")}), "signature")
			if to.Write("verify/"+typ, in{"input": b64("x"), "signature": sig}).Map(t)["valid"] != true {
				t.Errorf("%s: not valid over there", typ)
			}
			continue
		}
		if got := text(t, to.Write("decrypt/"+typ, in{"ciphertext": encrypt(t, from, typ, "x")}), "plaintext"); got != b64("x") {
			t.Errorf("%s: decrypted to %s", typ, got)
		}
	}
	from.Write("keys/kept", nil)
	from.Fails(fault.Invalid, route.VerbRead, "byok-export/wrap/kept", nil)
	from.Fails(fault.Invalid, route.VerbRead, "byok-export/aes256-gcm96/ed25519", nil)
	from.Fails(fault.Invalid, route.VerbRead, "byok-export/wrap/none", nil)
}

func TestExportFormats(t *testing.T) {
	m := mounted(t)
	for _, tt := range []struct{ typ, kind, format, begins string }{
		{"aes256-gcm96", "encryption-key", "raw", ""},
		{"rsa-2048", "encryption-key", "", "-----BEGIN RSA PRIVATE KEY-----"},
		{"rsa-2048", "signing-key", "pem", "-----BEGIN PRIVATE KEY-----"},
		{"rsa-2048", "signing-key", "der", "MII"},
		{"ecdsa-p256", "signing-key", "", "-----BEGIN EC PRIVATE KEY-----"},
		{"ed25519", "signing-key", "raw", ""},
		{"ed25519", "signing-key", "pem", "-----BEGIN PRIVATE KEY-----"},
		{"ed25519", "public-key", "pem", "-----BEGIN PUBLIC KEY-----"},
		{"ml-dsa-44", "signing-key", "pem", "-----BEGIN PRIVATE KEY-----"},
		{"hmac", "hmac-key", "", ""},
	} {
		m.Write("keys/"+tt.typ, in{"type": tt.typ, "exportable": true, "key_size": map[bool]int{true: 64}[tt.typ == "hmac"]})
		got := exported(t, m, "export/"+tt.kind+"/"+tt.typ+"?format="+tt.format)["1"]
		if !strings.HasPrefix(got, tt.begins) || got == "" {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	for _, path := range []string{
		"export/encryption-key/aes256-gcm96?format=pem", "export/signing-key/rsa-2048?format=raw", "export/public-key/aes256-gcm96", "export/public-key/rsa-2048?format=raw",
		"export/signing-key/aes256-gcm96", "export/encryption-key/ed25519", "export/encryption-key/aes256-gcm96?format=x", "export/x/aes256-gcm96",
		"export/encryption-key/aes256-gcm96/0", "export/encryption-key/aes256-gcm96/2", "export/encryption-key/aes256-gcm96/x", "export/certificate-chain/rsa-2048",
	} {
		m.Fails(fault.Invalid, route.VerbRead, path, nil)
	}
	// Public halves are open; secrets of keys that are not exportable are not.
	m.Write("keys/kept", in{"type": "ecdsa-p256"})
	m.Read("export/public-key/kept")
	m.Fails(fault.Invalid, route.VerbRead, "export/signing-key/kept", nil)
	m.Fails(fault.Invalid, route.VerbRead, "export/hmac-key/kept", nil)
}

func TestBackups(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"exportable": true, "allow_plaintext_backup": true, "derived": true})
	m.Write("keys/k/rotate", nil)
	seal := in{"plaintext": b64("x"), "context": b64("c")}
	c := text(t, m.Write("encrypt/k", seal), "ciphertext")
	backup := text(t, m.Read("backup/k"), "backup")
	m.Write("restore/k2", in{"backup": backup})
	if got := text(t, m.Write("decrypt/k2", in{"ciphertext": c, "context": b64("c")}), "plaintext"); got != b64("x") {
		t.Errorf("decrypted to %s", got)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "restore", in{"backup": backup})
	m.Write("keys/k/rotate", nil)
	m.Write("restore", in{"backup": backup, "force": true})
	if latest := m.Read("keys/k").Map(t)["latest_version"]; latest != 2.0 {
		t.Errorf("at version %v after the restoration", latest)
	}
	if n := rows(t, m); n != 6 {
		t.Errorf("%d rows, want two keys with two versions each", n)
	}
	m.Write("keys/closed", in{"exportable": true})
	m.Fails(fault.Invalid, route.VerbRead, "backup/closed", nil)
	for _, bad := range []string{"", "***", "AAAA", base64.StdEncoding.EncodeToString([]byte(`{}`)), backup[:len(backup)/2], base64.StdEncoding.EncodeToString([]byte(`{"coffer_transit_backup":"2"}`))} {
		m.Fails(fault.Invalid, route.VerbWrite, "restore/bad", in{"backup": bad})
	}
}

// vaultBackup is the example of Vault's public documentation of backup/<name>.
const vaultBackup = "eyJwb2xpY3kiOnsibmFtZSI6ImFlcyIsImtleXMiOnsiMSI6eyJrZXkiOiJXK3k4Z0dOMHdiTDJLOU95NXFPN1laMGtjdzMvR0ZiNWM4STBzdlNMMnFNPSIsImhtYWNfa2V5IjoiUDBTcjh1YTJaZERNUTdPd2h4RGp1Z0U5d0JSR3Q2QXl6K0t4TzN5Z2M5ST0iLCJ0aW1lIjoiMjAxNy0xMi0wOFQxMTo1MDowOC42MTM4MzctMDU6MDAiLCJlY194IjpudWxsLCJlY195IjpudWxsLCJlY19kIjpudWxsLCJyc2Ffa2V5IjpudWxsLCJwdWJsaWNfa2V5IjoiIiwiY3JlYXRpb25fdGltZSI6MTUxMjc1MTgwOH19LCJkZXJpdmVkIjpmYWxzZSwia2RmIjowLCJjb252ZXJnZW50X2VuY3J5cHRpb24iOmZhbHNlLCJleHBvcnRhYmxlIjpmYWxzZSwibWluX2RlY3J5cHRpb25fdmVyc2lvbiI6MSwibWluX2VuY3J5cHRpb25fdmVyc2lvbiI6MCwibGF0ZXN0X3ZlcnNpb24iOjEsImFyY2hpdmVfdmVyc2lvbiI6MSwiZGVsZXRpb25fYWxsb3dlZCI6ZmFsc2UsImNvbnZlcmdlbnRfdmVyc2lvbiI6MCwidHlwZSI6MCwiYmFja3VwX2luZm8iOnsidGltZSI6IjIwMTctMTItMDhUMTE6NTA6MjkuMjI4MTU3LTA1OjAwIiwidmVyc2lvbiI6MX0sInJlc3RvcmVfaW5mbyI6bnVsbH0sImFyY2hpdmVkX2tleXMiOnsia2V5cyI6W3sia2V5IjpudWxsLCJobWFjX2tleSI6bnVsbCwidGltZSI6IjAwMDEtMDEtMDFUMDA6MDA6MDBaIiwiZWNfeCI6bnVsbCwiZWNfeSI6bnVsbCwiZWNfZCI6bnVsbCwicnNhX2tleSI6bnVsbCwicHVibGljX2tleSI6IiIsImNyZWF0aW9uX3RpbWUiOjB9LHsia2V5IjoiVyt5OGdHTjB3YkwySzlPeTVxTzdZWjBrY3czL0dGYjVjOEkwc3ZTTDJxTT0iLCJobWFjX2tleSI6IlAwU3I4dWEyWmRETVE3T3doeERqdWdFOXdCUkd0NkF5eitLeE8zeWdjOUk9IiwidGltZSI6IjIwMTctMTItMDhUMTE6NTA6MDguNjEzODM3LTA1OjAwIiwiZWNfeCI6bnVsbCwiZWNfeSI6bnVsbCwiZWNfZCI6bnVsbCwicnNhX2tleSI6bnVsbCwicHVibGljX2tleSI6IiIsImNyZWF0aW9uX3RpbWUiOjE1MTI3NTE4MDh9XX19Cg=="

func TestBackupsOfVaultAreRestored(t *testing.T) {
	m := mounted(t)
	m.Write("restore", in{"backup": vaultBackup})
	m.Write("keys/aes/config", in{"exportable": true})
	if diff := cmp.Diff(map[string]string{"1": "W+y8gGN0wbL2K9Oy5qO7YZ0kcw3/GFb5c8I0svSL2qM="}, exported(t, m, "export/encryption-key/aes")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"1": "P0Sr8ua2ZdDMQ7OwhxDjugE9wBRGt6Ayz+KxO3ygc9I="}, exported(t, m, "export/hmac-key/aes")); diff != "" {
		t.Error(diff)
	}
	encrypt(t, m, "aes", "x")
}

// TestForeignBackupsOfAsymmetricKeys writes backups as Vault's form has them.
func TestForeignBackupsOfAsymmetricKeys(t *testing.T) {
	m := mounted(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]in{
		"1": {"ec_d": new(big.Int).SetBytes(scalar), "public_key": publicPEM(t, ec.Public())},
		"3": {"rsa_key": in{"N": key.N, "E": key.E, "D": key.D, "Primes": key.Primes}},
	} {
		version["hmac_key"], version["time"] = make([]byte, 32), time.Unix(1, 0)
		typ := int(name[0] - '0')
		raw, err := json.Marshal(in{
			"policy":        in{"name": "k" + name, "type": typ, "latest_version": 1, "min_decryption_version": 1, "keys": in{"1": version}},
			"archived_keys": in{"keys": []in{{}, version}},
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Write("restore", in{"backup": base64.StdEncoding.EncodeToString(raw)})
		sig := text(t, m.Write("sign/k"+name, in{"input": b64("x")}), "signature")
		if m.Write("verify/k"+name, in{"input": b64("x"), "signature": sig}).Map(t)["valid"] != true {
			t.Error("not valid")
		}
	}
	for _, bad := range []string{
		`{"policy":{"type":10,"latest_version":1},"archived_keys":{"keys":[{},{}]}}`,
		`{"policy":{"type":0,"derived":true,"kdf":0,"latest_version":1},"archived_keys":{"keys":[{},{}]}}`,
		`{"policy":{"type":0,"derived":true,"kdf":1,"convergent_encryption":true,"convergent_version":2,"latest_version":1},"archived_keys":{"keys":[{},{}]}}`,
		`{"policy":{"type":3,"latest_version":1},"archived_keys":{"keys":[{},{"rsa_key":{"N":15,"E":3,"D":3,"Primes":[3,5]}}]}}`,
		`{"policy":{"type":1,"latest_version":1},"archived_keys":{"keys":[{},{"ec_d":123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890}]}}`,
		`{"policy":{"type":0,"latest_version":2000000000},"archived_keys":{"keys":[]}}`,
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "restore/bad", in{"backup": b64(bad)})
	}
}

func TestCertificates(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"type": "ecdsa-p256"})
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}, DNSNames: []string{"app.example.org"}}, caKey)
	if err != nil {
		t.Fatal(err)
	}
	asked := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: template}))
	block, _ := pem.Decode([]byte(text(t, m.Write("keys/k/csr", in{"csr": asked}), "csr")))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		t.Fatalf("%v, %v", err, csr.CheckSignature())
	}
	if csr.Subject.CommonName != "app" || !cmp.Equal(csr.DNSNames, []string{"app.example.org"}) || publicPEM(t, csr.PublicKey) != publicKey(t, m, "k") {
		t.Errorf("the request is for %v %v", csr.Subject, csr.DNSNames)
	}

	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: csr.Subject, NotAfter: time.Now().Add(time.Hour)}
	sign := func(public any) string {
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, public, caKey)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	caPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	for _, bad := range []string{"", "junk", caPEM + sign(csr.PublicKey), sign(caKey.Public()) + caPEM, sign(csr.PublicKey) + sign(csr.PublicKey), asked} {
		m.Fails(fault.Invalid, route.VerbWrite, "keys/k/set-certificate", in{"certificate_chain": bad})
	}
	chain := sign(csr.PublicKey) + caPEM
	m.Write("keys/k/set-certificate", in{"certificate_chain": chain})
	if got := exported(t, m, "export/certificate-chain/k")["1"]; got != chain {
		t.Errorf("exported %s", got)
	}
	m.Write("keys/aes", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "keys/aes/csr", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/csr", in{"version": 2})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/csr", in{"csr": "junk"})
}

// TestAgreedKeys lets two mounts agree on a key by their public keys alone.
func TestAgreedKeys(t *testing.T) {
	a, b := mounted(t), mounted(t)
	for _, curve := range []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521"} {
		a.Write("keys/"+curve, in{"type": curve})
		b.Write("keys/"+curve, in{"type": curve})
		a.Write("derive-key/s-"+curve, in{"base_key_name": curve, "peer_public_key": publicKey(t, b, curve)})
		b.Write("derive-key/s-"+curve, in{"base_key_name": curve, "peer_public_key": publicKey(t, a, curve)})
		if got := text(t, b.Write("decrypt/s-"+curve, in{"ciphertext": encrypt(t, a, "s-"+curve, "x")}), "plaintext"); got != b64("x") {
			t.Errorf("decrypted to %s", got)
		}
	}
	a.Write("keys/aes", nil)
	peer := publicKey(t, b, "ecdsa-p256")
	for _, bad := range []in{
		{"base_key_name": "ecdsa-p384", "peer_public_key": peer}, {"base_key_name": "aes", "peer_public_key": peer}, {"base_key_name": "none", "peer_public_key": peer},
		{"base_key_name": "ecdsa-p256", "peer_public_key": "x"}, {"base_key_name": "ecdsa-p256", "peer_public_key": peer, "key_derivation_algorithm": "x"},
		{"base_key_name": "ecdsa-p256", "peer_public_key": peer, "derived_key_type": "ed25519"}, {"base_key_name": "ecdsa-p256", "peer_public_key": peer, "base_key_version": "2"},
	} {
		a.Fails(fault.Invalid, route.VerbWrite, "derive-key/bad", bad)
	}
	a.Fails(fault.Invalid, route.VerbWrite, "derive-key/aes", in{"base_key_name": "ecdsa-p256", "peer_public_key": peer})
}
