package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

const root = servertest.RootToken

func TestRequestsAreAuditedBeforeAndAfter(t *testing.T) {
	h := newHouse(t)
	h.stub.set(func(c *route.Call) error {
		if n := len(h.sink.records(t, c.ID)); n != 1 && c.Verb == route.VerbWrite {
			t.Errorf("%s: %d records before the handler", c.Full, n)
		}
		return nil
	})
	h.ok(route.VerbWrite, "stub/write/x", root, `{"value":"`+canary+`"}`)
	if got := h.lines(); got != "request response" {
		t.Errorf("records of a write: %s", got)
	}
	h.ok(route.VerbRead, "stub/read/x", root, "")
	if got := h.lines(); got != "request response" {
		t.Errorf("records of a read: %s", got)
	}
	h.ok(route.VerbWrite, "auth/stub/login/x", "", `{"value":"right"}`)
	if got := h.lines(); got != "request response" {
		t.Errorf("records of a login: %s", got)
	}
	h.ok(route.VerbWrite, "stub/public/x", "", "")
	if got := h.lines(); got != "request response" {
		t.Errorf("records of a public endpoint: %s", got)
	}
	if log := h.sink.out.String(); strings.Contains(log, canary) {
		t.Error("the log shows a secret")
	}
}

func TestARefusalIsAuditedOnce(t *testing.T) {
	h := newHouse(t)
	h.Policy("reader", `path "stub/read/*" { capabilities = ["read"] }`)
	reader := h.Token("reader")
	for _, tt := range []struct {
		name        string
		verb        route.Verb
		path, token string
		body        string
		kind        fault.Kind
	}{
		{"no token", route.VerbRead, "stub/read/x", "", "", fault.Denied},
		{"an unknown token", route.VerbRead, "stub/read/x", "hvs.unknown", "", fault.Denied},
		{"no capability", route.VerbWrite, "stub/write/x", reader, `{}`, fault.Denied},
		{"no sudo", route.VerbWrite, "stub/sudo/x", reader, `{}`, fault.Denied},
		{"a malformed body", route.VerbWrite, "stub/write/x", root, `{`, fault.Invalid},
		{"no such path", route.VerbRead, "stub/none", root, "", fault.NotFound},
		{"no such mount", route.VerbRead, "none/x", root, "", fault.NotFound},
		{"no such operation", route.VerbDelete, "stub/read/x", root, "", fault.Unsupported},
		{"a path that a stranger may not know", route.VerbRead, "none/x", "", "", fault.Denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.do(tt.verb, tt.path, tt.token, tt.body)
			if !errors.Is(a.Err, tt.kind) || a.Reply != nil {
				t.Errorf("got %v, %v", a.Reply, a.Err)
			}
			if got := h.lines(); got != "request!" {
				t.Errorf("records: %s", got)
			}
		})
	}
	if n := h.stub.count(); n != 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

func TestAStrangersBodyIsNotRead(t *testing.T) {
	h := newHouse(t)
	h.Policy("reader", `path "stub/read/*" { capabilities = ["read"] }`)
	for name, token := range map[string]string{"none": "", "unknown": "hvs.unknown", "without the capability": h.Token("reader")} {
		r := h.request(route.VerbWrite, "stub/write/x", token, "")
		read := false
		r.Body = func() ([]byte, error) { read = true; return nil, nil }
		if a := h.gate.Serve(context.Background(), r); !errors.Is(a.Err, fault.Denied) || read {
			t.Errorf("token %s: %v, the body was read: %t", name, a.Err, read)
		}
	}
}

