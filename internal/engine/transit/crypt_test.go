package transit_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/transit"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func scan(t *testing.T, m *enginetest.Mount) []store.Entry {
	t.Helper()
	var all []store.Entry
	err := m.Storage.View(t.Context(), func(r store.Reader) error {
		for kind := store.Kind(1); kind < 9; kind++ {
			for e, err := range r.Scan(store.Under(m.Storage.Key(kind))) {
				if err != nil {
					return err
				}
				all = append(all, e)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestF9_NoncesCannotBeGiven(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	m.Write("keys/c", in{"derived": true, "convergent_encryption": true})
	nonce := base64.StdEncoding.EncodeToString(make([]byte, 12))
	c := encrypt(t, m, "k", "x")
	for _, key := range []string{"k", "c"} {
		m.Fails(fault.Invalid, route.VerbWrite, "encrypt/"+key, in{"plaintext": b64("x"), "nonce": nonce, "context": b64("c")})
		r := m.Write("encrypt/"+key, in{"batch_input": []in{{"plaintext": b64("x"), "nonce": nonce, "context": b64("c")}}})
		if r.Status != 400 || strings.Contains(string(r.Data), `"ciphertext":`) {
			t.Errorf("a batch with a nonce: %d %s", r.Status, r.Data)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": c, "nonce": nonce})
}

// TestF9_NoNonceComesTwice encrypts a hundred thousand times, alone and in batches.
func TestF9_NoNonceComesTwice(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	seen := map[string]bool{}
	note := func(ciphertext string) {
		t.Helper()
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(ciphertext, "vault:v1:"))
		if err != nil {
			t.Fatal(err)
		}
		if nonce := string(raw[:12]); seen[nonce] {
			t.Fatalf("the nonce %x twice", nonce)
		} else {
			seen[nonce] = true
		}
	}
	items := make([]in, 5000)
	for i := range items {
		items[i] = in{"plaintext": ""}
	}
	for range 20 {
		var answer struct {
			Results []struct{ Ciphertext string } `json:"batch_results"`
		}
		if err := json.Unmarshal(m.Write("encrypt/k", in{"batch_input": items}).Data, &answer); err != nil {
			t.Fatal(err)
		}
		for _, r := range answer.Results {
			note(r.Ciphertext)
		}
		note(encrypt(t, m, "k", ""))
	}
}

func TestI3_WithoutRandomnessNothingIsEncrypted(t *testing.T) {
	broken := errors.New("no entropy")
	m := mounted(t)
	m.Write("keys/k", nil)
	m.Write("keys/c", in{"derived": true, "convergent_encryption": true})
	ty := transit.Type(nil)
	blind, err := ty.New(engine.Host{Storage: m.Storage, Clock: m.Clock, Rand: iotest.ErrReader(broken), Timers: nil})
	if err != nil {
		t.Fatal(err)
	}
	m.Instance = blind
	m.Fails(fault.Internal, route.VerbWrite, "encrypt/k", in{"plaintext": b64("x")})
	m.Fails(fault.Internal, route.VerbWrite, "encrypt/k", in{"batch_input": []in{{"plaintext": b64("x")}}})
	m.Fails(fault.Internal, route.VerbWrite, "datakey/wrapped/k", nil)
	m.Fails(fault.Internal, route.VerbWrite, "keys/new", nil)
	m.Write("encrypt/c", in{"plaintext": b64("x"), "context": b64("c")}) // needs none
}

func TestAssociatedDataIsAuthenticated(t *testing.T) {
	m := mounted(t)
	for _, typ := range []string{"aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305", "ml-kem-768"} {
		m.Write("keys/"+typ, in{"type": typ})
		c := text(t, m.Write("encrypt/"+typ, in{"plaintext": b64("x"), "associated_data": b64("ad")}), "ciphertext")
		m.Write("decrypt/"+typ, in{"ciphertext": c, "associated_data": b64("ad")})
		m.Fails(fault.Invalid, route.VerbWrite, "decrypt/"+typ, in{"ciphertext": c})
		m.Fails(fault.Invalid, route.VerbWrite, "decrypt/"+typ, in{"ciphertext": c, "associated_data": b64("AD")})
	}
	m.Write("keys/rsa", in{"type": "rsa-2048"})
	m.Fails(fault.Invalid, route.VerbWrite, "encrypt/rsa", in{"plaintext": b64("x"), "associated_data": b64("ad")})
}

func TestRSAEncryptsOnlyWhatFits(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"type": "rsa-2048"})
	encrypt(t, m, "k", strings.Repeat("x", 190))
	m.Fails(fault.Invalid, route.VerbWrite, "encrypt/k", in{"plaintext": b64(strings.Repeat("x", 191))})
}

func TestContextsAreKeysOfTheirOwn(t *testing.T) {
	for _, typ := range []string{"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"} {
		m := mounted(t)
		m.Write("keys/k", in{"type": typ, "derived": true})
		c := text(t, m.Write("encrypt/k", in{"plaintext": b64("x"), "context": b64("a")}), "ciphertext")
		m.Write("decrypt/k", in{"ciphertext": c, "context": b64("a")})
		m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": c, "context": b64("b")})
		m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": c})
		m.Fails(fault.Invalid, route.VerbWrite, "encrypt/k", in{"plaintext": b64("x")})
		m.Fails(fault.Invalid, route.VerbWrite, "encrypt/k", in{"plaintext": b64("x"), "context": "***"})
		// Neighbours in a batch have different contexts.
		r := m.Write("encrypt/k", in{"batch_input": []in{
			{"plaintext": b64("x"), "context": b64("a")}, {"plaintext": b64("x"), "context": b64("b")}, {"plaintext": b64("x"), "context": b64("a")},
		}})
		for i, want := range []string{"a", "b", "a"} {
			var answer struct {
				Results []struct{ Ciphertext string } `json:"batch_results"`
			}
			if err := json.Unmarshal(r.Data, &answer); err != nil {
				t.Fatal(err)
			}
			m.Write("decrypt/k", in{"ciphertext": answer.Results[i].Ciphertext, "context": b64(want)})
		}
	}
}

func TestF10_ConvergentEncryption(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"derived": true, "convergent_encryption": true})
	seal := func(plaintext, context, ad string) string {
		t.Helper()
		return text(t, m.Write("encrypt/k", in{"plaintext": b64(plaintext), "context": b64(context), "associated_data": b64(ad)}), "ciphertext")
	}
	nonce := func(c string) string { return c[:len("vault:v1:")+16] }
	if seal("x", "a", "") != seal("x", "a", "") || seal("x", "a", "ad") != seal("x", "a", "ad") {
		t.Error("the same in the same context is encrypted to something else")
	}
	seen := map[string]string{}
	for _, what := range [][3]string{{"x", "a", ""}, {"y", "a", ""}, {"x", "b", ""}, {"", "a", ""}, {"x", "a", "ad"}, {"x", "a", "da"}, {"dx", "a", "a"}, {"", "a", "x"}} {
		c := seal(what[0], what[1], what[2])
		if before, dup := seen[nonce(c)]; dup {
			t.Errorf("%v and %s have the same nonce", what, before)
		}
		seen[nonce(c)] = fmt.Sprint(what)
		r := m.Write("decrypt/k", in{"ciphertext": c, "context": b64(what[1]), "associated_data": b64(what[2])})
		if got := text(t, r, "plaintext"); got != b64(what[0]) {
			t.Errorf("decrypted to %s", got)
		}
	}
	m.Write("keys/k/rotate", nil)
	if c := seal("x", "a", ""); !strings.HasPrefix(c, "vault:v2:") {
		t.Error(c)
	}
}

func TestTextsThatAreNone(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	for _, c := range []string{"", "vault:", "vault:v", "vault:v:AAAA", "vault:v0:AAAA", "vault:v1", "vault:v1:", "vault:v1:*", "vault:vx:AAAA", "Vault:v1:AAAA", "vault:v99999999999999999999:AAAA", "vault:v-1:AAAA", "vault:v+1:AAAA"} {
		m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": c})
	}
}

func TestBatches(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	good, bad := in{"plaintext": b64("x"), "reference": "a\"b"}, in{"plaintext": "***", "reference": "r2"}
	for _, tt := range []struct {
		name    string
		items   []in
		partial int
		want    int
	}{
		{name: "all good", items: []in{good, good}},
		{name: "one bad", items: []in{good, bad}, want: 400},
		{name: "one bad, with a status", items: []in{bad, good}, partial: 202, want: 202},
		{name: "all bad", items: []in{bad, bad}, partial: 202, want: 400},
		{name: "all good, with a status", items: []in{good}, partial: 202},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := m.Write("encrypt/k", in{"batch_input": tt.items, "partial_failure_response_code": tt.partial})
			if r.Status != tt.want {
				t.Errorf("status %d, want %d", r.Status, tt.want)
			}
			var answer struct {
				Results []struct{ Ciphertext, Error, Reference string } `json:"batch_results"`
			}
			if err := json.Unmarshal(r.Data, &answer); err != nil {
				t.Fatalf("%s: %v", r.Data, err)
			}
			for i, got := range answer.Results {
				ok := tt.items[i]["plaintext"] != "***"
				if (got.Ciphertext != "") != ok || (got.Error == "") != ok || got.Reference != tt.items[i]["reference"] {
					t.Errorf("item %d: %+v", i, got)
				}
			}
		})
	}
	for _, body := range []any{
		`{"batch_input":[]}`, `{"batch_input":{}}`, `{"batch_input":"x"}`, `{"batch_input":7}`,
		`{"batch_input":[{"plaintext":""}],"partial_failure_response_code":99}`, `{"batch_input":[{"plaintext":""}],"partial_failure_response_code":204}`,
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "encrypt/k", body)
	}
	// Items that are no objects fail alone, and escaped slashes are slashes.
	r := m.Write("encrypt/k", `{"batch_input":[7,{"plaintext":{}},{"plaintext":"\/\/8="},{"plaintext":null}]}`)
	var answer struct {
		Results []struct{ Ciphertext, Error string } `json:"batch_results"`
	}
	if err := json.Unmarshal(r.Data, &answer); err != nil {
		t.Fatal(err)
	}
	var ok []bool
	for _, got := range answer.Results {
		ok = append(ok, got.Error == "")
	}
	if diff := cmp.Diff([]bool{false, false, true, false}, ok); diff != "" {
		t.Fatal(diff)
	}
	if got := text(t, m.Write("decrypt/k", in{"ciphertext": answer.Results[2].Ciphertext}), "plaintext"); got != "//8=" {
		t.Errorf("decrypted to %s", got)
	}
}

