package quota_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// coupons is an engine that grants leases, and counts them.
type coupons struct{ issued atomic.Int64 }

type noInput struct{}

func (e *coupons) issue(context.Context, *route.Call, noInput) (map[string]string, engine.Lease, error) {
	e.issued.Add(1)
	return map[string]string{"coupon": "x"}, engine.Lease{TTL: time.Hour}, nil
}

// badges is an auth method that lets everybody in by a role.
type badges struct{}

type badgeLogin struct {
	Role string `json:"role" doc:"Role to log in by."`
}

func (badges) login(_ context.Context, _ *route.Call, in badgeLogin) (authn.Identity, error) {
	return authn.Identity{Alias: in.Role, DisplayName: in.Role, Token: authn.TokenParams{TTL: time.Hour}}, nil
}

type site struct {
	*servertest.Server
	clock   *clock.Fake
	coupons *coupons
}

func start(t *testing.T) site {
	t.Helper()
	s := site{clock: clock.NewFake(time.Time{}), coupons: &coupons{}}
	s.Server = servertest.New(t, servertest.Options{
		Clock: s.clock,
		Engines: []engine.Type{{
			Name: "coupons", New: func(engine.Host) (any, error) { return s.coupons, nil },
			Routes: []route.Endpoint{engine.Issue(route.VerbRead, "creds/{name}", func(e *coupons, ctx context.Context, c *route.Call, in struct {
				Name string `path:"name" doc:"Anything."`
			}) (map[string]string, engine.Lease, error) {
				return e.issue(ctx, c, noInput{})
			})},
		}},
		Methods: []authn.Type{{
			Name: "badges", New: func(authn.Host) (any, error) { return badges{}, nil },
			Routes: []route.Endpoint{authn.Login("login", badges.login)},
		}},
	})
	s.Must(204, "POST", "sys/mounts/c", map[string]any{"type": "coupons"})
	s.Must(204, "POST", "sys/auth/b", map[string]any{"type": "badges"})
	s.Must(204, "POST", "sys/auth/userpass", map[string]any{"type": "userpass"})
	return s
}

// limit writes a rate limit called q.
func (s site) limit(body string) { s.Must(204, "POST", "sys/quotas/rate-limit/q", body) }

func TestTheServerAnswersAsRecorded(t *testing.T) {
	s := start(t)
	quotaPath := "sys/quotas/rate-limit/q"
	for _, step := range []struct {
		method, path, body string
		status             int
		want               string // in the body
	}{
		{"GET", "sys/quotas/config", "", 200, `"enable_rate_limit_response_headers":false`},
		{"LIST", "sys/quotas/rate-limit", "", 404, `{"errors":[]}`},
		{"POST", quotaPath, `{"rate":1000.5,"interval":"10s","block_interval":"1s","path":"k"}`, 400, `"errors":[`},
		{"POST", "sys/mounts/k", `{"type":"kv"}`, 204, ""},
		{"POST", quotaPath, `{"rate":1000.5,"interval":"10s","block_interval":"1s","path":"k"}`, 204, ""},
		{"GET", quotaPath, "", 200, `"data":{"block_interval":1,"inheritable":false,"interval":10,"name":"q","path":"k/","rate":1000.5,"role":"","type":"rate-limit"}`},
		{"LIST", "sys/quotas/rate-limit", "", 200, `"data":{"keys":["q"]}`},
		{"POST", "sys/quotas/rate-limit/q2", `{"rate":-1}`, 400, `"errors":[`},
		{"POST", "sys/quotas/rate-limit/q2", `{}`, 400, `"errors":[`},
		{"POST", quotaPath, `{"rate":2,"interval":"60s","path":"k"}`, 204, ""},
		{"GET", "k/x", "", 404, `{"errors":[]}`},
		{"GET", "k/x", "", 404, `{"errors":[]}`},
		{"GET", "k/x", "", 429, `{"errors":["request path \"k/x\": rate limit quota exceeded"]}`},
		{"DELETE", quotaPath, "", 204, ""},
		{"GET", quotaPath, "", 404, `{"errors":[]}`},
		{"GET", "k/x", "", 404, `{"errors":[]}`},
	} {
		a := s.Do(step.method, step.path, servertest.RootToken, step.body)
		if a.Status != step.status || !strings.Contains(string(a.Body), step.want) {
			t.Errorf("%s %s %s: got %s, want %d and %s", step.method, step.path, step.body, a, step.status, step.want)
		}
		for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Retry-After"} {
			if got := a.Header.Get(name); got != "" {
				t.Errorf("%s %s: header %s is %q, want none", step.method, step.path, name, got)
			}
		}
	}
}

