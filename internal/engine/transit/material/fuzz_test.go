package material_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
)

// types are those whose keys are quickly made.
var types = []material.Type{
	material.AES128GCM, material.AES256GCM, material.ChaCha20Poly1305, material.XChaCha20Poly1305, material.Ed25519, material.ECDSAP256,
	material.ECDSAP384, material.ECDSAP521, material.RSA2048, material.MLDSA44, material.MLDSA65, material.MLDSA87, material.MLKEM768, material.MLKEM1024,
}

// FuzzParse reads bytes as keys of every type: what is taken for a key is one
// that works and is written as it was read.
func FuzzParse(f *testing.F) {
	for i, t := range types {
		k, err := material.Generate(t, 0, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), k.Secret())
	}
	f.Add(uint8(5), []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, n uint8, secret []byte) {
		typ := types[int(n)%len(types)]
		k, err := material.Parse(typ, secret)
		if err != nil {
			return
		}
		if typ.Signs() {
			sig, err := k.Sign([]byte("x"), material.Signing{Hash: 5})
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := k.Verify([]byte("x"), sig, material.Signing{Hash: 5}); !ok || err != nil {
				t.Fatalf("its own signature is not valid: %v", err)
			}
		}
		if typ.Encrypts() {
			sealed, err := k.Seal(nil, []byte("x"), nil, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if opened, err := k.Open(nil, sealed, nil); err != nil || string(opened) != "x" {
				t.Fatalf("opened %q, %v", opened, err)
			}
		}
		for _, format := range []material.Format{material.FormatDefault, material.FormatRaw, material.FormatDER, material.FormatPEM} {
			_, _ = k.ExportPrivate(format)
			_, _ = k.ExportPublic(format)
		}
	})
}

// FuzzParsePublic reads bytes as public halves: one that is taken is written as
// it was read, so that nothing stands beside the key.
func FuzzParsePublic(f *testing.F) {
	for i, t := range types {
		k, err := material.Generate(t, 0, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		if der, err := k.PublicDER(); err == nil && der != nil {
			f.Add(uint8(i), der)
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, der []byte) {
		k, err := material.ParsePublic(types[int(n)%len(types)], der)
		if err != nil {
			return
		}
		if _, err := k.PublicDER(); err != nil {
			t.Fatal(err)
		}
		if k.Private() {
			t.Fatal("a public half has a private one")
		}
		_, _ = k.Verify([]byte("x"), []byte("y"), material.Signing{Hash: 5})
	})
}

// FuzzOpen opens ciphertexts that were changed: nothing but what was sealed
// opens.
func FuzzOpen(f *testing.F) {
	f.Add(uint8(0), []byte{1}, uint16(0))
	f.Add(uint8(8), []byte{1}, uint16(300))
	f.Add(uint8(12), []byte{0x80}, uint16(1100))
	var keys []*material.Key
	var sealed [][]byte
	for _, t := range types {
		if !t.Encrypts() {
			continue
		}
		k, err := material.Generate(t, 0, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		s, err := k.Seal(nil, []byte("what is sealed"), nil, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		keys, sealed = append(keys, k), append(sealed, s)
	}
	f.Fuzz(func(t *testing.T, n uint8, change []byte, at uint16) {
		i := int(n) % len(keys)
		s := bytes.Clone(sealed[i])
		for j, c := range change {
			if k := int(at) + j; k < len(s) {
				s[k] ^= c
			}
		}
		opened, err := keys[i].Open(nil, s, nil)
		if err == nil && (!bytes.Equal(s, sealed[i]) || string(opened) != "what is sealed") {
			t.Fatalf("a changed ciphertext of %s opens", keys[i].Type())
		}
	})
}

// FuzzUnwrap unwraps what may not be wrapped; what is, wraps to the same.
func FuzzUnwrap(f *testing.F) {
	kek := make([]byte, 32)
	for _, n := range []int{1, 7, 8, 9, 32} {
		w, err := material.WrapKWP(kek, make([]byte, n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		key, err := material.UnwrapKWP(kek, wrapped)
		if err != nil {
			return
		}
		if again, err := material.WrapKWP(kek, key); err != nil || !bytes.Equal(again, wrapped) {
			t.Fatalf("wraps to %x, %v", again, err)
		}
	})
}
