package token_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/token"
)

// BenchmarkAuthenticate checks a token: one in use, one that nobody has, and one
// with a typing error, which its checksum tells without asking the store.
func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	good, other := w.create(nil).text, newWorld(b).create(nil).text
	for _, bc := range []struct {
		name, text string
		want       error
	}{{"good", good, nil}, {"unknown", other, fault.Denied}, {"mistyped", good[:len(good)-1] + "!", fault.Denied}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Authenticate(b.Context(), bc.text); !errors.Is(err, bc.want) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkText writes the random part of a token.
func BenchmarkText(b *testing.B) {
	in := bytes.Repeat([]byte{0xa7}, 32)
	b.ReportAllocs()
	for b.Loop() {
		token.Base62(in, 43)
	}
}
