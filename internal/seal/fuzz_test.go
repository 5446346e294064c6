package seal_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// FuzzUnsealSteps runs sequences of steps against a model that knows which
// shares count. It never opens with fewer than the threshold.
func FuzzUnsealSteps(f *testing.F) {
	s := mem.New()
	keys := start(f, s).initialize(f, 3, 2)
	f.Add([]byte{0, 1})
	f.Add([]byte{0, 0, 4, 1, 2, 5, 2, 0})
	f.Add([]byte{3, 0, 0, 1})
	f.Add([]byte{0, 6, 7, 2})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 64 {
			return
		}
		srv := start(t, s)
		var given [4]bool // 3 is a share that is wrong
		count, sealed := 0, true
		forget := func() { given, count = [4]bool{}, 0 }
		for _, step := range steps {
			var in seal.UnsealRequest
			wantErr := false
			switch step %= 8; {
			case step < 4:
				in.Key = wire.Secret(append(keys, spoil(keys[2]))[step])
				if !sealed {
					break
				}
				if !given[step] {
					given[step] = true
					count++
				}
				if count == 2 {
					wantErr = given[3]
					sealed = wantErr
					forget()
				}
			case step == 4:
				in.Reset = true
				wantErr = !sealed
				forget()
			case step == 5:
				srv.Seal(t.Context())
				sealed = true
				forget()
				continue
			case step == 6:
				in.Key = "AAAA" // not a share
				wantErr = sealed
			default:
				wantErr = true // neither share nor reset
			}
			_, err := srv.Unseal(t.Context(), in)
			if (err != nil) != wantErr || err != nil && fault.KindOf(err) != fault.Invalid {
				t.Fatalf("step %d of %v: error %v, want one: %v", step, steps, err, wantErr)
			}
			st, err := srv.Status(t.Context())
			if err != nil || st.Sealed != sealed || st.Progress != count || (srv.barrier == nil) != sealed {
				t.Fatalf("step %d of %v: %+v (%v), want sealed %v, progress %d", step, steps, st, err, sealed, count)
			}
		}
		srv.Seal(t.Context())
	})
}

// FuzzShare gives arbitrary text as the only share there is.
func FuzzShare(f *testing.F) {
	srv := start(f, mem.New())
	key := srv.initialize(f, 1, 1)[0]
	f.Add(spoil(key))
	f.Add("")
	f.Add("AAAA")
	f.Add(asHex(spoil(key)))
	f.Add("\xff\x00")
	f.Fuzz(func(t *testing.T, text string) {
		st, err := srv.Unseal(t.Context(), seal.UnsealRequest{Key: wire.Secret(text)})
		if err == nil && !st.Sealed {
			t.Fatal("unsealed")
		}
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Fatalf("%v", err)
		}
	})
}

// FuzzSealConfig decodes arbitrary stored configurations.
func FuzzSealConfig(f *testing.F) {
	f.Add([]byte(`{"type":"shamir","shares":3,"threshold":2,"root_key":"AAAA"}`))
	f.Add([]byte(`{"type":"shamir","shares":-3,"threshold":1e9}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		shares, threshold, err := seal.ReadSealConfig(raw)
		if err == nil && (threshold < 1 || threshold > shares || shares > 255) {
			t.Fatalf("%d of %d shares accepted", threshold, shares)
		}
		if err != nil && fault.KindOf(err) != fault.Internal {
			t.Fatalf("blames the client: %v", err)
		}
	})
}

// FuzzPGPKey reads arbitrary text as a public key.
func FuzzPGPKey(f *testing.F) {
	f.Add("AAAA")
	f.Add("mDMEZ0AAAA==")
	f.Add("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n-----END PGP PUBLIC KEY BLOCK-----")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := seal.ReadPGPKey(text); err != nil && fault.KindOf(err) != fault.Invalid {
			t.Fatalf("%v", err)
		}
	})
}