func TestNothingIsDoneWithoutARecord(t *testing.T) {
	h := newHouse(t)
	h.Policy("nothing", `path "none" { capabilities = ["read"] }`)
	denied := h.Token("nothing")
	h.sink.fail(true)
	for _, tt := range []struct {
		name              string
		verb              route.Verb
		path, token, body string
		runs              int
	}{
		{"a read", route.VerbRead, "stub/read/x", root, "", 1}, // beside its record; the answer does not leave
		{"a write", route.VerbWrite, "stub/write/x", root, `{}`, 0},
		{"a grant", route.VerbWrite, "stub/issue/x", root, `{}`, 0},
		{"a login", route.VerbWrite, "auth/stub/login/x", "", `{"value":"right"}`, 0},
		{"a public endpoint", route.VerbWrite, "stub/public/x", "", ``, 0},
		{"a denial", route.VerbRead, "stub/read/x", denied, "", 0},
		{"a stranger", route.VerbRead, "stub/read/x", "", "", 0},
		{"a path that there is not", route.VerbRead, "none", root, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := h.stub.count()
			a := h.do(tt.verb, tt.path, tt.token, tt.body)
			if !errors.Is(a.Err, fault.Unavailable) || a.Reply != nil {
				t.Errorf("got %v, %v", a.Reply, a.Err)
			}
			if n := h.stub.count() - before; n != tt.runs {
				t.Errorf("the handler ran %d times", n)
			}
		})
	}
	t.Run("a read whose answer is to be wrapped", func(t *testing.T) {
		before := h.stub.count()
		r := h.request(route.VerbRead, "stub/read/x", root, "")
		r.WrapTTL = time.Minute
		if a := h.gate.Serve(context.Background(), r); !errors.Is(a.Err, fault.Unavailable) || a.Reply != nil || h.stub.count() != before {
			t.Errorf("got %v, %v; the handler ran: %t", a.Reply, a.Err, h.stub.count() != before)
		}
	})
	t.Run("help", func(t *testing.T) {
		r := h.request(route.VerbRead, "stub/write/x", root, "")
		r.Help = true
		if a := h.gate.Serve(context.Background(), r); !errors.Is(a.Err, fault.Unavailable) || a.Reply != nil {
			t.Errorf("got %v, %v", a.Reply, a.Err)
		}
	})
}

// TestMakingSomethingIsAnEffect has an endpoint that computes, and makes what it
// computes with if that is not there: then it is recorded before.
func TestMakingSomethingIsAnEffect(t *testing.T) {
	h := newHouse(t)
	h.sink.fail(true)
	for _, there := range []bool{true, false} {
		h.stub.mu.Lock()
		h.stub.exists = func(*route.Call) bool { return there }
		h.stub.mu.Unlock()
		before := h.stub.count()
		if a := h.do(route.VerbWrite, "stub/compute/x", root, `{}`); !errors.Is(a.Err, fault.Unavailable) || a.Reply != nil {
			t.Errorf("got %v, %v", a.Reply, a.Err)
		}
		if ran := h.stub.count() > before; ran != there {
			t.Errorf("without a record, what is there: %t; the handler ran: %t", there, ran)
		}
	}
}

func TestAnAnswerThatIsNotRecordedDoesNotLeave(t *testing.T) {
	h := newHouse(t)
	h.stub.set(func(*route.Call) error { h.sink.fail(true); return nil })
	if a := h.do(route.VerbWrite, "stub/write/x", root, `{}`); !errors.Is(a.Err, fault.Unavailable) || a.Reply != nil {
		t.Errorf("got %v, %v", a.Reply, a.Err)
	}
	if n := h.stub.count(); n != 1 {
		t.Errorf("the handler ran %d times", n)
	}
}

func TestAPanicIsOneRequestsFailure(t *testing.T) {
	h := newHouse(t)
	boom := func(*route.Call) error { panic("text with " + canary) }
	for _, path := range []string{"stub/write/x", "stub/issue/x", "auth/stub/login/x"} {
		h.stub.set(boom)
		a := h.do(route.VerbWrite, path, root, `{"value":"right"}`)
		if !errors.Is(a.Err, fault.Internal) || a.Reply != nil || h.lines() != "request response!" {
			t.Errorf("%s: got %v, %v, records %s", path, a.Reply, a.Err, h.lines())
		}
		h.stub.set(nil)
		h.ok(route.VerbWrite, path, root, `{"value":"right"}`)
	}
	h.stub.exists = func(*route.Call) bool { panic(canary) }
	if a := h.do(route.VerbWrite, "stub/write/x", root, `{}`); !errors.Is(a.Err, fault.Internal) || h.lines() != "request!" {
		t.Errorf("got %v, records %s", a.Err, h.lines())
	}
	if strings.Contains(h.Log.String(), canary) {
		t.Error("the server's log shows the text of a panic")
	}
}

func TestTheLastUseEndsATokenWhateverCameOfIt(t *testing.T) {
	h := newHouse(t)
	h.Policy("some", `path "stub/read/*" { capabilities = ["read"] }`)
	for name, tt := range map[string]struct {
		behaves func(*route.Call) error
		path    string
	}{
		"success":     {nil, "stub/read/x"},
		"an error":    {func(*route.Call) error { return fault.New(fault.Upstream, "down") }, "stub/read/x"},
		"a panic":     {func(*route.Call) error { panic("defect") }, "stub/read/x"},
		"a denial":    {nil, "stub/write/x"},
		"a wrong one": {nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			h.stub.set(tt.behaves)
			defer h.stub.set(nil)
			token := h.counted("some", 2)
			h.do(route.VerbRead, tt.path, token, "")
			if !h.usable(token) {
				t.Fatal("the first of two uses ended the token")
			}
			h.do(route.VerbRead, tt.path, token, "")
			if h.usable(token) {
				t.Error("the token can still be used")
			}
		})
	}
	t.Run("no record", func(t *testing.T) {
		token := h.counted("some", 1)
		h.sink.fail(true)
		defer h.sink.fail(false)
		h.do(route.VerbRead, "stub/read/x", token, "")
		if h.usable(token) {
			t.Error("the token can still be used")
		}
	})
}

