package cli_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInit(t *testing.T) {
	fresh := `{"type":"shamir","initialized":false,"sealed":true,"t":0,"n":0,"progress":0,"nonce":"","version":"1.0.0","migration":false,"recovery_seal":false,"storage_type":"raft"}`
	keys := `{"keys":["aa","bb"],"keys_base64":["qg==","uw=="],"root_token":"hvs.root"}`
	sh := newShell(t, answers{
		"GET /v1/sys/seal-status": fresh,
		"GET /v1/sys/init":        `{"initialized":false}` + "\n---\n" + `{"initialized":true}`,
		"PUT /v1/sys/init":        keys,
	})
	sh.transcript(t, "init",
		"operator init -status", "operator init -status", "operator init -n 2 -t 2", "operator init -key-shares=2 -key-threshold=2 -format=json", "operator init", "operator init -pgp-keys=/no/such/file",
		"operator init -output-curl-string",
	)
	t.Run("with a seal that unseals by itself", func(t *testing.T) {
		sh := newShell(t, answers{
			"GET /v1/sys/seal-status": strings.Replace(fresh, `"recovery_seal":false`, `"recovery_seal":true`, 1),
			"PUT /v1/sys/init":        `{"keys":[],"keys_base64":[],"recovery_keys":["aa"],"recovery_keys_base64":["qg=="],"root_token":"hvs.root"}`,
		})
		sh.transcript(t, "init-recovery", "operator init -recovery-shares=1 -recovery-threshold=1", "operator init -recovery-shares=1 -recovery-threshold=1 -format=json")
	})
}

