package httpd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// node is a sealed server whose endpoints tell what reached them.
type node struct {
	always *route.Table
	cors   httpd.CORS
	fails  error
	stream func(ctx context.Context, w io.Writer) error
}

func (n *node) Gate() *gate.Gate                           { return nil }
func (n *node) Always() *route.Table                       { return n.always }
func (n *node) CORS() httpd.CORS                           { return n.cors }
func (n *node) Observe(string, string, int, time.Duration) {}

type anything struct {
	Path string      `path:"path"`
	Body wire.Object `body:"*"`
}

// seen is what the echo endpoints answer.
type seen struct {
	Verb, Path, Remote string
	Port               int
	Query, Body        string
	Redact             route.Redact
}

func (n *node) echo(_ context.Context, c *route.Call, in anything) (route.Bytes, error) {
	s := seen{c.Verb.String(), in.Path, "", c.RemotePort, c.Query.Encode(), string(in.Body.Raw), c.Redact}
	if c.Remote.IsValid() {
		s.Remote = c.Remote.String()
	}
	b, err := json.Marshal(s)
	return route.Bytes{Body: b}, err
}

func (n *node) fail(context.Context, *route.Call, anything) (route.None, error) {
	return route.None{}, n.fails
}

type statusRequest struct {
	Code int `path:"code"`
}

func (n *node) status(_ context.Context, _ *route.Call, in statusRequest) (route.Bytes, error) {
	return route.Bytes{Status: in.Code, ContentType: "text/plain", Body: []byte("body"), Header: map[string]string{"X-Own": "1"}}, nil
}

func (n *node) streams(context.Context, *route.Call, anything) (route.Bytes, error) {
	return route.Bytes{ContentType: "text/plain", Stream: n.stream}, nil
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{}
	var eps []route.Endpoint
	for _, v := range []route.Verb{route.VerbRead, route.VerbList, route.VerbScan, route.VerbWrite, route.VerbDelete, route.VerbPatch} {
		eps = append(eps, route.Raw(v, "echo/{path...}", (*node).echo, route.WhileSealed()))
	}
	for _, p := range []string{"metrics", "health"} {
		eps = append(eps, route.Raw(route.VerbRead, p, func(*node, context.Context, *route.Call, struct{}) (route.Bytes, error) {
			return route.Bytes{ContentType: "text/plain", Body: []byte("ok")}, nil
		}, route.WhileSealed()))
	}
	eps = append(eps, route.Read("fail/{path...}", (*node).fail, route.WhileSealed()), route.Raw(route.VerbRead, "status/{code}", (*node).status, route.WhileSealed()),
		route.Raw(route.VerbRead, "stream/{path...}", (*node).streams, route.WhileSealed()))
	var err error
	if n.always, err = route.NewTable(route.Bind(n, eps)); err != nil {
		t.Fatal(err)
	}
	return n
}

// listener returns the handler of a listener with the defaults, changed.
func (n *node) listener(change func(*config.Listener)) *httpd.Listener {
	c := config.Dev(config.DevFlags{}).Listeners[0]
	if change != nil {
		change(&c)
	}
	return httpd.NewListener(c, n, slog.New(slog.DiscardHandler), clock.NewFake(time.Time{}), &httpd.InFlight{})
}

// ask makes a request; header names and values alternate.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	var r io.Reader = http.NoBody
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, "/v1/"+target, r)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func echoed(t *testing.T, w *httptest.ResponseRecorder) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return s
}

