package wire_test

import (
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/wire"
)

func BenchmarkParseObject(b *testing.B) {
	for name, body := range map[string]string{
		"small": `{"data":{"username":"app","password":"correct horse battery staple"},"options":{"cas":3}}`,
		"large": `{"data":{"certificate":"` + strings.Repeat("MIIBIjANBgkqhkiG9w0B", 200) + `","list":[` + strings.Repeat(`"element",`, 200) + `"end"]}}`,
	} {
		b.Run(name, func(b *testing.B) {
			raw := []byte(body)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ParseObject(raw, wire.DefaultLimits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendQuoted(b *testing.B) {
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = wire.AppendQuoted(buf[:0], "correct horse battery staple \n \"quoted\"")
	}
}
