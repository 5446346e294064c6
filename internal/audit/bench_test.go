package audit_test

import (
	"context"
	"testing"

	"github.com/cofferhq/coffer/internal/audit"
)

// A pure read's two records: begun one after the other, waited for together.
func BenchmarkReadPair(b *testing.B) {
	h := newHouse(b, nil)
	h.enable(b, "file", map[string]string{"file_path": b.TempDir() + "/audit.log", "fsync": "none"})
	request, response := sampleRead()
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, q := h.Begin(request), h.Begin(response)
			if p.Wait(ctx) != nil || q.Wait(ctx) != nil {
				b.Error("not recorded")
			}
		}
	})
}

// BenchmarkEncodePair measures the two records' encoding alone.
func BenchmarkEncodePair(b *testing.B) {
	enc := audit.NewTestEncoder([]byte("0123456789abcdef0123456789abcdef"), nil)
	request, response := sampleRead()
	b.ReportAllocs()
	for b.Loop() {
		enc.Line(request)
		enc.Line(response)
	}
}

// BenchmarkEncodeExchange is BenchmarkEncodePair with what both have in common
// encoded once.
func BenchmarkEncodeExchange(b *testing.B) {
	enc := audit.NewTestEncoder([]byte("0123456789abcdef0123456789abcdef"), nil)
	request, response := sampleRead()
	var common audit.Common
	request.Common, response.Common = &common, &common
	b.ReportAllocs()
	for b.Loop() {
		enc.Line(request)
		enc.Line(response)
		common.Reset()
	}
}
