package transit_test

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/transit"
)

// FuzzText holds the splitter of ciphertexts to taking apart only what it could
// have put together.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"vault:v1:AAAA", "vault:v12:", "vault:v0:x", "vault:v", "vault:v01:x", "vault:v999999999:x", "x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, rest, err := transit.SplitText(text)
		if err != nil {
			return
		}
		if n < 1 || !bytes.HasSuffix(text, rest) {
			t.Fatalf("%q is version %d of %q", text, n, rest)
		}
		digits := text[len("vault:v") : len(text)-len(rest)-1]
		if got, err := strconv.Atoi(string(digits)); err != nil || got != n {
			t.Fatalf("%q is version %d", text, n)
		}
	})
}

// FuzzItem looks for elements of a batch that make the parser panic.
func FuzzItem(f *testing.F) {
	for _, seed := range []string{`{"plaintext":"AA==","reference":"r","key_version":1}`, `{"plaintext":{}}`, `[]`, `{"key_version":"x"}`, `{"reference":"\u0041\""}`, `{`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(_ *testing.T, element []byte) {
		_, _, _, _ = transit.ParseItem(element)
	})
}

// FuzzBackup looks for backups that make the parser panic, ours and those of
// others.
func FuzzBackup(f *testing.F) {
	f.Add(vaultBackup)
	for _, seed := range []string{
		`{"coffer_transit_backup":"1","name":"k","key":{"ID":"x","Type":"aes256-gcm96","Latest":1,"MinDecryption":1},"versions":{"1":{"Secret":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}}`,
		`{"coffer_transit_backup":"1","key":{"Type":"rsa-2048","Latest":1},"versions":{"1":{"Public":"AA=="}}}`,
		`{"policy":{"type":3,"latest_version":1},"archived_keys":{"keys":[{},{"rsa_key":{"N":15,"E":3,"D":3,"Primes":[3,5]}}]}}`,
		`{"policy":{"type":1,"latest_version":1},"archived_keys":{"keys":[{},{"ec_d":7}]}}`,
		`{"policy":{"type":2,"latest_version":1},"archived_keys":{"keys":[{},{"public_key":"x"}]}}`,
	} {
		f.Add(b64(seed))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := transit.ParseBackup(text); err == nil && n < 1 {
			t.Fatal("a backup without versions")
		}
	})
}
