package catalog_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/catalog"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// mounts is a server with kv at secret/ and kv/, and userpass at auth/userpass/.
type mounts struct {
	reloaded []string
	err      error
}

func (m *mounts) ReloadType(_ context.Context, _ *route.Call, pluginType, name string) (int, error) {
	m.reloaded = append(m.reloaded, pluginType+" "+name)
	if name == "kv" {
		return 2, m.err
	}
	return 0, m.err
}

func (m *mounts) ReloadPaths(_ context.Context, _ *route.Call, paths []string) error {
	for _, p := range paths {
		if !slices.Contains([]string{"secret/", "kv/", "auth/userpass/"}, p) {
			return fault.New(fault.NotFound, "")
		}
	}
	m.reloaded = append(m.reloaded, paths...)
	return m.err
}

func setup(t *testing.T) (*enginetest.Mount, *mounts) {
	t.Helper()
	fake := &mounts{}
	c := catalog.New([]catalog.Plugin{
		{Type: catalog.Secret, Name: "kv", Version: "v1.0.0+builtin"},
		{Type: catalog.Database, Name: "postgresql-database-plugin", Version: "v1.0.0+builtin"},
		{Type: catalog.Secret, Name: "cubbyhole", Version: "v1.0.0+builtin", Deprecation: "deprecated"},
		{Type: catalog.Auth, Name: "userpass", Version: "v1.0.0+builtin"},
	}, fake)
	return enginetest.New(t, catalog.Routes, func(engine.Host) (any, error) { return c, nil }), fake
}

func TestTheCatalogueListsWhatIsBuiltIn(t *testing.T) {
	m, _ := setup(t)
	entry := func(kind, name, status string) any {
		return map[string]any{"builtin": true, "deprecation_status": status, "name": name, "type": kind, "version": "v1.0.0+builtin"}
	}
	want := map[string]any{
		"auth": []any{"userpass"}, "database": []any{"postgresql-database-plugin"}, "secret": []any{"cubbyhole", "kv"},
		"detailed": []any{
			entry("auth", "userpass", "supported"), entry("database", "postgresql-database-plugin", "supported"),
			entry("secret", "cubbyhole", "deprecated"), entry("secret", "kv", "supported"),
		},
	}
	if diff := cmp.Diff(want, m.Read("plugins/catalog").Map(t)); diff != "" {
		t.Error("all (-want +got):\n" + diff)
	}
	if diff := cmp.Diff(map[string]any{"keys": []any{"cubbyhole", "kv"}}, m.List("plugins/catalog/secret").Map(t)); diff != "" {
		t.Error("secret (-want +got):\n" + diff)
	}
	kv := map[string]any{
		"args": nil, "builtin": true, "command": "", "declarative": false, "deprecation_status": "supported", "name": "kv", "oci": false, "sha256": "", "version": "v1.0.0+builtin",
	}
	for _, path := range []string{"plugins/catalog/secret/kv", "plugins/catalog/kv", "plugins/catalog/secret/kv?version=v1.0.0%2Bbuiltin"} {
		if diff := cmp.Diff(kv, m.Read(path).Map(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestWhatIsNotInTheCatalogue(t *testing.T) {
	m, _ := setup(t)
	for _, tt := range []struct {
		verb route.Verb
		path string
		want fault.Kind
	}{
		{route.VerbRead, "plugins/catalog/secret/none", fault.NotFound},
		{route.VerbRead, "plugins/catalog/auth/kv", fault.NotFound},
		{route.VerbRead, "plugins/catalog/secret/kv?version=v2.0.0", fault.NotFound},
		{route.VerbRead, "plugins/catalog/none", fault.NotFound},
		{route.VerbRead, "plugins/catalog/bogus/kv", fault.Unsupported},
		{route.VerbList, "plugins/catalog/bogus", fault.Unsupported},
		{route.VerbDelete, "plugins/catalog/bogus/x", fault.Unsupported},
		{route.VerbDelete, "plugins/catalog/secret/kv", fault.Invalid},
		{route.VerbWrite, "plugins/catalog/secret/x", fault.Invalid},
		{route.VerbWrite, "plugins/catalog/secret/kv", fault.Invalid},
	} {
		m.Fails(tt.want, tt.verb, tt.path, nil)
	}
	if !m.Delete("plugins/catalog/secret/none").NoContent {
		t.Error("removing what is not there is not 204")
	}
}

func TestReload(t *testing.T) {
	m, fake := setup(t)
	for _, tt := range []struct {
		body     string
		reloaded []string
		accepted bool
		warnings int
	}{
		{`{"plugin":"kv"}`, []string{"secret kv"}, false, 0},
		{`{"plugin":"kv","scope":"global"}`, []string{"secret kv"}, true, 0},
		{`{"plugin":"userpass"}`, []string{"auth userpass"}, false, 1},
		{`{"mounts":["secret/","kv/"]}`, []string{"secret/", "kv/"}, false, 0},
		{`{"mounts":"auth/userpass/"}`, []string{"auth/userpass/"}, false, 0},
	} {
		fake.reloaded = nil
		r := m.Write("plugins/reload/backend", tt.body)
		if diff := cmp.Diff(tt.reloaded, fake.reloaded); diff != "" || r.Accepted != tt.accepted || len(r.Warnings) != tt.warnings || r.Map(t)["reload_id"] != "test" {
			t.Errorf("%s: accepted %t, warnings %q, data %s (-want +got):\n%s", tt.body, r.Accepted, r.Warnings, r.Data, diff)
		}
	}
	fake.reloaded = nil
	for _, body := range []string{``, `{}`, `{"plugin":"none"}`, `{"plugin":"kv","mounts":["kv/"]}`, `{"mounts":["secret/","none/"]}`, `{"plugin":"kv","scope":"some"}`} {
		m.Fails(fault.Invalid, route.VerbWrite, "plugins/reload/backend", body)
	}
	if fake.reloaded != nil {
		t.Errorf("refused requests reloaded %q", fake.reloaded)
	}
	fake.err = errors.New("closing failed")
	for _, body := range []string{`{"plugin":"kv"}`, `{"mounts":["kv/"]}`} {
		m.Fails(fault.Internal, route.VerbWrite, "plugins/reload/backend", body)
	}
}
