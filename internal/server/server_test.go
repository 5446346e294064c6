package server_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestSecretGoesInAndComesOut(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	s.Must(http.StatusOK, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{"password": "canary-7"}})
	a := s.Must(http.StatusOK, http.MethodGet, "secret/data/app", nil)
	if got := a.Data()["data"].(map[string]any)["password"]; got != "canary-7" {
		t.Fatalf("read %v", got)
	}
	s.Policy("reader", `path "secret/data/app" { capabilities = ["read"] }`)
	tok := s.Token("reader")
	s.MustAs(tok, http.StatusOK, http.MethodGet, "secret/data/app", nil)
	s.MustAs(tok, http.StatusForbidden, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{}})
	log, err := os.ReadFile(s.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), `"path":"secret/data/app"`); n != 7 { // two for each answer, one for the denial
		t.Errorf("the audit log has %d entries of the path, want 7:\n%s", n, log)
	}
	if strings.Contains(string(log), "canary-7") || strings.Contains(string(log), tok) {
		t.Error("the audit log shows a secret in clear")
	}
}
