package server_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// TestTokensOfAnAlias: a role may tie its tokens to entities by their aliases at
// the token method; the entity's policies are the tokens' then.
func TestTokensOfAnAlias(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	s.Policy("app", `path "secret/data/app" { capabilities = ["read"] }`)
	s.Must(http.StatusOK, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{"a": "b"}})
	s.Must(http.StatusNoContent, http.MethodPost, "auth/token/roles/app", map[string]any{"allowed_entity_aliases": []string{"app-*", "Exact"}, "allowed_policies": "default", "orphan": true})
	s.Must(http.StatusNoContent, http.MethodPost, "auth/token/roles/none", map[string]any{"allowed_policies": "default"})
	for _, tt := range []struct {
		path, alias string
		status      int
	}{
		{"auth/token/create", "app-1", 400}, {"auth/token/create-orphan", "app-1", 400}, {"auth/token/create/none", "app-1", 400},
		{"auth/token/create/app", "other", 400}, {"auth/token/create/app", "my-app-1", 400}, {"auth/token/create/app", "exact", 200}, {"auth/token/create/app", "app-1", 200},
	} {
		a := s.Do(http.MethodPost, tt.path, servertest.RootToken, map[string]any{"entity_alias": tt.alias})
		if a.Status != tt.status {
			t.Errorf("%s with %q: got %s, want %d", tt.path, tt.alias, a, tt.status)
		}
	}
	create := func(alias string, batch bool) (text, entity string) {
		t.Helper()
		body := map[string]any{"entity_alias": alias}
		if batch {
			body["type"] = "batch"
		}
		a := s.Must(http.StatusOK, http.MethodPost, "auth/token/create/app", body)
		auth, _ := a.JSON()["auth"].(map[string]any)
		text, _ = auth["client_token"].(string)
		entity, _ = auth["entity_id"].(string)
		return text, entity
	}
	first, entity := create("app-2", false)
	second, same := create("APP-2", false)
	third, batch := create("app-2", true)
	if entity == "" || same != entity || batch != entity {
		t.Errorf("the entities are %q, %q and %q", entity, same, batch)
	}
	if _, other := create("app-3", false); other == entity {
		t.Error("two aliases have one entity")
	}
	for status, policies := range map[int][]string{http.StatusOK: {"app"}, http.StatusForbidden: {}} {
		s.Must(http.StatusNoContent, http.MethodPost, "identity/entity/id/"+entity, map[string]any{"policies": policies})
		for _, text := range []string{first, second, third} {
			s.MustAs(text, status, http.MethodGet, "secret/data/app", nil)
		}
	}
	s.Must(http.StatusNoContent, http.MethodPost, "identity/entity/id/"+entity, map[string]any{"disabled": true})
	s.MustAs(first, http.StatusForbidden, http.MethodGet, "auth/token/lookup-self", nil)
	if a := s.Do(http.MethodPost, "auth/token/create/app", servertest.RootToken, map[string]any{"entity_alias": "app-2"}); a.Status != http.StatusForbidden {
		t.Errorf("a token of a disabled entity: %s", a)
	}
}
