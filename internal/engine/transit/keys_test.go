package transit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

var allTypes = []string{
	"aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305", "ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521",
	"rsa-2048", "hmac", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "ml-kem-768", "ml-kem-1024",
}

// TestF11_OptionsThatDoNotFitATypeAreRefused goes through all types and options: a
// key either is made and works, or the options are refused and there is no key.
func TestF11_OptionsThatDoNotFitATypeAreRefused(t *testing.T) {
	derives := map[string]bool{"aes128-gcm96": true, "aes256-gcm96": true, "chacha20-poly1305": true, "xchacha20-poly1305": true, "ed25519": true}
	for _, typ := range allTypes {
		for _, derived := range []bool{false, true} {
			for _, convergent := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s derived=%t convergent=%t", typ, derived, convergent), func(t *testing.T) {
					m := mounted(t)
					body := in{"type": typ, "derived": derived, "convergent_encryption": convergent, "exportable": true, "allow_plaintext_backup": true}
					if typ == "hmac" {
						body["key_size"] = 32
					}
					ok := (!derived || derives[typ]) && (!convergent || derived && typ != "ed25519")
					r := m.Call(route.VerbWrite, "keys/k", body)
					if (r.Err == nil) != ok || r.Err != nil && fault.KindOf(r.Err) != fault.Invalid {
						t.Fatalf("got %v, want ok %t", r.Err, ok)
					}
					if !ok {
						m.Fails(fault.NotFound, route.VerbRead, "keys/k", nil)
						return
					}
					works(t, m, derived)
				})
			}
		}
	}
}

// works uses the key "k" for what its type says it does.
func works(t *testing.T, m *enginetest.Mount, derived bool) {
	t.Helper()
	shown := m.Read("keys/k").Map(t)
	body := in{"plaintext": b64("x"), "input": b64("x")}
	if derived {
		body["context"] = b64("c")
	}
	if shown["supports_encryption"] == true {
		body["ciphertext"] = text(t, m.Write("encrypt/k", body), "ciphertext")
		if got := text(t, m.Write("decrypt/k", body), "plaintext"); got != b64("x") {
			t.Errorf("decrypted to %s", got)
		}
	} else {
		m.Fails(fault.Invalid, route.VerbWrite, "encrypt/k", body)
		body["ciphertext"] = "vault:v1:" + strings.Repeat("A", 64)
		m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", body)
	}
	if shown["supports_signing"] == true {
		body["signature"] = text(t, m.Write("sign/k", body), "signature")
		if m.Write("verify/k", body).Map(t)["valid"] != true {
			t.Error("the signature is not valid")
		}
		body["input"] = b64("y")
		if m.Write("verify/k", body).Map(t)["valid"] != false {
			t.Error("the signature is valid for something else")
		}
	} else {
		m.Fails(fault.Invalid, route.VerbWrite, "sign/k", body)
	}
	delete(body, "signature")
	body["hmac"] = text(t, m.Write("hmac/k", body), "hmac")
	if m.Write("verify/k", body).Map(t)["valid"] != true {
		t.Error("the HMAC is not valid")
	}
	m.Write("keys/k/rotate", nil)
	m.Read("backup/k")
}

func TestKeySizeIsForHMACOnly(t *testing.T) {
	m := mounted(t)
	for _, body := range []in{
		{"type": "hmac"}, {"type": "hmac", "key_size": 31}, {"type": "hmac", "key_size": 513}, {"type": "aes256-gcm96", "key_size": 32},
		{"type": "ml-dsa"}, {"type": "ml-dsa", "parameter_set": "45"}, {"type": "aes256-gcm96", "parameter_set": "44"}, {"type": "aes256"},
		{"auto_rotate_period": "59m"},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "keys/k", body)
	}
	a := m.Write("keys/pq", in{"type": "ml-dsa", "parameter_set": "65"}).Map(t)
	if a["type"] != "ml-dsa" || a["parameter_set"] != "65" {
		t.Errorf("shown as %v %v", a["type"], a["parameter_set"])
	}
}

func TestNamesOfKeys(t *testing.T) {
	m := mounted(t)
	for _, name := range []string{"a b", "-a", "a-", strings.Repeat("a", 257)} {
		m.Fails(fault.Invalid, route.VerbWrite, "keys/"+name, nil)
	}
	m.Write("keys/A", nil)
	m.Fails(fault.NotFound, route.VerbRead, "keys/a", nil)
}