// announce sends the head of a request whose body of 32 MB never comes, and
// returns the status of the answer.
func (s site) announce(t *testing.T, path, token string) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.Addr, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := "POST /v1/" + path + " HTTP/1.1\r\nHost: coffer\r\nContent-Type: application/json\r\nContent-Length: 33554432\r\n"
	if token != "" {
		head += "X-Vault-Token: " + token + "\r\n"
	}
	if _, err := fmt.Fprint(conn, head+"\r\n{\"data\":"); err != nil {
		t.Fatal(err)
	}
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("POST %s: no answer before the body was sent: %v", path, err)
	}
	return strings.TrimSpace(status)
}

func TestAFloodOfLargeBodiesIsRefusedUnread(t *testing.T) {
	s := start(t)
	for _, tc := range []struct{ scope, path, token string }{
		{"secret", "secret/data/x", servertest.RootToken},
		{"secret", "secret/data/x", ""},
		{"secret", "secret/data/x", "not-a-token"},
		{"auth/userpass", "auth/userpass/login/alice", ""},
		{"auth/userpass", "auth/userpass/users/alice", servertest.RootToken},
		{"auth/b", "auth/b/login", ""},
		{"auth/token", "auth/token/create", servertest.RootToken},
		{"sys/wrapping*", "sys/wrapping/unwrap", ""},
		{"sys/policies/acl/*", "sys/policies/acl/p", servertest.RootToken},
		{"secret", "secret/nothing/of/the/kind", servertest.RootToken},
		{"identity", "identity/entity", servertest.RootToken},
		{"cubbyhole", "cubbyhole/x", servertest.RootToken},
	} {
		s.limit(fmt.Sprintf(`{"rate":1,"path":%q}`, tc.scope))
		s.Do("GET", tc.path, tc.token, nil) // the one request of this second
		before := s.audited(t)
		for range 5 {
			if got := s.announce(t, tc.path, tc.token); !strings.Contains(got, " 429 ") {
				t.Errorf("POST %s with token %q: got %s, want 429", tc.path, tc.token, got)
			}
		}
		if n := s.audited(t) - before; n != 0 {
			t.Errorf("POST %s: the flood has left %d records", tc.path, n)
		}
		s.Must(204, "DELETE", "sys/quotas/rate-limit/q", nil)
	}
}

func TestLoginsByRoleAreRefusedUnreadBeyondAllRates(t *testing.T) {
	s := start(t)
	s.limit(`{"rate":1,"path":"auth/b"}`)
	s.Must(204, "POST", "sys/quotas/rate-limit/ci", `{"rate":2,"path":"auth/b","role":"ci"}`)
	var got []int
	for _, role := range []string{"ci", "ci", "ci", "web"} {
		got = append(got, s.Do("POST", "auth/b/login", "", map[string]any{"role": role}).Status)
	}
	if diff := cmp.Diff([]int{200, 200, 429, 429}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	if got := s.announce(t, "auth/b/login", ""); !strings.Contains(got, " 429 ") {
		t.Errorf("beyond all rates: got %s, want 429", got)
	}
	a := s.Do("POST", "sys/quotas/rate-limit/u", servertest.RootToken, `{"rate":1,"path":"auth/userpass","role":"x"}`)
	if a.Status != http.StatusBadRequest {
		t.Errorf("a role of a method without roles: got %s, want 400", a)
	}
}

// audited counts the records of the audit log.
func (s site) audited(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(s.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), `"type":"re`)
}