func TestInitSendsPGPKeys(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/sys/seal-status": `{"type":"shamir"}`,
		"PUT /v1/sys/init":        `{"keys":["aa"],"keys_base64":["qg=="],"root_token":"x"}`,
	})
	dir := t.TempDir()
	raw := []byte{0x99, 0x01, 0x0d, 0x04, 0x00}
	files := map[string][]byte{
		"binary": raw,
		"base64": []byte(base64.StdEncoding.EncodeToString(raw) + "\n"),
		"armor":  []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + base64.StdEncoding.EncodeToString(raw) + "\n-----END PGP PUBLIC KEY BLOCK-----\n"),
		"secret": []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nmQENBAA=\n-----END PGP PRIVATE KEY BLOCK-----\n"),
		"text":   []byte("not a key at all"),
		"empty":  nil,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"binary", "base64", "armor"} {
		file := filepath.Join(dir, name)
		got := sh.run("operator", "init", "-n=1", "-t=1", "-pgp-keys="+file, "-root-token-pgp-key", file)
		if got.code != 0 {
			t.Fatalf("%s: got %+v", name, got)
		}
		requests := sh.srv.requests()
		_, body, _ := strings.Cut(requests[len(requests)-1], "{")
		var sent struct {
			PGPKeys         []string `json:"pgp_keys"`
			RootTokenPGPKey string   `json:"root_token_pgp_key"`
		}
		if err := json.Unmarshal([]byte("{"+body), &sent); err != nil {
			t.Fatal(err)
		}
		want := base64.StdEncoding.EncodeToString(raw)
		if len(sent.PGPKeys) != 1 || sent.PGPKeys[0] != want || sent.RootTokenPGPKey != want {
			t.Errorf("%s: sent %+v, want %s", name, sent, want)
		}
	}
	for _, name := range []string{"secret", "text", "empty", "missing"} {
		if got := sh.run("operator", "init", "-pgp-keys="+filepath.Join(dir, name)); got.code != 1 || len(sh.srv.requests()) > 0 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestUnsealAndSeal(t *testing.T) {
	half := strings.NewReplacer(`"sealed":false`, `"sealed":true`, `"t":1,"n":1`, `"t":2,"n":3`, `"progress":0`, `"progress":1`).Replace(unsealed)
	sh := newShell(t, answers{
		"PUT /v1/sys/unseal":     half + "\n---\n" + unsealed + "\n---\n" + half + "\n---\n" + half + "\n---\n" + `400 {"errors":["'key' must be a valid hex or base64 string"]}`,
		"GET /v1/sys/leader":     `{"ha_enabled":false}`,
		"PUT /v1/sys/seal":       "",
		"PUT /v1/sys/step-down":  "",
		"PUT /v1/sys/rotate":     "",
		"GET /v1/sys/key-status": data(`{"term":2,"install_time":"2026-01-02T03:04:05Z","encryptions":12}`),
		"GET /v1/sys/ha-status":  data(`{"nodes":[{"hostname":"a","api_address":"https://a:8200","cluster_address":"https://a:8201","active_node":true,"last_echo":null,"version":"1.0.0"}]}`),
	})
	sh.stdin = "from-stdin\n"
	sh.transcript(t, "unseal",
		"operator unseal key1", "operator unseal", "operator unseal -reset", "operator unseal -migrate -format=json key2", "operator unseal bad", "operator unseal -non-interactive",
		"operator seal", "operator step-down", "operator rotate", "operator key-status -format=json", "operator members",
	)
}

func TestRekey(t *testing.T) {
	idle := `{"nonce":"","started":false,"t":0,"n":0,"progress":0,"required":1,"pgp_fingerprints":null,"backup":false,"verification_required":false}`
	running := `{"nonce":"n1","started":true,"t":2,"n":3,"progress":0,"required":2,"pgp_fingerprints":null,"backup":false,"verification_required":true}`
	sh := newShell(t, answers{
		"PUT /v1/sys/rekey/init":              running,
		"GET /v1/sys/rekey/init":              idle + "\n---\n" + idle + "\n---\n" + running,
		"DELETE /v1/sys/rekey/init":           "",
		"PUT /v1/sys/rekey/update":            strings.Replace(running, `"progress":0`, `"progress":1`, 1) + "\n---\n" + `{"nonce":"n1","complete":true,"keys":["aa","bb"],"keys_base64":["qg==","uw=="],"pgp_fingerprints":null,"backup":false,"verification_required":true,"verification_nonce":"v1"}` + "\n---\n" + `{"nonce":"n1","complete":true,"keys":["aa"],"keys_base64":["qg=="],"pgp_fingerprints":["f1"],"backup":true,"verification_required":false}`,
		"GET /v1/sys/rekey/verify":            `{"nonce":"v1","started":true,"t":2,"n":3,"progress":0}`,
		"PUT /v1/sys/rekey/verify":            `{"nonce":"v1","started":true,"t":2,"n":3,"progress":1}` + "\n---\n" + `{"nonce":"v1","complete":true}`,
		"DELETE /v1/sys/rekey/verify":         "",
		"GET /v1/sys/rekey/backup":            data(`{"nonce":"n1","keys":{"f1":["aa"]},"keys_base64":{"f1":["qg=="]}}`),
		"DELETE /v1/sys/rekey/backup":         "",
		"PUT /v1/sys/rekey-recovery-key/init": running,
	})
	sh.stdin = "share\n"
	sh.transcript(t, "rekey",
		"operator rekey", "operator rekey -status", "operator rekey -init -n 3 -t 2 -verify", "operator rekey -init -backup", "operator rekey -init -target=recovery -format=json", "operator rekey -target=x", "operator rekey -status",
		"operator rekey key1", "operator rekey -nonce=n1 key1", "operator rekey", "operator rekey -nonce=n1 key3", "operator rekey -nonce=n1 -format=json key3",
		"operator rekey -verify -status", "operator rekey -verify -nonce=v1 new1", "operator rekey -verify", "operator rekey -cancel", "operator rekey -cancel -verify -nonce=v1",
		"operator rekey -backup-retrieve", "operator rekey -backup-delete",
	)
}

func TestGenerateRoot(t *testing.T) {
	status := `{"nonce":"n1","started":%s,"progress":0,"required":2,"complete":false,"encoded_token":"","encoded_root_token":"","pgp_fingerprint":"","otp":"%s","otp_length":26}`
	idle, started := strings.NewReplacer("%s,", "false,", "%s", "").Replace(status), strings.NewReplacer("%s,", "true,", "%s", "").Replace(status)
	sh := newShell(t, answers{
		"GET /v1/sys/generate-root/attempt":    idle + "\n---\n" + idle + "\n---\n" + started,
		"PUT /v1/sys/generate-root/attempt":    strings.NewReplacer("%s,", "true,", "%s", "abcdefghijklmnopqrstuvwxyz").Replace(status),
		"DELETE /v1/sys/generate-root/attempt": "",
		"PUT /v1/sys/generate-root/update":     `{"nonce":"n1","started":true,"progress":2,"required":2,"complete":true,"encoded_token":"CRcQSg","encoded_root_token":"CRcQSg","pgp_fingerprint":"","otp":"","otp_length":0}`,
	})
	sh.stdin = "share\n"
	sh.transcript(t, "generate-root",
		"operator generate-root", "operator generate-root -status", "operator generate-root -init", "operator generate-root -init -otp=abcdefghijklmnopqrstuvwxyz", "operator generate-root key1", "operator generate-root -nonce=n1 key1", "operator generate-root",
		"operator generate-root -cancel", "operator generate-root -decode=CRcQSg -otp=abcd", "operator generate-root -decode=CRcQSg -otp=abcd -format=json", "operator generate-root -decode=CRcQSg -otp=abc", "operator generate-root -decode=CRcQSg", "operator generate-root -decode=%% -otp=a",
	)
	got := sh.run("operator", "generate-root", "-generate-otp")
	if otp := strings.TrimSpace(got.out); got.code != 0 || len(otp) != 26 {
		t.Errorf("generate-otp: got %+v", got)
	}
}

func TestRaft(t *testing.T) {
	autopilot := "sys/storage/raft/autopilot/"
	sh := newShell(t, answers{
		"GET /v1/sys/storage/raft/configuration": data(`{"config":{"index":7,"servers":[{"address":"a:8201","leader":true,"node_id":"a","protocol_version":"3","voter":true},{"address":"b:8201","leader":false,"node_id":"b","protocol_version":"3","voter":false}]}}`),
		"PUT /v1/sys/storage/raft/remove-peer":   "" + "\n---\n" + `403 {"errors":["permission denied"]}`,
		"PUT /v1/sys/storage/raft/promote":       "",
		"PUT /v1/sys/storage/raft/demote":        "",
		"GET /v1/" + autopilot + "state":         data(`{"healthy":true,"failure_tolerance":1,"leader":"a","voters":["a"]}`),
		"GET /v1/" + autopilot + "configuration": data(`{"cleanup_dead_servers":false,"min_quorum":0}`),
		"PUT /v1/" + autopilot + "configuration": "",
	})
	sh.transcript(t, "raft",
		"operator raft list-peers", "operator raft list-peers -format=json", "operator raft remove-peer b", "operator raft remove-peer b", "operator raft remove-peer",
		"operator raft promote b", "operator raft demote b", "operator raft autopilot state", "operator raft autopilot get-config -field=min_quorum",
		"operator raft autopilot set-config -cleanup-dead-servers=true -min-quorum=3 -dead-server-last-contact-threshold=10m", "operator raft autopilot set-config -disable-upgrade-migration=false -max-trailing-logs=0",
	)
}
