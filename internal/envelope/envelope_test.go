package envelope_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/envelope"
	"github.com/cofferhq/coffer/internal/route"
)

func TestAppend(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	const tail = `,"wrap_info":null,"warnings":null,"auth":null}`
	for _, tt := range []struct {
		name     string
		reply    route.Reply
		warnings []string
		flat     bool
		want     string
	}{
		{"nothing", route.Reply{}, nil, false, `{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":null` + tail},
		{"data", route.Reply{Data: []byte(`{"a":1}`)}, nil, false, `{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":{"a":1}` + tail},
		{"flat data", route.Reply{Data: []byte(`{"a":1,"b":[2]}`)}, nil, true,
			`{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":{"a":1,"b":[2]},"wrap_info":null,"warnings":null,"auth":null,"a":1,"b":[2]}`},
		{"flat, empty data", route.Reply{Data: []byte(`{}`)}, nil, true, `{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":{}` + tail},
		{"flat, a list", route.Reply{Data: []byte(`[1,2]`)}, nil, true, `{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":[1,2]` + tail},
		{"a lease", route.Reply{Lease: &route.LeaseInfo{ID: "db/creds/x/1", Duration: 90*time.Second + 900*time.Millisecond, Renewable: true}}, []string{"careful", "two\n"}, false,
			`{"request_id":"r\"1","lease_id":"db/creds/x/1","renewable":true,"lease_duration":90,"data":null,"wrap_info":null,"warnings":["careful","two\n"],"auth":null}`},
		{"wrapped", route.Reply{Wrap: &route.WrapInfo{Token: "t", Accessor: "a", TTL: time.Minute, CreationTime: created, CreationPath: "p", WrappedAccessor: "w"}}, nil, false,
			`{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":{"token":"t","accessor":"a","ttl":60,"creation_time":"2026-01-02T02:04:05.0000006Z","creation_path":"p","wrapped_accessor":"w"},"warnings":null,"auth":null}`},
		{"a token", route.Reply{Auth: &route.Auth{ClientToken: "t", Accessor: "a", Policies: []string{"default", "x"}, TokenPolicies: []string{"default"}, IdentityPolicies: []string{"x"},
			Metadata: map[string]string{"b": "2", "a": "1"}, LeaseDuration: time.Hour, Renewable: true, EntityID: "e", TokenType: "service", Orphan: true, NumUses: 3}}, nil, false,
			`{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"t","accessor":"a","policies":["default","x"],"token_policies":["default"],"identity_policies":["x"],"metadata":{"a":"1","b":"2"},"lease_duration":3600,"renewable":true,"entity_id":"e","token_type":"service","orphan":true,"mfa_requirement":null,"num_uses":3}}`},
		{"a bare token", route.Reply{Auth: &route.Auth{}}, nil, false,
			`{"request_id":"r\"1","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":null,"auth":{"client_token":"","accessor":"","policies":[],"token_policies":[],"metadata":null,"lease_duration":0,"renewable":false,"entity_id":"","token_type":"","orphan":false,"mfa_requirement":null,"num_uses":0}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := string(envelope.Append([]byte("before "), `r"1`, &tt.reply, tt.warnings, tt.flat))
			if diff := cmp.Diff("before "+tt.want, got); diff != "" {
				t.Error(diff)
			}
			if !json.Valid([]byte(got[len("before "):])) {
				t.Error("no valid JSON")
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{"": `{"errors":[]}`, "no \"x\"\n": `{"errors":["no \"x\"\n"]}`} {
		if got := string(envelope.Errors(nil, text)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	reply := &route.Reply{Data: []byte(`{"data":{"username":"app","password":"correct horse battery staple"},"metadata":{"created_time":"2026-01-02T03:04:05Z","version":3}}`)}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = envelope.Append(buf[:0], "30313233-3435-4637-b839-616263646566", reply, nil, false)
	}
}
