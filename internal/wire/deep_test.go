package wire_test

import (
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/wire"
)

// BenchmarkParseTooDeep refuses what nests too deeply: for less than parsing it
// would cost.
func BenchmarkParseTooDeep(b *testing.B) {
	for name, body := range map[string]string{"objects": strings.Repeat(`{"a":`, 1000), "arrays": `{"a":` + strings.Repeat(`[`, 5000)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ParseObject([]byte(body), wire.DefaultLimits); err == nil {
					b.Fatal("no error")
				}
			}
		})
	}
}