func TestMethodsAreVerbs(t *testing.T) {
	l := newNode(t).listener(nil)
	for _, tt := range []struct {
		method, query, verb string
		status              int
	}{
		{"GET", "", "read", 200},
		{"GET", "?list=true", "list", 200},
		{"GET", "?list=1", "list", 200},
		{"GET", "?list=false", "read", 200},
		{"GET", "?list=", "read", 200},
		{"GET", "?list=maybe", "", 400},
		{"GET", "?scan=true", "scan", 200},
		{"GET", "?scan=x", "", 400},
		{"GET", "?list=true&scan=true", "list", 200},
		{"LIST", "", "list", 200},
		{"SCAN", "", "scan", 200},
		{"POST", "?list=true", "write", 200},
		{"PUT", "", "write", 200},
		{"DELETE", "", "delete", 200},
		{"PATCH", "", "patch", 200},
		{"TRACE", "", "", 405},
		{"CONNECT", "", "", 405},
		{"get", "", "", 405},
		{"OPTIONS", "", "", 400},
		{"GET", "?a=%zz", "", 400},
	} {
		for range 8 { // nothing depends on the order of a map
			w := ask(l, tt.method, "sys/echo/x"+tt.query, "")
			if w.Code != tt.status {
				t.Errorf("%s %s: got %d %s", tt.method, tt.query, w.Code, w.Body)
			} else if w.Code == 200 && echoed(t, w).Verb != tt.verb {
				t.Errorf("%s %s: got %s", tt.method, tt.query, w.Body)
			}
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	n := newNode(t)
	n.fails = fault.New(fault.Invalid, "no")
	l := n.listener(nil)
	for target, status := range map[string]int{"sys/health": 200, "sys/fail/x": 400, "secret/data/x": 405, "sys/none": 405, "sys//x": 400} {
		if w := ask(l, "HEAD", target, ""); w.Code != status || w.Body.Len() != 0 {
			t.Errorf("%s: got %d %q", target, w.Code, w.Body)
		}
	}
}

func TestPathsOutsideTheAPI(t *testing.T) {
	l := newNode(t).listener(nil)
	for path, status := range map[string]int{"/": 404, "/v1": 404, "/v2/sys/health": 404, "/sys/health": 404, "//v1/sys/health": 404, "/v1/": 503, "/v1//sys/health": 400, "/v1/sys/none": 503} {
		w := httptest.NewRecorder()
		l.ServeHTTP(w, &http.Request{Method: "GET", URL: mustURL(t, path), Header: http.Header{}, RemoteAddr: "10.0.0.1:1"})
		if w.Code != status || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
}

func TestSealedServerAnswers(t *testing.T) {
	l := newNode(t).listener(nil)
	w := ask(l, "GET", "secret/data/x", "")
	if w.Code != http.StatusServiceUnavailable || strings.TrimSpace(w.Body.String()) != `{"errors":["Vault is sealed"]}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	// Nobody knows now whether there is such a namespace, and what tells how the
	// node is tells everybody.
	if w := ask(l, "GET", "sys/health", "", "X-Vault-Namespace", "ns1"); w.Code != http.StatusOK {
		t.Errorf("health in a namespace: %d %s", w.Code, w.Body)
	}
}

func TestStandardHeaders(t *testing.T) {
	l := newNode(t).listener(nil)
	l.Names = map[string]string{"X-Vault-Hostname": "host"}
	for _, target := range []string{"sys/echo/x", "secret/x", "sys//"} {
		h := ask(l, "GET", target, "").Header()
		for name, want := range map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json", "Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-Vault-Hostname": "host"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", target, name, h.Get(name))
			}
		}
	}
}

func TestEveryFaultHasAStatus(t *testing.T) {
	n := newNode(t)
	l := n.listener(nil)
	cause := errors.New("dial 10.0.0.1: canary")
	for kind, want := range map[fault.Kind]int{
		fault.Internal: 500, fault.Invalid: 400, fault.Denied: 403, fault.NotFound: 404, fault.Unsupported: 405, fault.Precondition: 412, fault.TooLarge: 413, fault.RateLimited: 429,
		fault.Unavailable: 503, fault.Sealed: 503, fault.Standby: 503, fault.Upstream: 500, fault.Unauthenticated: 400, fault.Full: 507, fault.Conflict: 503, fault.MediaType: 415,
	} {
		n.fails = fmt.Errorf("reading: %w", fault.Wrap(kind, cause, "the text"))
		w := ask(l, "GET", "sys/fail/x", "")
		told := strings.Contains(w.Body.String(), "the text")
		if w.Code != want || told == (kind == fault.Internal) || strings.Contains(w.Body.String(), "canary") || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%v: got %d %s", kind, w.Code, w.Body)
		}
		if (w.Header().Get("Retry-After") != "") != (kind == fault.Conflict) {
			t.Errorf("%v: retry after %q", kind, w.Header().Get("Retry-After"))
		}
	}
	for k := fault.Internal; k.String() != "unknown"; k++ {
		n.fails = fault.New(k, "")
		if w := ask(l, "GET", "sys/fail/x", ""); w.Code < 400 || w.Code > 599 {
			t.Errorf("%v: got %d", k, w.Code)
		}
	}
	for _, err := range []error{cause, context.Canceled, fault.New(fault.Kind(200), "canary")} {
		n.fails = err
		w := ask(l, "GET", "sys/fail/x", "")
		if w.Code != 500 || err == cause && strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%v: got %d %s", err, w.Code, w.Body)
		}
	}
}

func TestPanicsAreOneRequestsFailure(t *testing.T) {
	n := newNode(t)
	n.always, _ = route.NewTable([]route.Endpoint{route.Read("boom", func(any, context.Context, *route.Call, struct{}) (route.None, error) { panic("canary") }, route.WhileSealed())})
	w := ask(n.listener(nil), "GET", "sys/boom", "")
	if w.Code != 500 || strings.Contains(w.Body.String(), "canary") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestBodies(t *testing.T) {
	l := newNode(t).listener(func(c *config.Listener) {
		c.Limits = config.Limits{RequestSize: 200, JSONDepth: 3, JSONStringLength: 50, JSONObjectEntries: 3, JSONArrayElements: -1, JSONStrings: 20}
	})
	const form, patch = "application/x-www-form-urlencoded", "application/merge-patch+json"
	for _, tt := range []struct {
		name, method, kind, body string
		status                   int
		want                     string
	}{
		{"JSON", "POST", "application/json", `{"a":1}`, 200, `{"a":1}`},
		{"no type", "POST", "", ` {"a":1} `, 200, `{"a":1}`},
		{"any type", "PUT", "text/plain", `{"a":1}`, 200, `{"a":1}`},
		{"no body", "POST", "", ``, 200, ``},
		{"null", "POST", "", `null`, 200, ``},
		{"a deletion's", "DELETE", "", `{"a":1}`, 200, `{"a":1}`},
		{"a read's is ignored", "GET", "", `{"a":`, 200, ``},
		{"a form", "POST", form, "a=1&a=2", 200, `{"a":"1"}`},
		{"a form of a name", "POST", form + "; charset=utf-8", "%22=x%0a", 200, `{"\"":"x\n"}`},
		{"JSON that curl calls a form", "POST", form, ` {"a":"b=c"}`, 200, `{"a":"b=c"}`},
		{"a malformed form", "POST", form, "a=%zz", 400, ""},
		{"an empty form", "POST", form, "&", 200, `{}`},
		{"a patch", "PATCH", patch, `{"a":1}`, 200, `{"a":1}`},
		{"a patch with parameters", "PATCH", patch + `; charset="utf-8"`, `{"a":1}`, 200, `{"a":1}`},
		{"a patch of another type", "PATCH", "application/json", `{"a":1}`, 415, ""},
		{"a patch of no type", "PATCH", "", `{"a":1}`, 415, ""},
		{"an array", "POST", "", `[1]`, 400, ""},
		{"malformed", "POST", "", `{"a":canary}`, 400, ""},
		{"duplicate names", "POST", "", `{"a":1,"a":2}`, 400, ""},
		{"too deep", "POST", "", `{"a":[[[1]]]}`, 413, ""},
		{"too many members", "POST", "", `{"a":1,"b":1,"c":1,"d":1}`, 413, ""},
		{"many elements, which are not limited", "POST", "", `{"a":[1,2,3,4,5,6]}`, 200, `{"a":[1,2,3,4,5,6]}`},
		{"too long a string", "POST", "", `{"a":"` + strings.Repeat("x", 51) + `"}`, 413, ""},
		{"too many values", "POST", "", `{"a":[` + strings.Repeat("1,", 20) + `1]}`, 413, ""},
		{"too large", "POST", "", `{"a":"` + strings.Repeat("x", 250) + `"}`, 413, ""},
		{"too large by space", "POST", "", `{}` + strings.Repeat(" ", 250), 413, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(l, tt.method, "sys/echo/x", tt.body, "Content-Type", tt.kind)
			if w.Code != tt.status || strings.Contains(w.Body.String(), "canary") {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			if w.Code == 200 {
				if got := echoed(t, w).Body; got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func TestLimitsThatAreOff(t *testing.T) {
	got := httpd.JSONLimits(config.Limits{JSONDepth: -1, JSONStringLength: 5, JSONObjectEntries: 7, JSONArrayElements: -1})
	want := wire.Limits{Depth: 1 << 31, String: 5, Keys: 7, Elements: 1 << 31, Values: wire.DefaultLimits.Values}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHeadersThatAreRefused(t *testing.T) {
	l := newNode(t).listener(nil)
	for name, tt := range map[string]struct {
		status  int
		headers []string
	}{
		"wrap as text":        {200, []string{"X-Vault-Wrap-TTL", "5m"}},
		"wrap as a number":    {200, []string{"X-Vault-Wrap-TTL", "300"}},
		"wrap of nothing":     {200, []string{"X-Vault-Wrap-TTL", ""}},
		"wrap of no duration": {400, []string{"X-Vault-Wrap-TTL", "soon"}},
		"wrap that is past":   {400, []string{"X-Vault-Wrap-TTL", "-5m"}},
		"wrap of a century":   {400, []string{"X-Vault-Wrap-TTL", "876001h"}},
		"a token":             {200, []string{"X-Vault-Token", strings.Repeat("t", 8<<10)}},
		"too long a token":    {400, []string{"X-Vault-Token", strings.Repeat("t", 8<<10+1)}},
		"too long a bearer":   {400, []string{"Authorization", "Bearer " + strings.Repeat("t", 8<<10+1)}},
		"other authorization": {200, []string{"Authorization", "Basic " + strings.Repeat("t", 8<<10+1)}},
	} {
		if w := ask(l, "GET", "sys/echo/x", "", tt.headers...); w.Code != tt.status {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

func TestForwardedAddresses(t *testing.T) {
	const proxy = "192.0.2.1:1234" // the address of httptest's requests
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	others := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		name    string
		f       config.Forwarded
		headers []string
		want    string // "" is 400
	}{
		{"off", config.Forwarded{RejectNotPresent: true, RejectNotAuthorized: true}, []string{"1.1.1.1"}, "192.0.2.1"},
		{"trusted", config.Forwarded{Authorized: trusted}, []string{"1.1.1.1"}, "1.1.1.1"},
		{"the last counts", config.Forwarded{Authorized: trusted}, []string{"6.6.6.6, 1.1.1.1"}, "1.1.1.1"},
		{"of several headers too", config.Forwarded{Authorized: trusted}, []string{"6.6.6.6", "1.1.1.1"}, "1.1.1.1"},
		{"a hop skipped", config.Forwarded{Authorized: trusted, HopSkips: 1}, []string{"6.6.6.6, 1.1.1.1", "2.2.2.2"}, "1.1.1.1"},
		{"all hops skipped", config.Forwarded{Authorized: trusted, HopSkips: 1}, []string{"1.1.1.1"}, ""},
		{"IPv6", config.Forwarded{Authorized: trusted}, []string{" 2001:db8::1 "}, "2001:db8::1"},
		{"mapped", config.Forwarded{Authorized: trusted}, []string{"::ffff:1.1.1.1"}, "1.1.1.1"},
		{"malformed", config.Forwarded{Authorized: trusted}, []string{"localhost"}, ""},
		{"empty", config.Forwarded{Authorized: trusted}, []string{""}, ""},
		{"absent", config.Forwarded{Authorized: trusted}, nil, "192.0.2.1"},
		{"absent, rejected", config.Forwarded{Authorized: trusted, RejectNotPresent: true}, nil, ""},
		{"absent from a stranger, rejected", config.Forwarded{Authorized: others, RejectNotPresent: true}, nil, ""},
		{"absent from a stranger", config.Forwarded{Authorized: others, RejectNotAuthorized: true}, nil, "192.0.2.1"},
		{"a stranger's", config.Forwarded{Authorized: others}, []string{"1.1.1.1"}, "192.0.2.1"},
		{"a stranger's, rejected", config.Forwarded{Authorized: others, RejectNotAuthorized: true}, []string{"1.1.1.1"}, ""},
		{"both flags, trusted", config.Forwarded{Authorized: trusted, RejectNotPresent: true, RejectNotAuthorized: true}, []string{"1.1.1.1"}, "1.1.1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newNode(t).listener(func(c *config.Listener) { c.Forwarded = tt.f })
			var headers []string
			for _, v := range tt.headers {
				headers = append(headers, "X-Forwarded-For", v)
			}
			w := ask(l, "GET", "sys/echo/x", "", headers...)
			if tt.want == "" {
				if w.Code != http.StatusBadRequest {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				return
			}
			if got := echoed(t, w); got.Remote != tt.want || fmt.Sprint(got.Port) != strings.Split(proxy, ":")[1] {
				t.Errorf("got %s port %d", got.Remote, got.Port)
			}
		})
	}
}

func TestListenerForMetricsOnly(t *testing.T) {
	l := newNode(t).listener(func(c *config.Listener) { c.Access.MetricsOnly = true })
	for target, status := range map[string]int{"sys/metrics": 200, "sys/health": 200, "sys/echo/x": 404, "secret/x": 404, "sys/metrics/x": 404, "sys/metrics/": 404} {
		if w := ask(l, "GET", target, ""); w.Code != status {
			t.Errorf("%s: got %d", target, w.Code)
		}
	}
}

func TestRedaction(t *testing.T) {
	l := newNode(t).listener(func(c *config.Listener) { c.Access.RedactAddresses, c.Access.RedactVersion = true, true })
	if got := echoed(t, ask(l, "GET", "sys/echo/x", "")).Redact; got != (route.Redact{Addresses: true, Version: true}) {
		t.Errorf("got %+v", got)
	}
}

func TestCustomHeaders(t *testing.T) {
	n := newNode(t)
	n.stream = func(context.Context, io.Writer) error { return nil }
	l := n.listener(func(c *config.Listener) {
		c.Headers = map[string]http.Header{"default": {"X-A": {"default"}, "X-B": {"default"}}, "2xx": {"X-A": {"2xx"}}, "200": {"X-C": {"200"}}, "404": {"X-B": {"404"}}, "5xx": {"X-B": {"5xx"}}}
	})
	for target, want := range map[string][3]string{"sys/echo/x": {"2xx", "default", "200"}, "sys/stream/x": {"2xx", "default", "200"}, "secret/x": {"default", "5xx", ""}, "sys/status/404": {"default", "404", ""}} {
		h := ask(l, "GET", target, "").Header()
		if got := [3]string{h.Get("X-A"), h.Get("X-B"), h.Get("X-C")}; got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

func TestRawAnswers(t *testing.T) {
	srv := httptest.NewServer(newNode(t).listener(nil))
	defer srv.Close()
	for code, want := range map[int]string{200: "body", 404: "body", 204: "", 304: "", 599: "body"} {
		resp, err := srv.Client().Get(fmt.Sprintf("%s/v1/sys/status/%d", srv.URL, code))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != code || string(body) != want || resp.Header.Get("X-Own") != "1" {
			t.Errorf("%d: got %d %q %v, %v", code, resp.StatusCode, body, resp.Header, err)
		}
		if want == "" && resp.Header.Get("Content-Length") != "" {
			t.Errorf("%d: announces %s bytes of a body that there is not", code, resp.Header.Get("Content-Length"))
		}
		_ = resp.Body.Close()
	}
}
