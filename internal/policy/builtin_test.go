package policy_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/policy"
)

func TestDefaultPolicy(t *testing.T) {
	p, err := policy.Default().Render(func(name string) (string, bool) {
		return "7d2e3179-f69b-450c-7179-ac8ee8bd8ca9", name == "identity.entity.id"
	})
	if err != nil {
		t.Fatal(err)
	}
	acl, err := policy.Compile([]*policy.Policy{p}, noon)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		op   policy.Op
		path string
		want bool
	}{
		{policy.Read, "auth/token/lookup-self", true},
		{policy.Update, "auth/token/renew-self", true},
		{policy.Update, "auth/token/revoke-self", true},
		{policy.Update, "sys/capabilities-self", true},
		{policy.Read, "sys/internal/ui/resultant-acl", true},
		{policy.Read, "identity/entity/id/7d2e3179-f69b-450c-7179-ac8ee8bd8ca9", true},
		{policy.Read, "identity/entity/id/another", false},
		{policy.Update, "identity/entity/id/7d2e3179-f69b-450c-7179-ac8ee8bd8ca9", false},
		{policy.Update, "sys/leases/renew", true},
		{policy.Update, "sys/leases/lookup", true},
		{policy.Update, "sys/renew/a/b/c", true},
		{policy.List, "cubbyhole", true},
		{policy.Create, "cubbyhole/a", true},
		{policy.Update, "sys/wrapping/wrap", true},
		{policy.Update, "sys/wrapping/unwrap", true},
		{policy.Update, "sys/tools/random/32", true},
		{policy.Update, "sys/tools/hash/sha2-256", true},
		{policy.Update, "sys/control-group/request", true},
		{policy.Update, "identity/oidc/provider/default/authorize", true},
		{policy.Read, "sys/mounts", false},
		{policy.Update, "auth/token/create", false},
		{policy.Update, "sys/leases/revoke", false},
		{policy.Read, "secret/data/x", false},
	}
	for _, tt := range tests {
		if d := acl.Check(tt.op, tt.path, nil, 0); d.Allowed != tt.want || d.Sudo {
			t.Errorf("%v %s: %+v, want allowed %v without sudo", tt.op, tt.path, d, tt.want)
		}
	}
}

func TestResponseWrappingPolicy(t *testing.T) {
	acl, err := policy.Compile([]*policy.Policy{policy.ResponseWrapping()}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if !acl.Check(policy.Update, "sys/wrapping/unwrap", nil, 0).Allowed || !acl.Check(policy.Read, "cubbyhole/response", nil, 0).Allowed ||
		acl.Check(policy.Read, "auth/token/lookup-self", nil, 0).Allowed {
		t.Error("a wrapping token may unwrap and nothing else")
	}
}

// A million denied requests must leave no memory behind.
func TestDeniedRequestsLeaveNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a million checks")
	}
	acl := benchmarkACL(t)
	constrained := compile(t, `path "a/*" { capabilities = ["update"] denied_parameters = { "x" = ["secret*"] } }`)
	view := params{"x": strings.Repeat("secret", 10)}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	paths := make([]string, 1000)
	for i := range paths {
		paths[i] = "denied/" + strings.Repeat("x", i)
	}
	before := heap()
	for i := range 1_000_000 {
		if acl.Check(policy.Update, paths[i%len(paths)], nil, 0).Allowed {
			t.Fatal("a request without a rule was allowed")
		}
		if i%10 == 0 && constrained.Check(policy.Update, "a/b", view, 0).Allowed {
			t.Fatal("a denied parameter was allowed")
		}
	}
	if after := heap(); after > before+before/20 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
	runtime.KeepAlive(acl)
	runtime.KeepAlive(constrained)
}
