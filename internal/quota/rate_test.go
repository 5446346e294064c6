package quota_test

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

func object(t *testing.T, body string) wire.Object {
	t.Helper()
	o, err := wire.ParseObject([]byte(body), wire.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestTheMostSpecificQuotaBinds(t *testing.T) {
	f := setup(t)
	for name, body := range map[string]string{
		"global": `{"rate":10}`,
		"ns":     `{"rate":9,"path":"a/"}`,
		"mount":  `{"rate":8,"path":"kv"}`,
		"glob":   `{"rate":7,"path":"kv/team/*"}`,
		"longer": `{"rate":6,"path":"kv/team/x*"}`,
		"path":   `{"rate":5,"path":"kv/team/x1"}`,
		"jwt":    `{"rate":4,"path":"auth/jwt/"}`,
		"role":   `{"rate":3,"path":"auth/jwt","role":"ci"}`,
	} {
		f.Write("quotas/rate-limit/"+name, body)
	}
	for _, tc := range []struct {
		name string
		req  request
		want int
	}{
		{"another mount has the global one", request{path: "db/creds/x"}, 10},
		{"no mount at all", request{path: "nothing/here"}, 10},
		{"a namespace", request{ns: tenant, path: "sys/mounts"}, 9},
		{"a mount of the namespace", request{ns: tenant, path: "kv/x"}, 9},
		{"a mount", request{path: "kv/other"}, 8},
		{"a glob", request{path: "kv/team/y"}, 7},
		{"the longer glob", request{path: "kv/team/x2"}, 6},
		{"a path", request{path: "kv/team/x1"}, 5},
		{"the path as a folder", request{path: "kv/team/x1/"}, 5},
		{"a login by another role", request{path: "auth/jwt/login", login: true, role: "web"}, 4},
		{"a login by the role", request{path: "auth/jwt/login", login: true, role: "ci"}, 3},
		{"another method", request{path: "auth/userpass/login/x", login: true}, 10},
	} {
		f.clock.Advance(time.Minute) // all buckets are full again
		if got := f.passes(t, 20, tc.req); got != tc.want {
			t.Errorf("%s: %d of 20 requests pass, want %d", tc.name, got, tc.want)
		}
	}
}

func TestATenantCannotLiftWhatIsAboveIt(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/tenant", `{"rate":5,"path":"a"}`)
	f.writeIn(t, tenant, "quotas/rate-limit/mine", `{"rate":1000,"path":"kv"}`)
	if got := f.passes(t, 20, request{ns: tenant, path: "kv/x"}); got != 5 {
		t.Errorf("%d requests pass, want the operator's 5", got)
	}
	f.writeIn(t, tenant, "quotas/rate-limit/mine", `{"rate":2,"path":"kv"}`)
	f.clock.Advance(time.Minute)
	if got := f.passes(t, 20, request{ns: tenant, path: "kv/x"}); got != 2 {
		t.Errorf("%d requests pass, want the tenant's own 2", got)
	}
	if got := f.passes(t, 20, request{path: "kv/x"}); got != 20 {
		t.Errorf("%d of 20 requests to another namespace's mount pass, want all", got)
	}
}

func TestOnlyInheritableQuotasReachNamespacesBelow(t *testing.T) {
	for body, want := range map[string]int{`{"rate":3}`: 3, `{"rate":3,"inheritable":false}`: 20} {
		f := setup(t)
		f.Write("quotas/rate-limit/global", body)
		if got := f.passes(t, 20, request{ns: tenant, path: "kv/x"}); got != want {
			t.Errorf("%s: %d of 20 requests pass, want %d", body, got, want)
		}
	}
}

func TestABucketFillsEvenly(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":4,"interval":"8s"}`)
	r := request{path: "kv/x"}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{
		{0, 4}, {0, 0}, {time.Second, 0}, {time.Second, 1}, {4 * time.Second, 2}, {time.Hour, 4},
		{-time.Hour, 0}, // the clock was set back: the bucket is empty, not blocked for an hour
		{2 * time.Second, 1},
	} {
		f.clock.Advance(step.wait)
		if got := f.passes(t, 10, r); got != step.want {
			t.Errorf("after another %v %d requests pass, want %d", step.wait, got, step.want)
		}
	}
}

func TestAFractionalRateIsOneBucketOfOne(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":0.5}`)
	r := request{path: "kv/x"}
	for _, want := range []int{1, 0, 1, 0, 1} {
		if got := f.passes(t, 3, r); got != want {
			t.Errorf("%d requests pass, want %d", got, want)
		}
		f.clock.Advance(time.Second)
	}
}

func TestABlockedClientStaysOut(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":1,"block_interval":60}`)
	r := request{path: "kv/x"}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{0, 1}, {30 * time.Second, 0}, {29 * time.Second, 0}, {time.Second, 1}, {time.Hour, 1}, {-time.Hour, 0}, {61 * time.Second, 1}} {
		f.clock.Advance(step.wait)
		n := 2
		if step.wait == 30*time.Second {
			n = 1
		}
		if got := f.passes(t, n, r); got != step.want {
			t.Errorf("after another %v %d requests pass, want %d", step.wait, got, step.want)
		}
	}
	if got := f.passes(t, 1, request{path: "kv/x", ip: "192.0.2.9"}); got != 1 {
		t.Error("another client is blocked too")
	}
}

func TestWhatAClientIs(t *testing.T) {
	at := func(ip string) request { return request{path: "kv/x", ip: ip} }
	holder := func(ip, entity string) request {
		return request{path: "kv/x", ip: ip, token: true, entity: entity}
	}
	for _, tc := range []struct {
		name, body string
		requests   []request
		want       []int // of three requests each
	}{
		{"addresses", `{"rate":2}`, []request{at("192.0.2.1"), at("192.0.2.2"), at("::ffff:192.0.2.2")}, []int{2, 2, 0}},
		{"a /64 is one client", `{"rate":2}`, []request{at("2001:db8::1"), at("2001:db8::2"), at("2001:db8:0:1::1")}, []int{2, 0, 2}},
		{"all are one", `{"rate":2,"group_by":"none"}`, []request{at("192.0.2.1"), at("192.0.2.2"), holder("192.0.2.3", "e")}, []int{2, 0, 0}},
		{"an address has one bucket, with a token or without", `{"rate":2}`, []request{at("192.0.2.1"), holder("192.0.2.1", "e")}, []int{2, 0}},
		{
			"entities, then addresses", `{"rate":2,"secondary_rate":1,"group_by":"entity_then_ip"}`,
			[]request{holder("192.0.2.1", "e"), holder("192.0.2.2", "e"), holder("192.0.2.1", "f"), holder("192.0.2.1", ""), at("192.0.2.1"), at("192.0.2.2")},
			[]int{2, 0, 2, 1, 0, 1},
		},
		{
			"entities, then all others", `{"rate":2,"group_by":"entity_then_none"}`,
			[]request{holder("192.0.2.1", "e"), at("192.0.2.1"), holder("192.0.2.2", "")}, []int{2, 2, 0},
		},
	} {
		f := setup(t)
		f.Write("quotas/rate-limit/q", tc.body)
		var got []int
		for _, r := range tc.requests {
			got = append(got, f.passes(t, 3, r))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestLoginsAreBoundBeforeTheirRoleIsKnown(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/jwt", `{"rate":2,"path":"auth/jwt"}`)
	f.Write("quotas/rate-limit/ci", `{"rate":5,"path":"auth/jwt","role":"ci"}`)
	read := 0
	for range 50 {
		x := f.noun.Rates().Check(f.call(request{path: "auth/jwt/login"}), true)
		if err := x.Arrive(true); err == nil {
			read++
		}
	}
	if read != 7 {
		t.Errorf("%d bodies are read, want no more than all quotas together let in: 7", read)
	}
	f.clock.Advance(time.Minute)
	if got := f.passes(t, 5, request{path: "auth/jwt/login", login: true, role: "ci"}); got != 5 {
		t.Errorf("%d logins within the role's rate pass, want all 5", got)
	}
	if got := f.passes(t, 2, request{path: "auth/jwt/login", login: true, role: "web"}); got != 2 {
		t.Errorf("%d logins within the mount's rate pass, want both", got)
	}
	if got := f.passes(t, 5, request{path: "auth/jwt/config"}); got != 0 {
		t.Errorf("%d requests that are no login pass, want 0: the mount's bucket is empty", got)
	}
}

func TestExemptPathsAreBoundByNothing(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":1,"interval":3600}`)
	f.passes(t, 1, request{path: "kv/x"})
	f.Write("quotas/config", `{"rate_limit_exempt_paths":["sys/health","kv/free/","db/a*"],"absolute_rate_limit_exempt_paths":"a/kv/y,kv/z"}`)
	for _, tc := range []struct {
		req  request
		want int
	}{
		{request{path: "sys/health"}, 2},
		{request{path: "sys/healthy"}, 0},
		{request{path: "kv/free"}, 2},
		{request{path: "kv/free/x/y"}, 2},
		{request{path: "kv/freedom"}, 0},
		{request{path: "db/ab/c"}, 2},
		{request{path: "db/b"}, 0},
		{request{path: "kv/z"}, 2},
		{request{path: "kv/y"}, 0},
		{request{ns: tenant, path: "kv/y"}, 2},
		{request{ns: tenant, path: "kv/z"}, 0},
		{request{ns: tenant, path: "kv/free"}, 2},
	} {
		if got := f.passes(t, 2, tc.req); got != tc.want {
			t.Errorf("%s%s: %d of 2 requests pass, want %d", tc.req.ns.Path, tc.req.path, got, tc.want)
		}
	}
}

func TestBucketsOutliveWhatDoesNotConcernThem(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":1,"interval":3600,"path":"kv"}`)
	r := request{path: "kv/x"}
	if got := f.passes(t, 2, r); got != 1 {
		t.Fatalf("%d requests pass, want 1", got)
	}
	f.Write("quotas/rate-limit/other", `{"rate":5,"path":"db"}`)
	f.Write("quotas/config", `{"enable_rate_limit_response_headers":true}`)
	f.Write("quotas/rate-limit/q", `{"rate":1,"interval":3600,"path":"kv"}`) // the same again
	if got := f.passes(t, 2, r); got != 0 {
		t.Errorf("%d requests pass after changes elsewhere, want 0", got)
	}
	f.Write("quotas/rate-limit/q", `{"rate":3,"interval":3600,"path":"kv"}`)
	if got := f.passes(t, 5, r); got != 3 {
		t.Errorf("%d requests pass after the rate has changed, want 3", got)
	}
}

func TestHeadersTellOnlyIfAsked(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":2,"interval":10}`)
	x, err := f.send(request{path: "kv/x"})
	if err != nil || x.Headers() != nil || x.Audited() {
		t.Errorf("got headers %v, audited %v, error %v; want nothing", x.Headers(), x.Audited(), err)
	}
	f.Write("quotas/config", `{"enable_rate_limit_response_headers":"true","enable_rate_limit_audit_logging":true}`)
	x, _ = f.send(request{path: "kv/x"})
	want := map[string]string{"X-Ratelimit-Limit": "2", "X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "10"}
	if diff := cmp.Diff(want, x.Headers()); diff != "" {
		t.Error("of a request that passes (-want +got):\n" + diff)
	}
	x, err = f.send(request{path: "kv/x"})
	want["Retry-After"] = "5"
	if diff := cmp.Diff(want, x.Headers()); diff != "" || !x.Audited() {
		t.Errorf("of one that does not (-want +got):\n%s audited %v", diff, x.Audited())
	}
	if got, want := fault.Message(err), `request path "kv/x": rate limit quota exceeded`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMemoryIsBoundedHoweverManyClients(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/q", `{"rate":1,"interval":60}`)
	flood := func(n int) (passed int) {
		for i := range n {
			c := f.call(request{path: "kv/x"})
			c.Remote = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			if f.noun.Rates().Check(c, false).Arrive(true) == nil {
				passed++
			}
		}
		return passed
	}
	const n = 200_000
	passed := flood(n)
	if got := f.noun.Clients(); got > maxClients || got < maxClients*9/10 {
		t.Errorf("%d buckets, want about %d and no more", got, maxClients)
	}
	if passed > maxClients+100 {
		t.Errorf("%d requests pass, want no more than there are buckets", passed)
	}
	f.clock.Advance(time.Hour)
	if passed := flood(1000); passed != 1000 {
		t.Errorf("%d of 1000 clients pass when the flood is over, want all", passed)
	}
	if got := f.noun.Clients(); got > maxClients {
		t.Errorf("%d buckets, want no more than %d", got, maxClients)
	}
}

func TestNoMoreThanTheRatePassAtOnce(t *testing.T) {
	f := setup(t)
	f.Write("quotas/rate-limit/all", `{"rate":100,"interval":3600,"group_by":"none"}`)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 50 {
				if _, err := f.send(request{path: "kv/x", ip: fmt.Sprintf("192.0.2.%d", i)}); err == nil {
					passed.Add(1)
				}
			}
		})
	}
	wg.Go(func() { // changes while requests run
		for range 20 {
			f.Write("quotas/rate-limit/other", `{"rate":5,"path":"db"}`)
			f.Delete("quotas/rate-limit/other")
		}
	})
	wg.Wait()
	if got := passed.Load(); got != 100 {
		t.Errorf("%d requests pass, want 100", got)
	}
}

func TestWithoutQuotasARequestCostsNothing(t *testing.T) {
	f := setup(t)
	c := f.call(request{path: "kv/x"})
	check := func() {
		x := f.noun.Rates().Check(c, false)
		if x.Arrive(true) != nil || x.Entity("") != nil || x.NeedsRole() || x.Headers() != nil {
			t.Error("a request is bound by nothing and does not pass")
		}
		release, err := f.noun.Reserve(t.Context(), c)
		if err != nil {
			t.Error(err)
		}
		release()
	}
	if n := testing.AllocsPerRun(100, check); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
