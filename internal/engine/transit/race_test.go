package transit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// TestUseBesideChanges encrypts and decrypts while the key is rotated, trimmed,
// deleted and made again. What comes back is what went in, or a refusal that says
// why; never something else, and never a failure of the server.
func TestUseBesideChanges(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	call := func(path string, body in) (map[string]any, bool) {
		r := m.Call(route.VerbWrite, path, body)
		if r.Err != nil {
			if kind := fault.KindOf(r.Err); kind != fault.Invalid && kind != fault.Conflict {
				t.Errorf("%s: %v", path, r.Err)
			}
			return nil, false
		}
		var a map[string]any
		if err := json.Unmarshal(r.Data, &a); err != nil {
			t.Error(err)
		}
		return a, true
	}
	done := make(chan struct{})
	var users, changer sync.WaitGroup
	opened := make([]int, 4)
	for i := range opened {
		users.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				want := b64(fmt.Sprint(i, n))
				a, ok := call("encrypt/k", in{"plaintext": want})
				if !ok {
					continue
				}
				if a, ok = call("decrypt/k", in{"ciphertext": a["ciphertext"]}); ok {
					opened[i]++
					if a["plaintext"] != want {
						t.Errorf("encrypted %s, decrypted %v", want, a["plaintext"])
					}
				}
			}
		})
	}
	changer.Go(func() {
		defer close(done)
		for n := range 300 {
			call("keys/k/rotate", nil)
			switch n % 10 {
			case 3:
				call("keys/k/config", in{"min_decryption_version": n % 7, "min_encryption_version": n % 7})
			case 5:
				call("keys/k/trim", in{"min_available_version": n % 7})
			case 9:
				call("keys/k/config", in{"deletion_allowed": true})
				if r := m.Call(route.VerbDelete, "keys/k", nil); r.Err != nil && !errors.Is(r.Err, fault.Invalid) {
					t.Error(r.Err)
				}
				call("keys/k", nil)
			}
		}
	})
	changer.Wait()
	users.Wait()
	for i, n := range opened {
		if n == 0 {
			t.Errorf("user %d has decrypted nothing", i)
		}
	}
}
