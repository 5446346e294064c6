package identity_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	del    = http.MethodDelete
	list   = "LIST"
	ok     = http.StatusOK
	empty  = http.StatusNoContent
	bad    = http.StatusBadRequest
	denied = http.StatusForbidden
	absent = http.StatusNotFound
)

type object = map[string]any

// site is a server with a directory mounted at auth/dir/ and auth/other/.
type site struct {
	*servertest.Server
	t         testing.TB
	directory *directory
	dir       string // accessor of auth/dir/
	other     string // accessor of auth/other/
}

func newSite(t testing.TB) *site {
	t.Helper()
	d := &directory{groups: map[string][]string{}}
	s := &site{Server: servertest.New(t, servertest.Options{Methods: []authn.Type{d.method()}}), t: t, directory: d}
	s.dir, s.other = s.mount("dir"), s.mount("other")
	return s
}

func (s *site) mount(name string) (accessor string) {
	s.t.Helper()
	s.Must(empty, post, "sys/auth/"+name, object{"type": "directory"})
	accessor, _ = s.Must(ok, get, "sys/auth/"+name, nil).Data()["accessor"].(string)
	return accessor
}

// directory is an auth method that believes what it is told: who logs in, with
// which metadata, and which groups a user is in.
type directory struct {
	mu     sync.Mutex
	groups map[string][]string // guarded by mu; of a user
}

type directoryLogin struct {
	Name     string            `path:"name" doc:"User."`
	Metadata map[string]string `json:"metadata" doc:"Metadata of the alias."`
	Policies []string          `json:"policies" doc:"Policies of the token."`
	Type     string            `json:"type" doc:"Type of the token."`
	Period   int               `json:"period" doc:"Ignored."`
}

func (d *directory) method() authn.Type {
	return authn.Type{
		Name: "directory", Doc: "A directory for tests.",
		New: func(engine.Host) (any, error) { return d, nil },
		Routes: []route.Endpoint{authn.Login("login/{name}", func(d *directory, _ context.Context, _ *route.Call, in directoryLogin) (authn.Identity, error) {
			return authn.Identity{
				Alias: in.Name, AliasMetadata: in.Metadata, DisplayName: in.Name, Groups: d.of(in.Name), Payload: []byte(in.Name),
				Token: authn.TokenParams{Policies: in.Policies, Type: in.Type},
			}, nil
		})},
	}
}

func (d *directory) of(user string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.groups[user])
}

func (d *directory) put(user string, groups ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.groups[user] = groups
}

// Renew lets every token be renewed.
func (d *directory) Renew(context.Context, *route.Call, []byte) (authn.TokenParams, error) {
	return authn.TokenParams{}, nil
}

// Groups says which groups a user is in now.
func (d *directory) Groups(_ context.Context, _ *route.Call, payload []byte) ([]string, error) {
	return d.of(string(payload)), nil
}

// login logs a user in and returns the token and the entity's id.
func (s *site) login(mount, user string, body object) (token, entity string) {
	s.t.Helper()
	auth := s.loginAuth(mount, user, body)
	token, _ = auth["client_token"].(string)
	entity, _ = auth["entity_id"].(string)
	return token, entity
}

func (s *site) loginAuth(mount, user string, body object) object {
	s.t.Helper()
	if body == nil {
		body = object{}
	}
	a := s.Do(post, "auth/"+mount+"/login/"+user, "", body)
	if a.Status != ok {
		s.t.Fatalf("login of %s: %s", user, a)
	}
	auth, _ := a.JSON()["auth"].(object)
	return auth
}

// make writes something new and returns its id.
func (s *site) make(path string, body object) string {
	s.t.Helper()
	id, _ := s.Must(ok, post, path, body).Data()["id"].(string)
	if id == "" {
		s.t.Fatalf("POST %s: no id", path)
	}
	return id
}

// secrets writes secrets at secret/<path> and a policy that reads each, of its
// name.
func (s *site) secrets(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.Must(ok, post, "secret/data/"+name, object{"data": object{"v": "1"}})
		s.Policy(name, fmt.Sprintf(`path "secret/data/%s" { capabilities = ["read"] }`, name))
	}
}

// wantRead checks with which status a token may read a secret.
func (s *site) wantRead(token, name string, status int) {
	s.t.Helper()
	if a := s.Do(get, "secret/data/"+name, token, nil); a.Status != status {
		s.t.Errorf("reading %s: got %s, want status %d", name, a, status)
	}
}

// rows returns every row of identity in the root namespace, in order.
func (s *site) rows() []string {
	s.t.Helper()
	var rows []string
	err := s.Gate().Store.View(s.t.Context(), func(r store.Reader) error {
		rows = nil
		for kind := store.KindEntity; kind <= store.KindIdentityIndex; kind++ {
			for e, err := range r.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, kind))) {
				if err != nil {
					return err
				}
				parts, err := e.Key.Parts()
				if err != nil {
					return err
				}
				rows = append(rows, fmt.Sprintf("%d %q %s", kind, parts, e.Value))
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

// digest names the state of identity: all rows, and what memory makes of the
// entities.
func (s *site) digest(entities ...string) string {
	s.t.Helper()
	sum := sha256.New()
	for _, row := range s.rows() {
		fmt.Fprintln(sum, row)
	}
	for _, id := range entities {
		p, err := s.Gate().Identity.Principal(s.t.Context(), store.RootNamespace, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			fmt.Fprintln(sum, id, "is gone")
		case err != nil:
			s.t.Fatal(err)
		default:
			fmt.Fprintln(sum, p.ID(), p.Disabled(), p.Policies())
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// texts returns a list of strings in an answer.
func texts(v any) []string {
	items, _ := v.([]any)
	list := make([]string, len(items))
	for i, item := range items {
		list[i], _ = item.(string)
	}
	return list
}

// keysOf returns the sorted names of an object's members.
func keysOf(o object) []string {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names
}

// auditLines returns the entries of the audit log that hold a text.
func (s *site) auditLines(fragment string) []object {
	s.t.Helper()
	var found []object
	for line := range strings.SplitSeq(readFile(s.t, s.AuditLog), "\n") {
		if !strings.Contains(line, fragment) {
			continue
		}
		var entry object
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			s.t.Fatal(err)
		}
		found = append(found, entry)
	}
	return found
}
