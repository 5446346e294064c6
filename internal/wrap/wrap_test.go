package wrap_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wire"
	"github.com/cofferhq/coffer/internal/wrap"
)

// world is the wrapping noun over an empty store.
type world struct {
	*wrap.Store
	t      testing.TB
	db     store.Store
	clock  *clock.Fake
	tokens *token.Store
	table  *route.Table
	empty  int
}

type noLeases struct{}

func (noLeases) EndOwned(store.Txn, string, int) (int, error) { return 0, nil }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, db: mem.New(), clock: clock.NewFake(time.Time{})}
	if _, err := w.db.Update(context.Background(), func(tx store.Txn) error {
		return errors.Join(token.Init(tx, rand.Reader), wrap.Init(tx, rand.Reader))
	}); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.tokens, err = token.New(context.Background(), token.Config{
		Store: w.db, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Leases: noLeases{},
		WipeCubbyhole: func(tx store.Txn, _ store.NamespaceID, handle string, _ int) (int, error) {
			return 0, wrap.Drop(tx, handle)
		},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.tokens.Close)
	if w.Store, err = wrap.New(context.Background(), w.db, w.clock, w.tokens, func(_ context.Context, ns, other store.NamespaceID) (bool, error) { return ns < other, nil }); err != nil {
		t.Fatal(err)
	}
	if w.table, err = route.NewTable(route.Bind(w.Store, wrap.Routes)); err != nil {
		t.Fatal(err)
	}
	w.empty = w.rows()
	return w
}

func (w *world) rows() int {
	w.t.Helper()
	n := 0
	if err := w.db.View(context.Background(), func(r store.Reader) error {
		for _, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// wrap wraps a body for a minute.
func (w *world) wrap(body string, change ...func(*wrap.Answer)) *route.WrapInfo {
	w.t.Helper()
	a := wrap.Answer{Body: []byte(body), Path: "secret/data/x", Accessor: "inner", TTL: time.Minute}
	for _, c := range change {
		c(&a)
	}
	info, err := w.Wrap(context.Background(), store.RootNamespace, a)
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func (w *world) unwrap(text string) (string, error) {
	body, err := w.Unwrap(context.Background(), store.RootNamespace, text)
	return string(body), err
}

// refused fails the test unless a text unwraps nothing.
func (w *world) refused(text string) {
	w.t.Helper()
	if body, err := w.unwrap(text); !errors.Is(err, fault.Invalid) || body != "" {
		w.t.Errorf("unwrapping gives %q, %v; want a refusal", body, err)
	}
}

// ask sends a request to an endpoint of sys/wrapping.
func (w *world) ask(verb route.Verb, path, body string, change ...func(*route.Call)) (*route.Reply, error) {
	w.t.Helper()
	var match route.Match
	e, _ := w.table.Find(verb, path, &match)
	if e == nil {
		w.t.Fatalf("no endpoint %s", path)
	}
	c := &route.Call{ID: "1", Verb: verb, Full: "sys/" + path, Namespace: route.Namespace{ID: store.RootNamespace}, Now: w.clock.Now()}
	var err error
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		w.t.Fatal(err)
	}
	for _, fn := range change {
		fn(c)
	}
	c.SetMatch(&match, e)
	return e.Handle(context.Background(), nil, c)
}

func TestAnAnswerCanBeHadOnce(t *testing.T) {
	w := newWorld(t)
	info := w.wrap(`{"data":{"a":1}}`)
	var got, refused atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			switch body, err := w.unwrap(info.Token); {
			case err == nil && body == `{"data":{"a":1}}`:
				got.Add(1)
			case errors.Is(err, fault.Invalid) && body == "":
				refused.Add(1)
			default:
				t.Errorf("answer %q, error %v", body, err)
			}
		})
	}
	wg.Wait()
	if got.Load() != 1 || refused.Load() != 99 {
		t.Errorf("%d got the answer, %d were refused", got.Load(), refused.Load())
	}
	if n := w.rows(); n != w.empty {
		t.Errorf("%d rows are left", n-w.empty)
	}
}