func TestMinimumVersions(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	v1 := encrypt(t, m, "k", "one")
	mac := text(t, m.Write("hmac/k", in{"input": b64("one")}), "hmac")
	m.Write("keys/k/rotate", nil)
	m.Write("keys/k/rotate", nil)
	for _, bad := range []in{
		{"min_decryption_version": 4}, {"min_encryption_version": 4}, {"min_decryption_version": -1}, {"min_encryption_version": -1},
		{"min_decryption_version": 3, "min_encryption_version": 2}, {"auto_rotate_period": "10m"},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "keys/k/config", bad)
	}
	m.Write("keys/k/config", in{"min_encryption_version": 2})
	m.Fails(fault.Invalid, route.VerbWrite, "encrypt/k", in{"plaintext": b64("x"), "key_version": 1})
	m.Write("encrypt/k", in{"plaintext": b64("x"), "key_version": 2})
	m.Write("decrypt/k", in{"ciphertext": v1})
	m.Write("keys/k/config", in{"min_decryption_version": 2})
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": v1})
	m.Fails(fault.Invalid, route.VerbWrite, "rewrap/k", in{"ciphertext": v1})
	m.Fails(fault.Invalid, route.VerbWrite, "verify/k", in{"input": b64("one"), "hmac": mac})
	m.Write("keys/k/config", in{"min_decryption_version": 1})
	m.Write("decrypt/k", in{"ciphertext": v1})

	m.Write("keys/k/config", in{"min_decryption_version": 2, "min_encryption_version": 3})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/trim", in{"min_available_version": 3})
	m.Write("keys/k/trim", in{"min_available_version": 2})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/k/config", in{"min_decryption_version": 1})
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": v1})
	if n := rows(t, m); n != 3 { // the key and two versions
		t.Errorf("%d rows after trimming, want 3", n)
	}
}

func TestRotationAndRewrapping(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	v1 := encrypt(t, m, "k", "one")
	m.Write("keys/k/rotate", nil)
	again := text(t, m.Write("rewrap/k", in{"ciphertext": v1}), "ciphertext")
	if !strings.HasPrefix(again, "vault:v2:") {
		t.Errorf("rewrapped to %s", again)
	}
	for _, c := range []string{v1, again} {
		if got := text(t, m.Write("decrypt/k", in{"ciphertext": c}), "plaintext"); got != b64("one") {
			t.Errorf("decrypted to %s", got)
		}
	}
	// A version's ciphertext under another version's number does not open.
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": strings.Replace(v1, "v1", "v2", 1)})
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": strings.Replace(v1, "v1", "v3", 1)})
}

func TestKeysRotateByThemselves(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"auto_rotate_period": "24h"})
	latest := func() any { return m.Read("keys/k").Map(t)["latest_version"] }
	m.Advance(23 * time.Hour)
	if latest() != 1.0 {
		t.Error("rotated early")
	}
	m.Advance(time.Hour)
	if latest() != 2.0 {
		t.Error("not rotated")
	}
	m.Advance(12 * time.Hour)
	m.Write("keys/k/rotate", nil) // begins the period anew
	m.Advance(12 * time.Hour)
	if latest() != 3.0 {
		t.Errorf("at version %v, want 3", latest())
	}
	m.Delete("keys/k/soft-delete")
	m.Advance(48 * time.Hour)
	if latest() != 3.0 {
		t.Error("a softly deleted key was rotated")
	}
	m.Write("keys/k/soft-delete-restore", nil)
	m.Advance(24 * time.Hour)
	if latest() != 4.0 {
		t.Errorf("a restored key is at version %v, want 4", latest())
	}
	m.Write("keys/k/config", in{"auto_rotate_period": 0, "deletion_allowed": true})
	m.Advance(48 * time.Hour)
	if latest() != 4.0 {
		t.Error("rotated after the period was taken away")
	}
	m.Write("keys/k/config", in{"auto_rotate_period": "1h"})
	m.Delete("keys/k")
	if timers := m.Timers(); len(timers) != 0 {
		t.Errorf("timers of no key: %v", timers)
	}
}

func TestSoftDeletion(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"exportable": true, "allow_plaintext_backup": true, "type": "rsa-2048"})
	c := encrypt(t, m, "k", "one")
	m.Delete("keys/k/soft-delete")
	for path, body := range map[string]in{
		"encrypt/k": {"plaintext": ""}, "decrypt/k": {"ciphertext": c}, "rewrap/k": {"ciphertext": c}, "sign/k": {"input": ""}, "hmac/k": {"input": ""},
		"verify/k": {"input": "", "hmac": "vault:v1:AAAA"}, "keys/k/rotate": nil, "datakey/plaintext/k": nil, "keys/k/csr": nil,
	} {
		m.Fails(fault.Invalid, route.VerbWrite, path, body)
	}
	for _, path := range []string{"export/encryption-key/k", "export/public-key/k", "byok-export/k/k"} {
		m.Fails(fault.Invalid, route.VerbRead, path, nil)
	}
	if a := m.Read("keys/k").Map(t); a["soft_deleted"] != true {
		t.Error("not shown as softly deleted")
	}
	m.Read("backup/k")
	if keys := m.List("keys").Map(t)["keys"]; !cmp.Equal(keys, []any{"k"}) {
		t.Errorf("listed %v", keys)
	}
	m.Write("keys/k/soft-delete-restore", nil)
	m.Write("decrypt/k", in{"ciphertext": c})
}

