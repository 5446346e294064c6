package config_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/config"
)

func TestReloadable(t *testing.T) {
	src, err := os.ReadFile("testdata/full.hcl")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		replace              []string
		changed, needRestart []string
	}{
		"nothing":                     {nil, nil, nil},
		"blocks that moved":           {[]string{"# Every block", "\n\n\n# Every block"}, nil, nil},
		"the log level":               {[]string{`"WARNING"`, `"debug"`}, []string{"log_level"}, nil},
		"a certificate":               {[]string{"/tls/server.crt", "/tls/next.crt"}, []string{"listener certificates"}, nil},
		"a limit and a header":        {[]string{"64MiB", "1MiB", "DENY", "SAMEORIGIN"}, nil, []string{"custom_response_headers", "listener limits"}},
		"an audit file":               {[]string{"/var/log/coffer.log", "/log/coffer.log"}, nil, []string{"audit"}},
		"a lockout":                   {[]string{`"25"`, `"26"`}, nil, []string{"user_lockout"}},
		"the address of a listener":   {[]string{"10.0.0.1:8200", "10.0.0.9:8200"}, nil, []string{"listener"}},
		"the TLS version":             {[]string{"tls13", "tls12"}, nil, []string{"listener"}},
		"the storage, node and names": {[]string{"/var/lib/coffer", "/data", "coffer.internal:8200", "other:8200"}, nil, []string{"api_addr", "storage"}},
		"a seal":                      {[]string{"s.secret", "s.other"}, nil, []string{"seal"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			next, err := config.Parse("next", []byte(strings.NewReplacer(test.replace...).Replace(string(src))))
			if err != nil {
				t.Fatal(err)
			}
			changed, needRestart := config.Reloadable(parseFile(t, "testdata/full.hcl"), next)
			if diff := cmp.Diff(test.changed, changed); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.needRestart, needRestart); diff != "" {
				t.Errorf("need a restart (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSanitizedShowsNoSecrets(t *testing.T) {
	state, err := json.MarshalIndent(parseFile(t, "testdata/full.hcl").Sanitized(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"s.secret", "/tls/", "/var/lib", "/var/log"} {
		if strings.Contains(string(state), hidden) {
			t.Errorf("%q is shown:\n%s", hidden, state)
		}
	}
	var got map[string]any
	if err := json.Unmarshal(state, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"default_lease_ttl": 3600.0, "max_lease_ttl": 2592000.0, "log_level": "warn", "enable_ui": true,
		"seals": []any{
			map[string]any{"type": "shamir", "disabled": false},
			map[string]any{"type": "transit", "disabled": true, "name": "old"},
		},
	}
	for name, value := range want {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSanitizedOfDevHasTheFieldsThatClientsRead(t *testing.T) {
	got := config.Dev(config.DevFlags{}).Sanitized()
	listeners := []any{map[string]any{"type": "tcp", "config": map[string]any{"address": "127.0.0.1:8200", "tls_disable": true}}}
	want := map[string]any{
		"listeners": listeners, "disable_cache": false, "default_lease_ttl": int64(0), "max_lease_ttl": int64(0),
		"api_addr": "http://127.0.0.1:8200", "cluster_name": "", "log_level": "info",
	}
	for name, value := range want {
		if diff := cmp.Diff(value, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
