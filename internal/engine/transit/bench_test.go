package transit_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/transit"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// direct calls the engine's routes the way the gate does, with nothing around
// it, so that what is measured is the engine.
type direct struct {
	b        *testing.B
	table    *route.Table
	instance any
}

// noTimers schedules nothing.
type noTimers struct{}

func (noTimers) Schedule(store.Txn, string, time.Time) error { return nil }
func (noTimers) Cancel(store.Txn, string) error              { return nil }

func newDirect(b *testing.B) *direct {
	b.Helper()
	inner := mem.New()
	b.Cleanup(func() { _ = inner.Close() })
	ty := transit.Type(nil)
	table, err := route.NewTable(ty.Routes)
	if err != nil {
		b.Fatal(err)
	}
	instance, err := ty.New(engine.Host{
		Storage: engine.NewStorage(store.RootNamespace, 7, inner), Clock: clock.System{}, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Timers: noTimers{},
	})
	if err != nil {
		b.Fatal(err)
	}
	return &direct{b, table, instance}
}

// call makes a request; the body is parsed each time, as it is for a client.
func (d *direct) call(ctx context.Context, path string, body []byte) []byte {
	o, err := wire.ParseObject(body, wire.DefaultLimits)
	if err != nil {
		d.b.Fatal(err)
	}
	var m route.Match
	e, _ := d.table.Find(route.VerbWrite, path, &m)
	c := &route.Call{Verb: route.VerbWrite, Path: path, Body: o, Now: time.Unix(1, 0)}
	c.SetMatch(&m, e)
	if e.HasExists() {
		if _, err := e.Exists(ctx, d.instance, c); err != nil {
			d.b.Fatal(err)
		}
	}
	reply, err := e.Handle(ctx, d.instance, c)
	if err != nil {
		d.b.Fatal(err)
	}
	return reply.Data
}

func (d *direct) member(data []byte, name string) string {
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		d.b.Fatal(err)
	}
	s, _ := m[name].(string)
	return s
}

func body(b *testing.B, v any) []byte {
	b.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func BenchmarkEncrypt(b *testing.B) {
	d := newDirect(b)
	d.call(b.Context(), "keys/k", nil)
	req := body(b, in{"plaintext": b64(string(make([]byte, 256)))})
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), "encrypt/k", req)
	}
}

func BenchmarkDecrypt(b *testing.B) {
	d := newDirect(b)
	d.call(b.Context(), "keys/k", nil)
	sealed := d.call(b.Context(), "encrypt/k", body(b, in{"plaintext": b64(string(make([]byte, 256)))}))
	req := body(b, in{"ciphertext": d.member(sealed, "ciphertext")})
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), "decrypt/k", req)
	}
}

func BenchmarkSign(b *testing.B) {
	for _, typ := range []string{"ed25519", "ecdsa-p256", "rsa-2048", "ml-dsa-65"} {
		b.Run(typ, func(b *testing.B) {
			d := newDirect(b)
			d.call(b.Context(), "keys/k", body(b, in{"type": typ}))
			req := body(b, in{"input": b64("what is signed")})
			b.ReportAllocs()
			for b.Loop() {
				d.call(b.Context(), "sign/k", req)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, typ := range []string{"ed25519", "ecdsa-p256", "rsa-2048", "ml-dsa-65"} {
		b.Run(typ, func(b *testing.B) {
			d := newDirect(b)
			d.call(b.Context(), "keys/k", body(b, in{"type": typ}))
			sig := d.member(d.call(b.Context(), "sign/k", body(b, in{"input": b64("what is signed")})), "signature")
			req := body(b, in{"input": b64("what is signed"), "signature": sig})
			b.ReportAllocs()
			for b.Loop() {
				d.call(b.Context(), "verify/k", req)
			}
		})
	}
}

func BenchmarkHMAC(b *testing.B) {
	d := newDirect(b)
	d.call(b.Context(), "keys/k", nil)
	req := body(b, in{"input": b64(string(make([]byte, 256)))})
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), "hmac/k", req)
	}
}

// BenchmarkBatch encrypts a thousand items at once, and beside it what the
// base64 of input and output, and the cipher, need alone.
func BenchmarkBatch(b *testing.B) {
	const items = 1000
	for _, size := range []int{32, 256, 4096} {
		d := newDirect(b)
		d.call(b.Context(), "keys/k", nil)
		plain := make([]byte, size)
		list := make([]in, items)
		for i := range list {
			list[i] = in{"plaintext": b64(string(plain))}
		}
		req := body(b, in{"batch_input": list})
		parsed, err := wire.ParseObject(req, wire.DefaultLimits)
		if err != nil {
			b.Fatal(err)
		}
		var m route.Match
		e, _ := d.table.Find(route.VerbWrite, "encrypt/k", &m)
		b.Run(fmt.Sprintf("%d bytes/engine", size), func(b *testing.B) {
			b.SetBytes(int64(items * size))
			for b.Loop() {
				c := &route.Call{Verb: route.VerbWrite, Path: "encrypt/k", Body: parsed}
				c.SetMatch(&m, e)
				if _, err := e.Handle(b.Context(), d.instance, c); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d bytes/with parsing", size), func(b *testing.B) {
			b.SetBytes(int64(items * size))
			for b.Loop() {
				d.call(b.Context(), "encrypt/k", req)
			}
		})
		b.Run(fmt.Sprintf("%d bytes/base64", size), func(b *testing.B) {
			text := []byte(b64(string(plain)))
			sealed := make([]byte, size+28)
			b.SetBytes(int64(items * size))
			var in, out []byte
			for b.Loop() {
				for range items {
					in, _ = base64.StdEncoding.AppendDecode(in[:0], text)
					out = base64.StdEncoding.AppendEncode(out[:0], sealed)
				}
			}
		})
		b.Run(fmt.Sprintf("%d bytes/cipher", size), func(b *testing.B) {
			block, err := aes.NewCipher(make([]byte, 32))
			if err != nil {
				b.Fatal(err)
			}
			gcm, err := cipher.NewGCM(block)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(items * size))
			dst := make([]byte, 0, size+64)
			for b.Loop() {
				for range items {
					nonce := dst[:12]
					if _, err := rand.Read(nonce); err != nil {
						b.Fatal(err)
					}
					gcm.Seal(nonce, nonce, plain, nil)
				}
			}
		})
	}
}