func TestDataKeys(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	for bits, size := range map[int]int{128: 16, 256: 32, 512: 64} {
		r := m.Write("datakey/plaintext/k", in{"bits": bits, "associated_data": b64("ad")})
		raw, err := base64.StdEncoding.DecodeString(text(t, r, "plaintext"))
		if err != nil || len(raw) != size {
			t.Errorf("%d bits: %d bytes, %v", bits, len(raw), err)
		}
		if got := text(t, m.Write("decrypt/k", in{"ciphertext": text(t, r, "ciphertext"), "associated_data": b64("ad")}), "plaintext"); got != text(t, r, "plaintext") {
			t.Error("the ciphertext is of another key")
		}
	}
	if _, shown := m.Write("datakey/wrapped/k", nil).Map(t)["plaintext"]; shown {
		t.Error("a wrapped data key is shown")
	}
}

func TestFailedEncryptionMakesNoKey(t *testing.T) {
	m := mounted(t)
	for _, body := range []any{
		in{}, in{"plaintext": "***"}, in{"plaintext": b64("x"), "nonce": "AA=="}, in{"plaintext": b64("x"), "key_version": 2}, in{"plaintext": b64("x"), "associated_data": "*"},
		`{"batch_input":[]}`, `{"batch_input":7}`, in{"plaintext": b64("x"), "convergent_encryption": true},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "encrypt/new", body)
	}
	if r := m.Write("encrypt/new", in{"batch_input": []in{{"plaintext": "***"}, {}}}); r.Status != 400 {
		t.Errorf("status %d", r.Status)
	}
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows after encryptions that failed", n)
	}
	m.Write("encrypt/new", in{"batch_input": []in{{"plaintext": "***"}, {"plaintext": b64("x")}}})
	m.Read("keys/new")
}

// TestUpsertsAtOnceMakeOneKey encrypts for a new key from many places: all of it
// opens.
func TestUpsertsAtOnceMakeOneKey(t *testing.T) {
	m := mounted(t)
	sealed := make(chan string, 20)
	var wg sync.WaitGroup
	for range cap(sealed) {
		wg.Go(func() {
			r := m.Call(route.VerbWrite, "encrypt/new", in{"plaintext": b64("x")})
			if r.Err != nil {
				t.Error(r.Err)
				return
			}
			var a struct{ Ciphertext string }
			if err := json.Unmarshal(r.Data, &a); err != nil {
				t.Error(err)
			}
			sealed <- a.Ciphertext
		})
	}
	wg.Wait()
	close(sealed)
	for c := range sealed {
		if got := text(t, m.Write("decrypt/new", in{"ciphertext": c}), "plaintext"); got != b64("x") {
			t.Errorf("decrypted to %s", got)
		}
	}
}