func TestAnAnswerIsKeptForItsTime(t *testing.T) {
	w := newWorld(t)
	info := w.wrap(`{}`)
	w.clock.Advance(time.Minute - 1)
	other := w.wrap(`{}`)
	if _, err := w.ask(route.VerbWrite, "wrapping/lookup", `{"token": "`+info.Token+`"}`); err != nil {
		t.Errorf("looking up at the last moment: %v", err)
	}
	w.clock.Advance(1)
	w.refused(info.Token)
	for _, path := range []string{"wrapping/lookup", "wrapping/unwrap", "wrapping/rewrap"} {
		if _, err := w.ask(route.VerbWrite, path, `{"token": "`+info.Token+`"}`); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s at the end: %v, want invalid", path, err)
		}
	}
	if _, err := w.unwrap(other.Token); err != nil {
		t.Errorf("a younger answer: %v", err)
	}
}

func TestTimesThatAnAnswerCanHave(t *testing.T) {
	w := newWorld(t)
	for ttl, ok := range map[time.Duration]bool{
		0: false, -time.Second: false, time.Second - 1: false, time.Second: true, wrap.MaxTTL: true, wrap.MaxTTL + 1: false,
	} {
		_, err := w.Wrap(t.Context(), store.RootNamespace, wrap.Answer{Body: []byte("{}"), TTL: ttl})
		if ok && err != nil || !ok && !errors.Is(err, fault.Invalid) {
			t.Errorf("%v: error %v (allowed: %v)", ttl, err, ok)
		}
	}
}

func TestRewrappingKeepsWhereTheAnswerComesFrom(t *testing.T) {
	w := newWorld(t)
	first := w.wrap(`{"data":{"a":1}}`)
	w.clock.Advance(50 * time.Second)
	reply, err := w.ask(route.VerbWrite, "wrapping/rewrap", `{"token": "`+first.Token+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	second := reply.Wrap
	if second.Token == first.Token || second.CreationPath != "secret/data/x" || second.TTL != time.Minute || second.WrappedAccessor != "inner" {
		t.Errorf("rewrapped: path %q, lifetime %v, accessor %q", second.CreationPath, second.TTL, second.WrappedAccessor)
	}
	if !second.CreationTime.Equal(w.clock.Now()) {
		t.Errorf("rewrapped at %v, the answer says %v", w.clock.Now(), second.CreationTime)
	}
	w.refused(first.Token)
	w.clock.Advance(50 * time.Second)
	reply, err = w.ask(route.VerbRead, "wrapping/lookup", "", func(c *route.Call) { c.ClientToken = wire.Secret(second.Token) })
	if err != nil {
		t.Fatal(err)
	}
	var facts struct {
		Path string `json:"creation_path"`
		TTL  int    `json:"creation_ttl"`
	}
	if err := json.Unmarshal(reply.Data, &facts); err != nil || facts.Path != "secret/data/x" || facts.TTL != 60 {
		t.Errorf("lookup says %s, %v", reply.Data, err)
	}
	if body, err := w.unwrap(second.Token); err != nil || body != `{"data":{"a":1}}` {
		t.Errorf("answer %q, error %v", body, err)
	}
	if n := w.rows(); n != w.empty {
		t.Errorf("%d rows are left", n-w.empty)
	}
}

func TestOfManyRewrappingsOneSucceeds(t *testing.T) {
	w := newWorld(t)
	info := w.wrap(`{}`)
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.ask(route.VerbWrite, "wrapping/rewrap", `{"token": "`+info.Token+`"}`); err == nil {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d rewrappings succeeded, want 1", made.Load())
	}
}

func TestAnotherNamespaceGetsNothing(t *testing.T) {
	w := newWorld(t)
	info := w.wrap(`{}`)
	elsewhere := func(c *route.Call) { c.Namespace.ID = 2 }
	for _, path := range []string{"wrapping/lookup", "wrapping/unwrap", "wrapping/rewrap"} {
		if _, err := w.ask(route.VerbWrite, path, `{"token": "`+info.Token+`"}`, elsewhere); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", path, err)
		}
	}
	if _, err := w.unwrap(info.Token); err != nil {
		t.Errorf("in its own namespace afterwards: %v", err)
	}
}