func TestRefusalsAreAuditedOnlyIfAsked(t *testing.T) {
	s := start(t)
	for on, want := range map[bool]int{false: 0, true: 3} {
		s.Must(204, "POST", "sys/quotas/config", map[string]any{"enable_rate_limit_audit_logging": on})
		s.limit(`{"rate":1,"path":"secret","interval":3600}`)
		s.Do("GET", "secret/data/x", servertest.RootToken, nil)
		before := s.audited(t)
		for range 3 {
			s.MustAs(servertest.RootToken, 429, "GET", "secret/data/x", nil)
		}
		if n := s.audited(t) - before; n != want {
			t.Errorf("with audit logging %v: %d records, want %d", on, n, want)
		}
		s.Must(204, "DELETE", "sys/quotas/rate-limit/q", nil)
	}
}

func TestAnswersTellWhatIsLeftIfAsked(t *testing.T) {
	s := start(t)
	s.Must(204, "POST", "sys/quotas/config", map[string]any{"enable_rate_limit_response_headers": true})
	s.limit(`{"rate":2,"path":"secret","interval":10}`)
	type left struct{ Limit, Remaining, Reset, Retry string }
	var got []left
	for range 3 {
		h := s.Do("GET", "secret/data/x", servertest.RootToken, nil).Header
		got = append(got, left{h.Get("X-Ratelimit-Limit"), h.Get("X-Ratelimit-Remaining"), h.Get("X-Ratelimit-Reset"), h.Get("Retry-After")})
	}
	want := []left{{"2", "1", "5", ""}, {"2", "0", "10", ""}, {"2", "0", "10", "5"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestBadTokensAreStrangers(t *testing.T) {
	s := start(t)
	s.limit(`{"rate":2,"path":"secret","group_by":"entity_then_ip"}`)
	var got []int
	for range 4 {
		got = append(got, s.Do("GET", "secret/data/x", "s.guess", nil).Status)
	}
	if diff := cmp.Diff([]int{403, 403, 429, 429}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestTokensOfAnEntityAreOneClient(t *testing.T) {
	s := start(t)
	login := func(role string) string {
		a := s.MustAs("", 200, "POST", "auth/b/login", map[string]any{"role": role})
		token, _ := a.JSON()["auth"].(map[string]any)["client_token"].(string)
		return token
	}
	first, second, other := login("alice"), login("alice"), login("bob")
	s.limit(`{"rate":2,"path":"cubbyhole","group_by":"entity_then_ip"}`)
	var got []int
	for _, token := range []string{first, second, first, second, other, other, other} {
		got = append(got, s.Do("GET", "cubbyhole/x", token, nil).Status)
	}
	if diff := cmp.Diff([]int{404, 404, 429, 429, 404, 404, 429}, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestARefusalDoesNotUseATokenUp(t *testing.T) {
	s := start(t)
	s.Policy("reader", `path "secret/*" { capabilities = ["read"] }`)
	a := s.Must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"reader"}, "num_uses": 2, "ttl": "1h"})
	token := a.JSON()["auth"].(map[string]any)["client_token"].(string)
	for _, group := range []string{"ip", "entity_then_none"} {
		s.limit(`{"rate":1,"path":"secret","interval":1,"group_by":"` + group + `"}`)
		s.Do("GET", "secret/data/x", "", nil)
		s.MustAs(token, 429, "GET", "secret/data/x", nil)
	}
	s.Must(204, "DELETE", "sys/quotas/rate-limit/q", nil)
	s.MustAs(token, 404, "GET", "secret/data/x", nil)
	s.MustAs(token, 404, "GET", "secret/data/x", nil)
	s.MustAs(token, 403, "GET", "secret/data/x", nil)
}

func TestHealthAndSealStatusAreNeverRefused(t *testing.T) {
	s := start(t)
	s.limit(`{"rate":1,"interval":3600,"group_by":"none"}`)
	s.Do("GET", "secret/data/x", "", nil)
	s.MustAs("", 429, "GET", "secret/data/x", nil)
	for range 3 {
		s.MustAs("", 200, "GET", "sys/health", nil)
		s.MustAs("", 200, "GET", "sys/seal-status", nil)
	}
}

func TestAQuotaFollowsItsMount(t *testing.T) {
	s := start(t)
	s.Must(204, "POST", "sys/mounts/k", map[string]any{"type": "kv"})
	s.limit(`{"rate":1,"interval":3600,"path":"k/team/*"}`)
	s.Must(200, "POST", "sys/remount", map[string]any{"from": "k", "to": "moved/k"})
	if got := s.Must(200, "GET", "sys/quotas/rate-limit/q", nil).Data()["path"]; got != "moved/k/team/*" {
		t.Errorf("after the move the path is %v", got)
	}
	s.Must(404, "GET", "moved/k/team/x", nil)
	s.Must(429, "GET", "moved/k/team/y", nil)
	s.Must(404, "GET", "moved/k/other", nil)
	s.Must(204, "DELETE", "sys/mounts/moved/k", nil)
	s.Must(404, "GET", "sys/quotas/rate-limit/q", nil)
}

func TestNothingIsGrantedBeyondALeaseCountQuota(t *testing.T) {
	s := start(t)
	s.Must(204, "POST", "sys/quotas/lease-count/c", map[string]any{"path": "c", "max_leases": 3})
	s.Must(204, "POST", "sys/quotas/lease-count/b", map[string]any{"path": "auth/b", "max_leases": 2})
	s.Must(204, "POST", "sys/quotas/lease-count/t", map[string]any{"path": "auth/token", "max_leases": 1})
	var first string
	for i := range 3 {
		a := s.Must(200, "GET", "c/creds/x", nil)
		if i == 0 {
			first, _ = a.JSON()["lease_id"].(string)
		}
	}
	a := s.Must(429, "GET", "c/creds/x", nil)
	if want := `{"errors":["request path \"c/creds/x\": lease count quota exceeded"]}`; strings.TrimSpace(string(a.Body)) != want {
		t.Errorf("got %s, want %s", a, want)
	}
	if got := s.coupons.issued.Load(); got != 3 {
		t.Errorf("the engine was asked %d times, want 3: a refusal comes before it", got)
	}
	s.Must(204, "POST", "sys/leases/revoke", map[string]any{"lease_id": first, "sync": true})
	s.Must(200, "GET", "c/creds/x", nil)
	s.Must(429, "GET", "c/creds/x", nil)
	if got := s.Must(200, "GET", "sys/quotas/lease-count/c", nil).Data()["counter"]; got != 3.0 {
		t.Errorf("the counter is %v, want 3", got)
	}

	for _, want := range []int{200, 200, 429} {
		s.MustAs("", want, "POST", "auth/b/login", map[string]any{"role": "r"})
	}
	for _, want := range []int{200, 429} {
		s.Must(want, "POST", "auth/token/create", map[string]any{"ttl": "1h", "policies": "default"})
	}
}

func TestAFloodFromManyConnections(t *testing.T) {
	s := start(t)
	s.limit(`{"rate":40,"interval":3600,"path":"secret"}`)
	s.Must(204, "POST", "sys/quotas/lease-count/c", map[string]any{"path": "c", "max_leases": 20})
	var passed, granted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if s.Do("GET", "secret/data/x", servertest.RootToken, nil).Status == http.StatusNotFound {
					passed.Add(1)
				}
				if s.Do("GET", "c/creds/x", servertest.RootToken, nil).Status == http.StatusOK {
					granted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 40 || granted.Load() != 20 {
		t.Errorf("%d requests pass and %d leases are granted, want 40 and 20", passed.Load(), granted.Load())
	}
}
