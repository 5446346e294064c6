package mount_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestLeaseTimesOfAMount(t *testing.T) {
	tests := []struct {
		name         string
		set          mount.Settings
		wantDef, max time.Duration
	}{
		{"the system's", mount.Settings{}, 32 * day, 32 * day},
		{"its own default", mount.Settings{DefaultTTL: time.Hour}, time.Hour, 32 * day},
		{"its own maximum, below the system's default", mount.Settings{MaxTTL: day}, day, day},
		{"a maximum beyond the system's", mount.Settings{MaxTTL: 100 * day}, 32 * day, 100 * day},
		{"a default beyond the system's maximum, from before that was lowered", mount.Settings{DefaultTTL: 50 * day}, 32 * day, 32 * day},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.Enable(t.Context(), mount.Entry{NS: store.RootNamespace, Path: "a/", Type: "db", Settings: tt.set}); err != nil {
				t.Fatal(err)
			}
			m := w.at("a/").Mount()
			if m.DefaultTTL != tt.wantDef || m.MaxTTL != tt.max {
				t.Errorf("default %v and maximum %v, want %v and %v", m.DefaultTTL, m.MaxTTL, tt.wantDef, tt.max)
			}
		})
	}
}

func TestTuning(t *testing.T) {
	tests := []struct {
		name, body string
		want       mount.Settings
		err        error
	}{
		{name: "nothing", body: `{}`, want: mount.Settings{DefaultTTL: time.Hour}},
		{name: "what clients leave empty", body: `{"default_lease_ttl": ""}`, want: mount.Settings{DefaultTTL: time.Hour}},
		{name: "a number", body: `{"default_lease_ttl": 60}`, want: mount.Settings{DefaultTTL: time.Minute}},
		{name: "back to the system's", body: `{"default_lease_ttl": "system"}`},
		{name: "back to the system's by number", body: `{"default_lease_ttl": -1}`},
		{name: "both times", body: `{"default_lease_ttl": "2h", "max_lease_ttl": "3h"}`, want: mount.Settings{DefaultTTL: 2 * time.Hour, MaxTTL: 3 * time.Hour}},
		{name: "a maximum below the default", body: `{"max_lease_ttl": "1m"}`, err: fault.Invalid},
		{name: "a default beyond the system's maximum", body: `{"default_lease_ttl": "3000h"}`, err: fault.Invalid},
		{name: "no duration", body: `{"default_lease_ttl": "soon"}`, err: fault.Invalid},
		{name: "a negative one", body: `{"default_lease_ttl": "-5s"}`, err: fault.Invalid},
		{name: "visibility", body: `{"listing_visibility": "unauth"}`, want: mount.Settings{DefaultTTL: time.Hour, ListingVisibility: "unauth"}},
		{name: "an unknown visibility", body: `{"listing_visibility": "loud"}`, err: fault.Invalid},
		{name: "an unknown token type", body: `{"token_type": "x"}`, err: fault.Invalid},
		{name: "the token's header", body: `{"passthrough_request_headers": "x-vault-token"}`, err: fault.Invalid},
		{
			name: "audit keys", body: `{"audit_non_hmac_request_keys": "a,b"}`,
			want: mount.Settings{DefaultTTL: time.Hour, AuditRequestKeys: []string{"a", "b"}},
		},
		{
			name: "lockout", body: `{"user_lockout_config": {"lockout_threshold": "3", "lockout_duration": "1m", "lockout_disable": true}}`,
			want: mount.Settings{DefaultTTL: time.Hour, Lockout: &mount.Lockout{Threshold: 3, Duration: time.Minute, Disable: true}},
		},
		{name: "no threshold", body: `{"user_lockout_config": {"lockout_threshold": 0}}`, err: fault.Invalid},
		{name: "a lockout that is no object", body: `{"user_lockout_config": [1]}`, err: fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			before := mount.Settings{DefaultTTL: time.Hour}
			if _, err := w.Enable(t.Context(), mount.Entry{NS: store.RootNamespace, Path: "a/", Type: "db", Settings: before}); err != nil {
				t.Fatal(err)
			}
			_, _, err := w.ask(route.VerbWrite, "mounts/a/tune", tt.body)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			want := tt.want
			if tt.err != nil {
				want = before
			}
			if diff := cmp.Diff(want, w.at("a/").Entry().Settings); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTuningWhatIsNotThere(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.ask(route.VerbWrite, "mounts/x/tune", `{}`); !errors.Is(err, fault.Invalid) {
		t.Errorf("no mount: %v, want invalid", err)
	}
	w.enable("x/", "db")
	w.leases.err = errDown
	_ = w.disable("x/")
	if _, _, err := w.ask(route.VerbWrite, "mounts/x/tune", `{}`); !errors.Is(err, fault.Invalid) {
		t.Errorf("a mount that is being disabled: %v, want invalid", err)
	}
	if !w.at("x/").Entry().Tainted {
		t.Error("tuning has put the mount back into service")
	}
}

func TestVersionsOfAMount(t *testing.T) {
	for _, tt := range []struct {
		mountType, option, want string
	}{
		{"kv", "", "1"},
		{"kv", "1", "1"},
		{"kv", "2", "2"},
		{"kv-v1", "", "1"},
		{"kv-v2", "", "2"},
		{"generic", "", "1"},
	} {
		w := newWorld(t)
		e := mount.Entry{NS: store.RootNamespace, Path: "a/", Type: tt.mountType}
		if tt.option != "" {
			e.Options = map[string]string{"version": tt.option}
		}
		if _, err := w.Enable(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		m := w.at("a/")
		if got := w.instance(m).version; got != tt.want || m.Entry().Type != "kv" {
			t.Errorf("%s with version %q: version %s of %s, want %s of kv", tt.mountType, tt.option, got, m.Entry().Type, tt.want)
		}
	}
}

func TestAVersionGoesUpOnly(t *testing.T) {
	w := newWorld(t)
	m := w.enable("a/", "kv")
	old := w.instance(m)
	_, warnings, err := w.ask(route.VerbWrite, "mounts/a/tune", `{"options": {"version": "2"}}`)
	if err != nil || len(warnings) != 1 {
		t.Fatalf("upgrading: %v, %d warnings", err, len(warnings))
	}
	if got := w.instance(m).version; got != "2" {
		t.Errorf("version %s serves after the upgrade", got)
	}
	if old.closings() != 1 {
		t.Error("the old version's instance was not closed")
	}
	for _, body := range []string{`{"options": {"version": "1"}}`, `{"options": {"version": "9"}}`} {
		if _, _, err := w.ask(route.VerbWrite, "mounts/a/tune", body); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", body, err)
		}
	}
	if got := w.instance(m).version; got != "2" {
		t.Errorf("version %s serves in the end", got)
	}
}

func TestMovesCanBeAskedAboutForAWhile(t *testing.T) {
	w := newWorld(t)
	w.enable("a/", "db")
	answer := w.answer(route.VerbWrite, "remount", `{"from": "a", "to": "b"}`)
	id, _ := answer["migration_id"].(string)
	status := w.answer(route.VerbRead, "remount/status/"+id, "")
	want := map[string]any{"migration_id": id, "migration_info": map[string]any{"source_mount": "a/", "status": "success", "target_mount": "b/"}}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if _, _, err := w.ask(route.VerbRead, "remount/status/unknown", ""); !errors.Is(err, fault.NotFound) {
		t.Errorf("an unknown move: %v, want not found", err)
	}
	at := []string{"b", "a"}
	for i := range 150 {
		w.answer(route.VerbWrite, "remount", `{"from": "`+at[i%2]+`", "to": "`+at[(i+1)%2]+`"}`)
	}
	if n := w.kind(store.KindMigration); n > 100 {
		t.Errorf("%d moves are kept", n)
	}
}