func TestAGrantWithoutALeaseIsUndone(t *testing.T) {
	h := newHouse(t)
	h.stub.commit = func(store.Txn) error { return fault.New(fault.Full, "no room") }
	if a := h.do(route.VerbWrite, "stub/issue/first", root, `{}`); !errors.Is(a.Err, fault.Full) || a.Reply != nil || h.lines() != "request response!" {
		t.Errorf("got %v, %v, records %s", a.Reply, a.Err, h.lines())
	}
	if len(h.stub.revoked) != 1 || h.stub.revoked[0] != "first" {
		t.Errorf("revoked %q", h.stub.revoked)
	}
	h.stub.commit = nil
	ctx, cancel := context.WithCancel(context.Background())
	h.stub.set(func(*route.Call) error { cancel(); return nil }) // the client hangs up
	a := h.gate.Serve(ctx, h.request(route.VerbWrite, "stub/issue/second", root, `{}`))
	if leased := a.Reply != nil && a.Reply.Lease != nil; leased == (len(h.stub.revoked) == 2) {
		t.Errorf("got %v; revoked %q", a.Err, h.stub.revoked)
	}
	h.stub.set(nil)
	reply := h.ok(route.VerbWrite, "stub/issue/third", root, `{}`)
	if reply.Lease == nil || !strings.HasPrefix(reply.Lease.ID, "stub/issue/third/") || reply.Lease.Duration != time.Minute {
		t.Errorf("lease %+v", reply.Lease)
	}
	a2 := h.Do("PUT", "sys/leases/lookup", root, map[string]any{"lease_id": reply.Lease.ID})
	if a2.Status != 200 {
		t.Errorf("looking the lease up: %s", a2)
	}
}

func TestWrapping(t *testing.T) {
	h := newHouse(t)
	r := h.request(route.VerbRead, "stub/warn/x", root, "")
	r.WrapTTL = 2 * time.Minute
	a := h.gate.Serve(context.Background(), r)
	if a.Err != nil || a.Reply.Wrap == nil || a.Reply.Data != nil || a.Reply.Wrap.TTL != 2*time.Minute || a.Reply.Wrap.CreationPath != "stub/warn/x" {
		t.Fatalf("got %+v, %v", a.Reply, a.Err)
	}
	if len(a.Warnings) > 0 {
		t.Errorf("the warnings %q of the wrapped answer are told outside", a.Warnings)
	}
	inner := h.Do("PUT", "sys/wrapping/unwrap", a.Reply.Wrap.Token, nil)
	if inner.Status != 200 || inner.Data()["name"] != "x" || len(inner.JSON()["warnings"].([]any)) != 1 {
		t.Errorf("unwrapped: %s", inner)
	}
	if again := h.Do("PUT", "sys/wrapping/unwrap", a.Reply.Wrap.Token, nil); again.Status == 200 {
		t.Errorf("unwrapped twice: %s", again)
	}
	r = h.request(route.VerbRead, "stub/read/x", root, "")
	r.WrapTTL = time.Minute
	h.stub.set(func(*route.Call) error { return fault.New(fault.NotFound, "") })
	if a := h.gate.Serve(context.Background(), r); !errors.Is(a.Err, fault.NotFound) || a.Reply != nil {
		t.Errorf("a failure was wrapped: %v, %v", a.Reply, a.Err)
	}
}

func TestPoliciesLimitPages(t *testing.T) {
	h := newHouse(t)
	h.Policy("pages", `path "stub/read/" { capabilities = ["list"] pagination_limit = 2 }
path "stub/read" { capabilities = ["list"] pagination_limit = 2 }`)
	token := h.Token("pages")
	for asked, want := range map[string]string{"": "2", "1": "1", "2": "2", "3": "2", "0": "2", "-1": "2"} {
		r := h.request(route.VerbList, "stub/read", token, "")
		if asked != "" {
			r.Query["limit"] = []string{asked, "100"}
		}
		a := h.gate.Serve(context.Background(), r)
		if a.Err != nil || h.stub.limit != want {
			t.Errorf("limit %q: the handler got %q, %v", asked, h.stub.limit, a.Err)
		}
	}
	r := h.request(route.VerbList, "stub/read", token, "")
	r.Query["limit"] = []string{"x"}
	if a := h.gate.Serve(context.Background(), r); !errors.Is(a.Err, fault.Invalid) {
		t.Errorf("a limit that is no number: %v", a.Err)
	}
}