func TestDeletedKeysAreGone(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", nil)
	m.Write("keys/k/rotate", nil)
	c := encrypt(t, m, "k", "one")
	m.Fails(fault.Invalid, route.VerbDelete, "keys/k", nil)
	m.Write("keys/k/config", in{"deletion_allowed": true})
	m.Delete("keys/k")
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	m.Write("keys/k", nil)
	m.Write("keys/k/rotate", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/k", in{"ciphertext": c})
}

func TestRenamedKeys(t *testing.T) {
	m := mounted(t)
	m.Write("keys/old", in{"auto_rotate_period": "1h"})
	m.Write("keys/taken", nil)
	c := encrypt(t, m, "old", "one")
	m.Fails(fault.Invalid, route.VerbWrite, "keys/old/rename", in{"new_name": "taken"})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/old/rename", in{"new_name": "old"})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/old/rename", in{"new_name": "a b"})
	m.Fails(fault.Invalid, route.VerbWrite, "keys/none/rename", in{"new_name": "new"})
	m.Write("keys/old/rename", in{"new_name": "new"})
	if got := text(t, m.Write("decrypt/new", in{"ciphertext": c}), "plaintext"); got != b64("one") {
		t.Errorf("decrypted to %s", got)
	}
	m.Fails(fault.NotFound, route.VerbRead, "keys/old", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "decrypt/old", in{"ciphertext": c})
	m.Advance(time.Hour)
	if latest := m.Read("keys/new").Map(t)["latest_version"]; latest != 2.0 {
		t.Errorf("the renamed key is at version %v, want it rotated", latest)
	}
	m.Write("keys/old", nil) // the name is free
}

func TestCacheFollowsTheRows(t *testing.T) {
	m := mounted(t)
	m.Write("cache-config", in{"size": 10})
	for i := range 30 {
		name := fmt.Sprintf("k%d", i)
		m.Write("keys/"+name, nil)
		c := encrypt(t, m, name, name)
		m.Write("keys/"+name+"/rotate", nil)
		if c2 := encrypt(t, m, name, name); !strings.HasPrefix(c2, "vault:v2:") {
			t.Fatalf("after a rotation: %s", c2)
		}
		if got := text(t, m.Write("decrypt/"+name, in{"ciphertext": c}), "plaintext"); got != b64(name) {
			t.Fatalf("decrypted to %s", got)
		}
	}
}

func TestUpserts(t *testing.T) {
	m := mounted(t)
	m.Write("encrypt/a", in{"plaintext": b64("x"), "type": "xchacha20-poly1305"})
	if a := m.Read("keys/a").Map(t); a["type"] != "xchacha20-poly1305" || a["derived"] != false {
		t.Errorf("made %v", a)
	}
	m.Write("encrypt/b", in{"plaintext": b64("x"), "context": b64("c"), "convergent_encryption": true})
	if a := m.Read("keys/b").Map(t); a["derived"] != true || a["convergent_encryption"] != true {
		t.Errorf("made %v", a)
	}
	m.Write("encrypt/c", in{"batch_input": []in{{"plaintext": b64("x"), "context": b64("c")}}})
	if a := m.Read("keys/c").Map(t); a["derived"] != true {
		t.Errorf("made %v", a)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "encrypt/d", in{"plaintext": b64("x"), "type": "ed25519"})
	m.Write("config/keys", in{"disable_upsert": true})
	err := m.Fails(fault.Invalid, route.VerbWrite, "encrypt/e", in{"plaintext": b64("x")})
	if !strings.Contains(err.Error(), "encryption key not found") {
		t.Errorf("the text is %q", err)
	}
}

// rows counts the rows of the mount.
func rows(t *testing.T, m *enginetest.Mount) int {
	t.Helper()
	n := 0
	for range scan(t, m) {
		n++
	}
	return n
}

// TestF19_SettingsNeverShowSecrets reads everything that may be read of a key and
// looks for what may not.
func TestF19_SettingsNeverShowSecrets(t *testing.T) {
	m := mounted(t)
	for _, typ := range allTypes {
		m.Write("keys/"+typ, in{"type": typ, "exportable": true, "key_size": map[bool]int{true: 32}[typ == "hmac"]})
		kind := "encryption-key"
		if a := m.Read("keys/" + typ).Map(t); a["supports_signing"] == true {
			kind = "signing-key"
		} else if typ == "hmac" {
			kind = "hmac-key"
		}
		var export struct{ Keys map[string]string }
		if err := json.Unmarshal(m.Read("export/"+kind+"/"+typ).Data, &export); err != nil {
			t.Fatal(err)
		}
		secret := export.Keys["1"]
		if len(secret) < 20 {
			t.Fatalf("%s: exported %q", typ, secret)
		}
		encoded, _ := json.Marshal(secret)
		for _, path := range []string{"keys/" + typ, "keys", "config/keys", "cache-config"} {
			verb := route.VerbRead
			if path == "keys" {
				verb = route.VerbList
			}
			if r := m.Call(verb, path, nil); strings.Contains(string(r.Data), string(encoded[1:len(encoded)-1])) {
				t.Errorf("%s shows the key of type %s", path, typ)
			}
		}
	}
}
