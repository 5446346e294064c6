package transit_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/transit"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// in is a request's body.
type in = map[string]any

func mounted(t *testing.T) *enginetest.Mount {
	t.Helper()
	ty := transit.Type(nil)
	return enginetest.New(t, ty.Routes, ty.New)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// text returns a member of an answer.
func text(t *testing.T, r enginetest.Result, name string) string {
	t.Helper()
	s, ok := r.Map(t)[name].(string)
	if !ok {
		t.Fatalf("the answer has no text %q: %s", name, r.Data)
	}
	return s
}

func encrypt(t *testing.T, m *enginetest.Mount, key, plaintext string) string {
	t.Helper()
	return text(t, m.Write("encrypt/"+key, in{"plaintext": b64(plaintext)}), "ciphertext")
}

func TestEveryEncryptingTypeRoundTrips(t *testing.T) {
	for _, typ := range []string{"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305", "rsa-2048", "ml-kem-768", "ml-kem-1024"} {
		t.Run(typ, func(t *testing.T) {
			m := mounted(t)
			m.Write("keys/k", in{"type": typ})
			one, two := encrypt(t, m, "k", "hello"), encrypt(t, m, "k", "hello")
			if one == two || !strings.HasPrefix(one, "vault:v1:") {
				t.Errorf("ciphertexts %s and %s", one, two)
			}
			if got := text(t, m.Write("decrypt/k", in{"ciphertext": one}), "plaintext"); got != b64("hello") {
				t.Errorf("decrypted to %s", got)
			}
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(one, "vault:v1:"))
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []int{0, len(raw) / 2, len(raw) - 1} {
				raw[at] ^= 1
				changed := "vault:v1:" + base64.StdEncoding.EncodeToString(raw)
				m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": changed})
				raw[at] ^= 1
			}
		})
	}
}
