package token_test

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/cofferhq/coffer/internal/token"
)

// reference is the conversion as one does it by hand.
func reference(b []byte, digits int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n, base, rest := new(big.Int).SetBytes(b), big.NewInt(62), new(big.Int)
	out := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		out[i] = alphabet[rest.Int64()]
	}
	return string(out)
}

func TestTextIsTheNumberInBase62(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []struct{ bytes, digits int }{{32, 43}, {16, 22}, {18, 24}, {18, 25}, {4, 6}, {1, 2}, {1, 1}, {0, 3}} {
		inputs := [][]byte{make([]byte, size.bytes), bytes.Repeat([]byte{0xff}, size.bytes)}
		for range 200 {
			b := make([]byte, size.bytes)
			_, _ = random.Read(b)
			inputs = append(inputs, b)
		}
		for _, b := range inputs {
			if got, want := token.Base62(b, size.digits), reference(b, size.digits); got != want {
				t.Fatalf("%x in %d digits: got %s, want %s", b, size.digits, got, want)
			}
		}
	}
}
