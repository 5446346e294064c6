package postgres_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/database/postgres"
)

// The exchange in RFC 7677, section 3, checks both halves of a verifier: the
// client's proof against the stored key, and the server's signature with the
// server key.
func TestSCRAMVerifierOfRFC7677(t *testing.T) {
	salt := decode(t, "W22ZaJ0SNY7soEsUEjb6gQ==")
	const authMessage = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	verifier, err := postgres.SCRAMVerifier("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	keys, ok := strings.CutPrefix(verifier, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
	if !ok {
		t.Fatalf("verifier %q", verifier)
	}
	stored, server, _ := strings.Cut(keys, ":")
	if got := sign(decode(t, server), authMessage); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature %s", got)
	}
	proof := decode(t, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	signature := decode(t, sign(decode(t, stored), authMessage))
	for i := range proof {
		proof[i] ^= signature[i] // now the client key
	}
	if sum := sha256.Sum256(proof); base64.StdEncoding.EncodeToString(sum[:]) != stored {
		t.Error("the stored key does not fit the client's proof")
	}
}

func sign(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
