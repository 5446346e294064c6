package settings_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/settings"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

type fixture struct {
	*enginetest.Mount
	noun  *settings.Store
	store store.Store
	clock *clock.Fake
}

func open(t *testing.T, st store.Store, clk clock.Clock) *settings.Store {
	t.Helper()
	s, err := settings.New(t.Context(), settings.Config{
		Store: st, Clock: clk, Log: slog.New(slog.DiscardHandler),
		Sanitized: func() map[string]any { return map[string]any{"log_level": "info"} },
		Reload: map[string]func(context.Context) error{
			"certificates": func(context.Context) error { return nil },
			"broken":       func(context.Context) error { return errors.New("no such file") },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func setup(t *testing.T) fixture {
	t.Helper()
	st := mem.New()
	t.Cleanup(func() { _ = st.Close() })
	f := fixture{store: st, clock: clock.NewFake(time.Time{})}
	f.noun = open(t, st, f.clock)
	f.Mount = enginetest.New(t, settings.Routes, func(engine.Host) (any, error) { return f.noun, nil })
	return f
}

var standard = []any{
	"Content-Type", "Authorization", "X-Vault-Token", "X-Vault-MFA", "X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format",
	"X-Vault-Wrap-TTL", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-Policy-Override",
}

func TestCORSIsInForceWhenTheWriteReturns(t *testing.T) {
	f := setup(t)
	off := map[string]any{"enabled": false}
	if diff := cmp.Diff(off, f.Read("config/cors").Map(t)); diff != "" {
		t.Error("at first (-want +got):\n" + diff)
	}
	r := f.Write("config/cors", `{"allowed_origins":"https://a.example,http://localhost:3000","allowed_headers":["X-Custom","x-vault-token"],"allow_credentials":true}`)
	if !r.NoContent {
		t.Error("a write has an answer, want 204")
	}
	want := map[string]any{
		"enabled": true, "allow_credentials": true, "allowed_origins": []any{"https://a.example", "http://localhost:3000"},
		"allowed_headers": append(standard[:len(standard):len(standard)], "X-Custom"),
	}
	if diff := cmp.Diff(want, f.Read("config/cors").Map(t)); diff != "" {
		t.Error("after the write (-want +got):\n" + diff)
	}
	second := open(t, f.store, f.clock) // another node, or a restart
	if diff := cmp.Diff(f.noun.CORS(), second.CORS()); diff != "" {
		t.Error("opened again (-want +got):\n" + diff)
	}
	f.Delete("config/cors")
	for _, s := range []*settings.Store{f.noun, second} {
		if s.CORS().Enabled {
			t.Error("CORS is still on after its deletion")
		}
	}
	f.Write("config/cors", `{"allowed_origins":["*"]}`)
	f.Write("config/cors", `{"enable":false}`)
	if diff := cmp.Diff(off, f.Read("config/cors").Map(t)); diff != "" {
		t.Error("after enable=false (-want +got):\n" + diff)
	}
}

func TestCORSRefusesWhatCannotBeMeant(t *testing.T) {
	f := setup(t)
	f.Write("config/cors", `{"allowed_origins":["https://a.example"]}`)
	for _, body := range []string{
		`{}`, `{"allowed_origins":[]}`, `{"allowed_origins":["*","https://a.example"]}`, `{"allowed_origins":["*"],"allow_credentials":true}`,
		`{"allowed_origins":["null"]}`, `{"allowed_origins":["https://a.example/"]}`, `{"allowed_origins":["https://A.example"]}`,
		`{"allowed_origins":["https://*.example"]}`, `{"allowed_origins":["https://u@a.example"]}`, `{"allowed_origins":["a.example"]}`,
		`{"allowed_origins":["https://a.example\r\nX: y"]}`, `{"allowed_origins":["https://a.example"],"allowed_headers":["X Y"]}`,
		`{"allowed_origins":["https://a.example"],"allowed_headers":["X\nY"]}`, `{"allowed_origins":{"a":1}}`,
	} {
		if err := f.Fails(fault.Invalid, route.VerbWrite, "config/cors", body); fault.Message(err) == "" {
			t.Errorf("%s: the refusal does not say why", body)
		}
	}
	if got := f.noun.CORS().Origins; !cmp.Equal(got, []string{"https://a.example"}) {
		t.Errorf("origins after refused writes: %q", got)
	}
}

func TestUIHeaders(t *testing.T) {
	f := setup(t)
	f.Fails(fault.Unsupported, route.VerbRead, "config/ui/headers", nil)
	f.Fails(fault.NotFound, route.VerbList, "config/ui/headers", nil)
	r := f.Write("config/ui/headers/x-ui-one", `{"values":["one","two"]}`)
	if r.NoContent || r.Data != nil {
		t.Errorf("a write answers %+v, want an envelope without data", r.Reply)
	}
	f.Write("config/ui/headers/Content-Security-Policy", `{"values":"default-src 'self'"}`)
	for path, want := range map[string]map[string]any{
		"config/ui/headers/X-Ui-One":                  {"value": "one"},
		"config/ui/headers/X-UI-ONE?multivalue=true":  {"values": []any{"one", "two"}},
		"config/ui/headers/X-Ui-One?multivalue=false": {"value": "one"},
	} {
		if diff := cmp.Diff(want, f.Read(path).Map(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	if diff := cmp.Diff(map[string]any{"keys": []any{"Content-Security-Policy", "X-Ui-One"}}, f.List("config/ui/headers").Map(t)); diff != "" {
		t.Error("list (-want +got):\n" + diff)
	}
	second := open(t, f.store, f.clock)
	want := map[string][]string{"X-Ui-One": {"one", "two"}, "Content-Security-Policy": {"default-src 'self'"}}
	if diff := cmp.Diff(want, second.UIHeaders()); diff != "" {
		t.Error("opened again (-want +got):\n" + diff)
	}
	for path, body := range map[string]string{
		"config/ui/headers/X-Vault-Bad": `{"values":["x"]}`,
		"config/ui/headers/x-vault-bad": `{"values":["x"]}`,
		"config/ui/headers/X-None":      `{}`,
		"config/ui/headers/X-Empty":     `{"values":[""]}`,
		"config/ui/headers/X-Split":     `{"values":["a\r\nSet-Cookie: b"]}`,
		"config/ui/headers/X Y":         `{"values":["x"]}`,
	} {
		f.Fails(fault.Invalid, route.VerbWrite, path, body)
	}
	f.Delete("config/ui/headers/X-UI-One")
	f.Delete("config/ui/headers/X-UI-One")
	f.Fails(fault.NotFound, route.VerbRead, "config/ui/headers/X-Ui-One", nil)
	if _, ok := second.UIHeaders()["X-Ui-One"]; ok {
		t.Error("the header is in force after its deletion")
	}
}

func TestVersionHistoryKeepsTheFirstRunOfEachVersion(t *testing.T) {
	f := setup(t)
	f.Fails(fault.Unsupported, route.VerbRead, "version-history", nil)
	record := func(version string, later time.Duration) {
		t.Helper()
		f.clock.Advance(later)
		if err := f.noun.Record(t.Context(), version); err != nil {
			t.Fatal(err)
		}
	}
	record("1.9.0", 0)
	record("1.10.0", time.Hour)
	record("1.9.0", time.Hour)
	record("1.11.0", -5*time.Hour) // the clock was set back
	got := f.List("version-history").Map(t)
	want := map[string]any{
		"keys": []any{"1.9.0", "1.10.0", "1.11.0"},
		"key_info": map[string]any{
			"1.9.0":  map[string]any{"build_date": "", "previous_version": nil, "timestamp_installed": "2026-01-02T03:04:05Z"},
			"1.10.0": map[string]any{"build_date": "", "previous_version": "1.9.0", "timestamp_installed": "2026-01-02T04:04:05Z"},
			"1.11.0": map[string]any{"build_date": "", "previous_version": "1.10.0", "timestamp_installed": "2026-01-02T04:04:05.000000001Z"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestASettingThatCannotBeReadCountsAsNotSet(t *testing.T) {
	f := setup(t)
	f.Write("config/cors", `{"allowed_origins":["https://a.example"]}`)
	key := store.NewKey(store.RootNamespace, store.System, store.KindConfig, "cors")
	if _, err := f.store.Update(t.Context(), func(tx store.Txn) error { return tx.Put(key, []byte("{")) }); err != nil {
		t.Fatal(err)
	}
	if f.noun.CORS().Enabled || open(t, f.store, f.clock).CORS().Enabled {
		t.Error("CORS is on although its setting is damaged")
	}
}

// installed is a store into which a snapshot can be installed: it calls its
// watchers itself.
type installed struct {
	store.Store
	watchers []store.Watcher
	err      error
}

func (s *installed) Watch(w store.Watcher) func() {
	s.watchers = append(s.watchers, w)
	return func() {}
}

func (s *installed) View(ctx context.Context, fn func(store.Reader) error) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.View(ctx, fn)
}

func TestSettingsAreReadAnewWhenASnapshotIsInstalled(t *testing.T) {
	f := setup(t)
	f.Write("config/cors", `{"allowed_origins":["https://a.example"]}`)
	st := &installed{Store: f.store}
	s := open(t, st, f.clock)
	f.Write("config/cors", `{"allowed_origins":["https://b.example"]}`)
	f.Write("config/ui/headers/X-Ui", `{"values":["one"]}`)
	if got := s.CORS().Origins; !cmp.Equal(got, []string{"https://a.example"}) {
		t.Errorf("before the snapshot: %q", got)
	}
	st.watchers[0](store.Commit{Reset: true})
	if got := s.CORS().Origins; !cmp.Equal(got, []string{"https://b.example"}) || len(s.UIHeaders()) != 1 {
		t.Errorf("after the snapshot: %q, %v", got, s.UIHeaders())
	}
	st.err = errors.New("disk failed")
	st.watchers[0](store.Commit{Reset: true})
	if s.CORS().Enabled {
		t.Error("CORS is on although its setting cannot be read")
	}
	if _, err := settings.New(t.Context(), settings.Config{Store: st, Clock: f.clock, Log: slog.New(slog.DiscardHandler)}); !errors.Is(err, st.err) {
		t.Errorf("opened over a failed store: %v", err)
	}
}

func TestReloadReadsOnlyWhatItKnows(t *testing.T) {
	f := setup(t)
	f.Write("config/reload/certificates", nil)
	f.Fails(fault.Internal, route.VerbWrite, "config/reload/broken", nil)
	if err := f.Fails(fault.NotFound, route.VerbWrite, "config/reload/nope", nil); fault.Message(err) != "unsupported path" {
		t.Errorf("unknown subsystem: %q", fault.Message(err))
	}
}

func TestFactsForTheWebInterface(t *testing.T) {
	f := setup(t)
	if got := f.Read("config/state/sanitized").Map(t)["log_level"]; got != "info" {
		t.Errorf("sanitized state: log level %v", got)
	}
	if got := string(f.Read("internal/ui/feature-flags").Raw.Body); got != `{"feature_flags":[]}`+"\n" {
		t.Errorf("feature flags: %s", got)
	}
}

func FuzzCORS(f *testing.F) {
	for _, body := range []string{`{"allowed_origins":["https://a.example"]}`, `{"allowed_origins":"*"}`, `{"allowed_origins":["http://[::1]:80"],"allowed_headers":["X"]}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		m := setup(t)
		if r := m.Call(route.VerbWrite, "config/cors", body); r.Err != nil && fault.KindOf(r.Err) == fault.Internal {
			t.Errorf("%q: %v", body, r.Err)
		}
		for _, o := range m.noun.CORS().Origins {
			for _, b := range []byte(o) {
				if b <= ' ' || b == 0x7f {
					t.Errorf("%q: an origin with the byte %#x was taken", body, b)
				}
			}
		}
	})
}
