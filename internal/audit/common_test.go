package audit_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/audit"
)

// What is encoded once must not differ from what is encoded twice, on any of
// several devices, and nothing of it must stay behind.
func TestCommonPartIsTheSame(t *testing.T) {
	var common audit.Common
	devices := []*audit.TestEncoder{
		audit.NewTestEncoder(testSalt, nil),
		audit.NewTestEncoder(testSalt, map[string]string{"log_raw": "true"}),
		audit.NewTestEncoder([]byte("another salt, of 32 bytes......."), map[string]string{"hmac_accessor": "false"}),
	}
	for _, token := range []string{"cfs." + canary, "cfs.short", "cfs.another-one-that-is-longer-" + canary} {
		request, response := sampleRead()
		auth := *request.Auth
		auth.Token, request.Request.ClientToken = token, token
		request.Auth, response.Auth, response.Request = &auth, &auth, request.Request
		for _, record := range []*audit.Record{request, response} {
			for i, d := range devices {
				want := bytes.Clone(d.Line(record))
				shared := *record
				shared.Common = &common
				if diff := cmp.Diff(string(want), string(d.Line(&shared))); diff != "" {
					t.Errorf("device %d, %s (-want +got):\n%s", i, record.Type, diff)
				}
			}
		}
		common.Reset()
		if bytes.Contains(audit.Remains(&common), []byte(token)) {
			t.Errorf("a token stays in memory")
		}
	}
}
