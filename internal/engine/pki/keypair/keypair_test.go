package keypair_test

import (
	"crypto/rand"
	"encoding/pem"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
)

func TestKeysSurviveTheirEncodings(t *testing.T) {
	for _, spec := range []keypair.Spec{{keypair.RSA, 2048}, {keypair.EC, 224}, {keypair.EC, 256}, {keypair.EC, 384}, {keypair.EC, 521}, {Type: keypair.Ed25519}} {
		key, err := spec.Generate(rand.Reader)
		if err != nil {
			t.Fatalf("%v: %v", spec, err)
		}
		if got, ok := keypair.Of(key.Public()); !ok || got != spec {
			t.Errorf("%v: it is a %v", spec, got)
		}
		p8, err := keypair.PKCS8(key)
		if err != nil {
			t.Fatal(err)
		}
		legacy, kind, err := keypair.Legacy(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{
			"PKCS #8": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p8}),
			"its own": append([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: legacy})...),
		} {
			back, err := keypair.ParsePEM(text)
			if err != nil || !keypair.Same(back.Public(), key.Public()) {
				t.Errorf("%v in %s encoding came back as %v, %v", spec, name, back, err)
			}
		}
	}
}

func TestSpecsAreChecked(t *testing.T) {
	for spec, want := range map[keypair.Spec]keypair.Spec{
		{Type: keypair.RSA}:         {keypair.RSA, 2048},
		{Type: keypair.EC}:          {keypair.EC, 256},
		{keypair.Ed25519, 256}:      {Type: keypair.Ed25519},
		{keypair.RSA, 1024}:         {},
		{keypair.EC, 255}:           {},
		{Type: "dsa"}:               {},
		{Type: "", Bits: 0}:         {},
		{Type: "EC", Bits: 1 << 20}: {},
	} {
		got, err := spec.Check()
		if want == (keypair.Spec{}) {
			if fault.KindOf(err) != fault.Invalid || err == nil {
				t.Errorf("%v: %v", spec, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%v became %v, %v", spec, got, err)
		}
	}
}

func FuzzParsePEM(f *testing.F) {
	key, err := keypair.Spec{Type: keypair.Ed25519}.Generate(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	p8, err := keypair.PKCS8(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: p8}))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := keypair.ParsePEM(text)
		if err != nil {
			return
		}
		if _, ok := keypair.Of(key.Public()); !ok {
			t.Errorf("a key of an unknown type: %T", key)
		}
	})
}
