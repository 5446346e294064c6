package lockout_test

import (
	"encoding/json"
	"testing"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/authn/approle"
	"github.com/cofferhq/coffer/internal/authn/userpass"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// attempt is a login as a client sends it.
type attempt struct {
	path string
	body map[string]any
}

// counted makes a login the way the gate does: the method names the alias, the
// lockout admits the try, the method judges it.
func counted(t *testing.T, h *house, method *authn.Type, m *enginetest.Mount, a attempt) (judged bool, err error) {
	t.Helper()
	table, err := route.NewTable(method.Routes)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(a.body)
	if err != nil {
		t.Fatal(err)
	}
	c := &route.Call{Verb: route.VerbWrite, Path: a.path, Now: h.clock.Now(), Remote: m.Remote}
	if c.Body, err = wire.ParseObject(raw, wire.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	var match route.Match
	e, _ := table.Find(route.VerbWrite, a.path, &match)
	if e == nil || !e.Login {
		t.Fatalf("%s is no login", a.path)
	}
	c.SetMatch(&match, e)
	alias := m.Instance.(authn.AliasOf).LoginAlias(c)
	try, err := h.Begin(t.Context(), route.Mount{Namespace: 1, Type: method.Name, Accessor: "auth_" + method.Name}, alias)
	if err != nil {
		return false, err
	}
	defer try.Done()
	reply, err := e.Handle(t.Context(), m.Instance, c)
	switch {
	case err == nil && reply.Login.Alias != alias:
		t.Fatalf("the login of %q was counted as one of %q", reply.Login.Alias, alias)
	case err == nil:
		return true, try.Succeeded(t.Context())
	case fault.KindOf(err) == fault.Unauthenticated:
		if ferr := try.Failed(t.Context()); ferr != nil {
			t.Fatal(ferr)
		}
	}
	return true, err
}

// However a name is spelled, it has no more tries than the threshold: each
// spelling is either the same name or no name at all.
func TestSpellingsShareTheirTries(t *testing.T) {
	type method struct {
		kind  *authn.Type
		setUp func(*enginetest.Mount) (good attempt)
		wrong func(spelling string) attempt
		// name is spelled in many ways; right is the way it is stored.
		right     string
		spellings []string
	}
	for _, c := range []method{
		{
			kind: &userpass.Type, right: "bob",
			spellings: []string{
				"bob", "Bob", "bOb", "boB", "BOb", "BoB", "bOB", "BOB", " bob", "bob ", "bob\t", "bob\u00a0", "bob\u200b", "bob\x00", "b\u00f6b", "\uff42ob", "b\u043eb", "bob.", "bob\ufeff",
			},
			setUp: func(m *enginetest.Mount) attempt {
				m.Write("users/bob", map[string]any{"password": "right"})
				return attempt{"login/bob", map[string]any{"password": "right"}}
			},
			wrong: func(spelling string) attempt {
				return attempt{"login/" + spelling, map[string]any{"password": "wrong"}}
			},
		},
		{
			kind: &approle.Type, right: "my-role",
			spellings: []string{
				"my-role", " my-role", "my-role ", "my-role\n", "\tmy-role\r\n", "my-role\u00a0", "my-role\u200b", "my-role\x00", "MY-ROLE", "my\u2010role",
			},
			setUp: func(m *enginetest.Mount) attempt {
				m.Write("role/r", map[string]any{"role_id": "my-role"})
				m.Write("role/r/custom-secret-id", map[string]any{"secret_id": "right"})
				return attempt{"login", map[string]any{"role_id": "my-role", "secret_id": "right"}}
			},
			wrong: func(spelling string) attempt {
				return attempt{"login", map[string]any{"role_id": spelling, "secret_id": "wrong"}}
			},
		},
	} {
		t.Run(c.kind.Name, func(t *testing.T) {
			h := newHouse(t)
			m := enginetest.New(t, c.kind.Routes, c.kind.New)
			good := c.setUp(m)
			if _, err := counted(t, h, c.kind, m, good); err != nil {
				t.Fatal(err)
			}
			judged := 0
			for range 2 {
				for _, spelling := range c.spellings {
					// A spelling that can log in is one of the name; its tries count.
					right := good
					if c.kind == &userpass.Type {
						right.path = "login/" + spelling
					} else {
						right.body = map[string]any{"role_id": spelling, "secret_id": "right"}
					}
					wasJudged, err := counted(t, h, c.kind, m, c.wrong(spelling))
					if err == nil {
						t.Fatalf("%q logged in with a wrong secret", spelling)
					}
					if wasJudged && m.Call(route.VerbWrite, right.path, right.body).Err == nil {
						judged++
					}
				}
			}
			if judged != 5 {
				t.Errorf("%d tries of %q were judged in all spellings together, want 5", judged, c.right)
			}
			if _, err := counted(t, h, c.kind, m, good); fault.KindOf(err) != fault.Denied {
				t.Errorf("the right secret after five wrong ones: %v", err)
			}
		})
	}
}

// A locked user, a user who does not exist and a user who does answer alike at
// every step.
func TestALockDoesNotTellWhoExists(t *testing.T) {
	h := newHouse(t)
	m := enginetest.New(t, userpass.Type.Routes, userpass.Type.New)
	m.Write("users/bob", map[string]any{"password": "right"})
	answers := map[string][]string{}
	for _, name := range []string{"bob", "nobody"} {
		for range 6 {
			_, err := counted(t, h, &userpass.Type, m, attempt{"login/" + name, map[string]any{"password": "wrong"}})
			answers[name] = append(answers[name], fault.KindOf(err).String()+": "+fault.Message(err))
		}
	}
	for i := range answers["bob"] {
		if answers["bob"][i] != answers["nobody"][i] {
			t.Errorf("try %d: a user gets %q, nobody gets %q", i+1, answers["bob"][i], answers["nobody"][i])
		}
	}
}
