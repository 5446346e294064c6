package quota_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestARateLimitIsReadAsItWasWritten(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       map[string]any
	}{
		{"all defaults", `{"rate":1}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "", "role": "", "rate": 1.0, "interval": 1.0, "block_interval": 0.0, "inheritable": true,
		}},
		{"of a mount", `{"rate":"1000.5","interval":"10s","block_interval":"1s","path":"kv","type":"rate-limit"}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "kv/", "role": "", "rate": 1000.5, "interval": 10.0, "block_interval": 1.0, "inheritable": false,
		}},
		{"of a path", `{"rate":1,"path":"/kv/data/a*"}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "kv/data/a*", "role": "", "rate": 1.0, "interval": 1.0, "block_interval": 0.0, "inheritable": false,
		}},
		{"of a whole mount by glob", `{"rate":1,"path":"kv/*"}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "kv/", "role": "", "rate": 1.0, "interval": 1.0, "block_interval": 0.0, "inheritable": false,
		}},
		{"of a role", `{"rate":1,"path":"auth/jwt","role":"ci","group_by":"none"}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "auth/jwt/", "role": "ci", "rate": 1.0, "interval": 1.0, "block_interval": 0.0, "inheritable": false, "group_by": "none",
		}},
		{"of a namespace", `{"rate":1,"path":"a","inheritable":true}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "a/", "role": "", "rate": 1.0, "interval": 1.0, "block_interval": 0.0, "inheritable": true,
		}},
		{"of a namespace's mount, by entity", `{"rate":4,"path":"a/kv","group_by":"entity_then_ip","secondary_rate":2}`, map[string]any{
			"name": "q", "type": "rate-limit", "path": "a/kv/", "role": "", "rate": 4.0, "interval": 1.0, "block_interval": 0.0, "inheritable": false,
			"group_by": "entity_then_ip", "secondary_rate": 2.0,
		}},
	} {
		f := setup(t)
		if r := f.Write("quotas/rate-limit/q", tc.body); !r.NoContent {
			t.Errorf("%s: the write has an answer, want 204", tc.name)
		}
		if diff := cmp.Diff(tc.want, f.Read("quotas/rate-limit/q").Map(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		f.Delete("quotas/rate-limit/q")
		f.Fails(fault.NotFound, route.VerbRead, "quotas/rate-limit/q", nil)
		f.Fails(fault.NotFound, route.VerbList, "quotas/rate-limit", nil)
		if f.noun.Rates() != nil {
			t.Errorf("%s: a limit is in force after its deletion", tc.name)
		}
	}
}

func TestWhatAQuotaCannotBe(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/have", `{"rate":1,"path":"kv"}`)
	f.Write("quotas/lease-count/have", `{"max_leases":1,"path":"db"}`)
	for path, bodies := range map[string][]string{
		"quotas/rate-limit/q": {
			`{}`, `{"rate":0}`, `{"rate":-1}`, `{"rate":"NaN"}`, `{"rate":"Inf"}`, `{"rate":1e300}`, `{"rate":1e-300}`, `{"rate":1,"interval":"1ms"}`,
			`{"rate":1,"interval":-1}`, `{"rate":1,"block_interval":-1}`, `{"rate":0.001,"interval":"36500d"}`,
			`{"rate":1,"group_by":"user"}`, `{"rate":1,"secondary_rate":1}`, `{"rate":1,"secondary_rate":-1,"group_by":"entity_then_ip"}`,
			`{"rate":1,"path":"nowhere"}`, `{"rate":1,"path":"kv/a*b"}`, `{"rate":1,"path":"kv/**"}`, `{"rate":1,"path":"kv/../db"}`, `{"rate":1,"path":"kv//x"}`,
			`{"rate":1,"path":"kv"}`, `{"rate":1,"path":"kv/x","inheritable":true}`, `{"rate":1,"type":"lease-count"}`,
			`{"rate":1,"role":"ci"}`, `{"rate":1,"role":"ci","path":"kv/x"}`, `{"rate":1,"role":"ci","path":"auth/userpass"}`, `{"rate":1,"role":"ci","path":"auth/jwt/login"}`,
		},
		"quotas/lease-count/q": {
			`{}`, `{"max_leases":0}`, `{"max_leases":-5}`, `{"max_leases":100000000}`, `{"max_leases":1,"path":"nowhere"}`, `{"max_leases":1,"path":"db"}`,
			`{"max_leases":1,"inheritable":true}`, `{"max_leases":1,"path":"auth/jwt","role":"ci"}`, `{"max_leases":1,"type":"rate-limit"}`,
		},
		"quotas/config": {`{"rate_limit_exempt_paths":"/"}`, `{"rate_limit_exempt_paths":["a",""]}`, `{"enable_rate_limit_audit_logging":"perhaps"}`},
	} {
		for _, body := range bodies {
			if r := f.Call(route.VerbWrite, path, body); fault.KindOf(r.Err) != fault.Invalid || r.Err == nil {
				t.Errorf("%s %s: got error %v, want an invalid request", path, body, r.Err)
			}
		}
	}
	err := f.Fails(fault.Invalid, route.VerbWrite, "quotas/rate-limit/q", `{"rate":1,"path":"kv/"}`)
	if got := fault.Message(err); !strings.Contains(got, `"have"`) {
		t.Errorf("got %q, want the name of the quota that is there", got)
	}
	if diff := cmp.Diff([]string{"have"}, names(t, f, "quotas/rate-limit")); diff != "" {
		t.Error("after the refusals (-want +got):\n" + diff)
	}
}

func names(t *testing.T, f fixture, path string) []string {
	t.Helper()
	var list []string
	keys, _ := f.List(path).Map(t)["keys"].([]any)
	for _, k := range keys {
		list = append(list, k.(string))
	}
	return list
}

func TestSettingsStayUnlessGiven(t *testing.T) {
	f := setup(t)
	want := map[string]any{
		"enable_rate_limit_response_headers": false, "enable_rate_limit_audit_logging": false,
		"rate_limit_exempt_paths": []any{
			"sys/generate-recovery-token/attempt", "sys/generate-recovery-token/update", "sys/generate-root/attempt", "sys/generate-root/update",
			"sys/health", "sys/seal-status", "sys/unseal",
		},
	}
	if diff := cmp.Diff(want, f.Read("quotas/config").Map(t)); diff != "" {
		t.Error("at first (-want +got):\n" + diff)
	}
	f.Write("quotas/config", `{"enable_rate_limit_audit_logging":true}`)
	want["enable_rate_limit_audit_logging"] = true
	if diff := cmp.Diff(want, f.Read("quotas/config").Map(t)); diff != "" {
		t.Error("after one was given (-want +got):\n" + diff)
	}
	f.Write("quotas/config", `{"rate_limit_exempt_paths":[],"absolute_rate_limit_exempt_paths":["/a/kv"]}`)
	want["rate_limit_exempt_paths"], want["absolute_rate_limit_exempt_paths"] = []any{}, []any{"a/kv"}
	if diff := cmp.Diff(want, f.Read("quotas/config").Map(t)); diff != "" {
		t.Error("without exempt paths (-want +got):\n" + diff)
	}
}

func TestEveryNodeAndEveryStartHasTheQuotas(t *testing.T) {
	f := setup(t)
	second := open(t, f.store, f.clock) // another node
	f.Write("quotas/rate-limit/q", `{"rate":2}`)
	f.Write("quotas/config", `{"enable_rate_limit_audit_logging":true}`)
	third := open(t, f.store, f.clock) // a restart
	for i, s := range []*quota.Store{second, third} {
		g := f
		g.noun = s
		if got := g.passes(t, 5, request{path: "kv/x"}); got != 2 {
			t.Errorf("store %d: %d requests pass, want 2", i, got)
		}
		if x, _ := g.send(request{path: "kv/x"}); !x.Audited() {
			t.Errorf("store %d has other settings", i)
		}
	}
	f.Delete("quotas/rate-limit/q")
	if second.Rates() != nil || third.Rates() != nil {
		t.Error("a deleted quota is in force elsewhere")
	}
}

func TestNamesBelongToTheNamespaceThatWroteThem(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":1,"path":"kv"}`)
	f.writeIn(t, tenant, "quotas/rate-limit/q", `{"rate":2,"path":"kv"}`)
	if got := f.Read("quotas/rate-limit/q").Map(t)["rate"]; got != 1.0 {
		t.Errorf("got rate %v, want that of the root namespace's quota", got)
	}
	f.Delete("quotas/rate-limit/q")
	if got := f.passes(t, 5, request{ns: tenant, path: "kv/x"}); got != 2 {
		t.Errorf("%d requests pass, want 2 as the tenant wrote", got)
	}
}

func TestQuotasGoWithTheirMountOrNamespace(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/kv", `{"rate":1,"path":"kv"}`)
	f.Write("quotas/rate-limit/db", `{"rate":1,"path":"db/creds/x"}`)
	f.Write("quotas/lease-count/db", `{"max_leases":1,"path":"db"}`)
	f.Write("quotas/rate-limit/tenant", `{"rate":1,"path":"a"}`)
	f.Write("quotas/rate-limit/all", `{"rate":1}`)
	f.writeIn(t, tenant, "quotas/rate-limit/own", `{"rate":1,"path":"kv"}`)
	for _, fn := range []func(store.Txn) error{
		func(tx store.Txn) error { return quota.ForgetMount(tx, 2) },
		func(tx store.Txn) error { return quota.ForgetNamespace(tx, tenant.ID) },
	} {
		if _, err := f.store.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"all", "kv"}, names(t, f, "quotas/rate-limit")); diff != "" {
		t.Error("rate limits (-want +got):\n" + diff)
	}
	f.Fails(fault.NotFound, route.VerbList, "quotas/lease-count", nil)
	if got := f.passes(t, 5, request{ns: tenant, path: "kv/x"}); got != 1 {
		t.Errorf("%d requests pass, want 1 by the quota for all", got)
	}
}