func TestFailedLoginsLockOut(t *testing.T) {
	h := newHouse(t)
	for range 5 {
		if a := h.do(route.VerbWrite, "auth/stub/login/ann", "", `{"value":"wrong"}`); !errors.Is(a.Err, fault.Unauthenticated) {
			t.Fatalf("got %v", a.Err)
		}
	}
	before := h.stub.count()
	if a := h.do(route.VerbWrite, "auth/stub/login/ann", "", `{"value":"right"}`); !errors.Is(a.Err, fault.Denied) || h.lines() != "request response!" {
		t.Errorf("got %v, records %s", a.Err, h.lines())
	}
	if h.stub.count() != before {
		t.Error("the method was asked about a user who is locked out")
	}
	if a := h.ok(route.VerbWrite, "auth/stub/login/bob", "", `{"value":"right"}`); a.Auth == nil || a.Auth.ClientToken == "" {
		t.Error("no token for another user")
	}
	h.stub.set(func(*route.Call) error { return fault.New(fault.Upstream, "down") })
	for range 6 { // what is not the user's fault does not count
		h.do(route.VerbWrite, "auth/stub/login/eve", "", `{"value":"right"}`)
	}
	h.stub.set(nil)
	h.ok(route.VerbWrite, "auth/stub/login/eve", "", `{"value":"right"}`)
}

func TestHelp(t *testing.T) {
	h := newHouse(t)
	h.Policy("some", `path "stub/write/*" { capabilities = ["read"] }`)
	for _, tt := range []struct {
		path, token string
		kind        error
		has         string
	}{
		{"stub/write/x", root, nil, "Write a thing."},
		{"stub/", root, nil, "issue/{name}"},
		{"stub/write/x", h.Token("some"), nil, "Write a thing."},
		{"stub/none/x/y", root, fault.NotFound, ""},
		{"none/x", root, fault.NotFound, ""},
		{"stub/write/x", "", fault.Denied, ""},
		{"stub/public/x", "", fault.Denied, ""},
		{"stub/read/x", h.Token("some"), fault.Denied, ""},
	} {
		r := h.request(route.VerbRead, tt.path, tt.token, "")
		r.Help = true
		a := h.gate.Serve(context.Background(), r)
		if !errors.Is(a.Err, tt.kind) {
			t.Errorf("%s: %v", tt.path, a.Err)
			continue
		}
		want := "request response"
		if tt.kind != nil {
			want = "request!"
		} else if !strings.Contains(string(a.Reply.Raw.Body), tt.has) {
			t.Errorf("%s: %s", tt.path, a.Reply.Raw.Body)
		}
		if got := h.lines(); got != want {
			t.Errorf("%s: records %s, want %s", tt.path, got, want)
		}
	}
	if n := h.stub.count(); n != 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

func TestAClosedGateServesNothing(t *testing.T) {
	h := newHouse(t)
	began, end := make(chan struct{}), make(chan struct{})
	h.stub.set(func(*route.Call) error { close(began); <-end; return nil })
	running := make(chan error)
	go func() { running <- h.do(route.VerbRead, "stub/read/x", root, "").Err }()
	<-began
	h.gate.Close()
	if a := h.gate.Serve(context.Background(), h.request(route.VerbRead, "stub/read/x", root, "")); !errors.Is(a.Err, fault.Sealed) {
		t.Errorf("got %v", a.Err)
	}
	waited := make(chan struct{})
	go func() { h.gate.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("the gate did not wait for a request")
	default:
	}
	close(end)
	if err := <-running; err != nil {
		t.Errorf("a request that ran: %v", err)
	}
	<-waited
}

// discard is a sink that keeps nothing.
type discard struct{ sink }

func (*discard) Write(p []byte) (int, error) { return len(p), nil }

var _ audit.Sink = (*discard)(nil)

func BenchmarkServeKVRead(b *testing.B) {
	h := newHouse(b)
	h.Must(200, "POST", "secret/data/app", map[string]any{"data": map[string]string{"username": "app", "password": canary}})
	c := h.gate.Config
	c.Audit = newBroker(b, &discard{})
	h.Policy("reader", `path "secret/data/*" { capabilities = ["read"] }`)
	token := h.Token("reader")
	ctx := context.Background()
	g := gate.New(c)
	r := h.request(route.VerbRead, "secret/data/app", token, "")
	b.ReportAllocs()
	for b.Loop() {
		if a := g.Serve(ctx, r); a.Err != nil {
			b.Fatal(a.Err)
		}
	}
}