func TestAnAnswerGoesWithItsToken(t *testing.T) {
	w := newWorld(t)
	info := w.wrap(`{}`)
	if err := w.tokens.Revoke(t.Context(), w.tokens.Handle(info.Token)); err != nil {
		t.Fatal(err)
	}
	w.refused(info.Token)
	if n := w.rows(); n != w.empty {
		t.Errorf("%d rows are left", n-w.empty)
	}
}

func TestOtherTokensUnwrapNothing(t *testing.T) {
	w := newWorld(t)
	_, service, err := w.tokens.Create(t.Context(), token.Entry{NS: store.RootNamespace, TTL: time.Hour, Type: token.Service}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, batch, err := w.tokens.Create(t.Context(), token.Entry{NS: store.RootNamespace, TTL: time.Hour, Type: token.Batch}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	info := w.wrap(`{}`)
	for _, text := range []string{service, batch, "", "x", info.Accessor, info.Token + "x", strings.ToUpper(info.Token), ".."} {
		w.refused(text)
	}
	if _, err := w.tokens.Authenticate(t.Context(), service); err != nil {
		t.Errorf("the service token afterwards: %v", err)
	}
}

func TestAWrappingTokenInAJSONWebToken(t *testing.T) {
	w := newWorld(t)
	asJWT := func(a *wrap.Answer) { a.JWT = true }
	info := w.wrap(`{"data":1}`, asJWT)
	if strings.Count(info.Token, ".") != 2 {
		t.Fatalf("the token has %d dots", strings.Count(info.Token, "."))
	}
	// Whoever has no key must not be able to change or make one.
	part := strings.Split(info.Token, ".")
	_, foreign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	inner := claim(t, part[1])
	w.refused(strings.Join([]string{part[0], part[1], ""}, "."))
	w.refused(strings.Join([]string{part[0], jsonPart(`{"jti":"` + inner + `","x":1}`), part[2]}, "."))
	w.refused(strings.Join([]string{jsonPart(`{"alg":"none"}`), part[1], ""}, "."))
	w.refused(strings.Join([]string{jsonPart(`{"alg":"HS256"}`), part[1], part[2]}, "."))
	w.refused(sign(t, jose.EdDSA, foreign, `{"jti":"`+inner+`"}`))
	w.refused(sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), `{"jti":"`+inner+`"}`))
	w.refused("..")
	w.refused("a.b.c")
	if body, err := w.unwrap(info.Token); err != nil || body != `{"data":1}` {
		t.Errorf("the true one: %q, %v", body, err)
	}
	w.refused(info.Token)
}

func jsonPart(s string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(s))
}

func claim(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	var c struct{ JTI, Type, Accessor string }
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Type != "wrapping" || c.Accessor == "" {
		t.Fatalf("claims of type %q, %v", c.Type, err)
	}
	return c.JTI
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, payload string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWrappingNeedsATime(t *testing.T) {
	w := newWorld(t)
	if _, err := w.ask(route.VerbWrite, "wrapping/wrap", `{"a": 1}`); !errors.Is(err, fault.Invalid) {
		t.Errorf("without a time: %v, want invalid", err)
	}
	reply, err := w.ask(route.VerbWrite, "wrapping/wrap", `{"a": 1}`, func(c *route.Call) { c.WrapTTL = time.Minute })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"a": 1}`, string(reply.Data)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

// FuzzUnwrap presents any text: it is refused, and harms nothing.
func FuzzUnwrap(f *testing.F) {
	w := newWorld(f)
	plain, signed := w.wrap(`{}`), w.wrap(`{}`, func(a *wrap.Answer) { a.JWT = true })
	inner := strings.Split(signed.Token, ".")
	if _, err := w.unwrap(signed.Token); err != nil { // base64 has more than one spelling
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", ".", "..", "...", plain.Token[1:], signed.Token, signed.Token[1:], signed.Token + "x", inner[0] + ".." + inner[2], inner[0] + "." + inner[1] + ".",
		"{\"payload\":\"\"}", jsonPart(`{"alg":"none"}`) + "." + inner[1] + ".",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == plain.Token {
			return
		}
		if _, err := w.unwrap(text); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, want invalid", text, err)
		}
	})
}
