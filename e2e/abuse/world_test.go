package abuse_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// world is a server with one mount of everything there is.
type world struct {
	*servertest.Server
	t     *testing.T
	Keys  []string // the shares of the unseal key
	Fault *faulty
}

// mounts are the paths of a world's mounts whose endpoints the sweeps attack.
var mounts = []string{"sys/", "auth/token/", "identity/", "cubbyhole/", "secret/", "kv1/", "database/", "pki/", "transit/", "ssh/", "totp/", "auth/userpass/", "auth/approle/",
	"auth/jwt/", "auth/kubernetes/", "auth/cert/", "auth/ldap/",
}

// newWorld starts a server as an operator does: initialise, unseal, mount.
func newWorld(t *testing.T, o servertest.Options) *world {
	t.Helper()
	w := openWorld(t, o)
	a := w.Do(http.MethodPut, "sys/init", "", map[string]any{"secret_shares": 3, "secret_threshold": 2})
	if a.Status != http.StatusOK {
		t.Fatalf("initialising: %s", a)
	}
	for _, k := range list(a.JSON()["keys_base64"]) {
		w.Keys = append(w.Keys, k)
	}
	first, _ := a.JSON()["root_token"].(string)
	w.unseal()
	w.MustAs(first, http.StatusOK, http.MethodPost, "auth/token/create", map[string]any{"id": servertest.RootToken, "policies": []string{"root"}, "no_parent": true})
	for path, body := range map[string]map[string]any{
		"sys/mounts/secret": {"type": "kv", "options": map[string]string{"version": "2"}}, "sys/mounts/kv1": {"type": "kv"},
		"sys/mounts/database": {"type": "database"}, "sys/mounts/pki": {"type": "pki"}, "sys/mounts/transit": {"type": "transit"}, "sys/mounts/ssh": {"type": "ssh"}, "sys/mounts/totp": {"type": "totp"}, "sys/mounts/fault": {"type": "fault"}, "sys/auth/fault": {"type": "fault"},
		"sys/auth/userpass": {"type": "userpass"}, "sys/auth/approle": {"type": "approle"},
		"sys/auth/jwt": {"type": "jwt"}, "sys/auth/kubernetes": {"type": "kubernetes"}, "sys/auth/cert": {"type": "cert"}, "sys/auth/ldap": {"type": "ldap"},
	} {
		w.Must(http.StatusNoContent, http.MethodPost, path, body)
	}
	return w
}

// openWorld starts a server on storage as it is found, sealed.
func openWorld(t *testing.T, o servertest.Options) *world {
	t.Helper()
	f := &faulty{}
	o.Uninitialised = true
	o.Engines, o.Methods = []engine.Type{f.engine()}, []authn.Type{f.method()}
	change := o.Change
	o.Change = func(c *config.Config) {
		c.Storage.Type = orDefault(c.Storage.Type, "inmem")
		c.AllowAPIAuditCreation = true
		if change != nil {
			change(c)
		}
	}
	return &world{Server: servertest.New(t, o), t: t, Fault: f}
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// unseal gives two shares.
func (w *world) unseal() {
	w.t.Helper()
	for _, k := range w.Keys[:2] {
		if a := w.Do(http.MethodPut, "sys/unseal", "", map[string]any{"key": k}); a.Status != http.StatusOK {
			w.t.Fatalf("unsealing: %s", a)
		}
	}
	if w.Gate() == nil {
		w.t.Fatal("the server is sealed after its unsealing")
	}
}

// reseal seals and unseals, so that everything in memory is built anew.
func (w *world) reseal() {
	w.t.Helper()
	w.Must(http.StatusNoContent, http.MethodPut, "sys/seal", nil)
	w.unseal()
}

// endpoint is one attackable endpoint.
type endpoint struct {
	route.Endpoint
	Mount string // "secret/"
	// Path is a path that leads to it, its parameters filled in.
	Path string
}

func (e endpoint) String() string { return method(e.Verb) + " " + e.Mount + e.Pattern }

// mergePatch is the type of body that PATCH takes.
const mergePatch = "application/merge-patch+json"

// ask makes a request of an endpoint.
func (w *world) ask(e endpoint, token string, body any) servertest.Answer {
	w.t.Helper()
	if e.Verb == route.VerbPatch {
		return w.Do(method(e.Verb), e.Path, token, body, "Content-Type", mergePatch)
	}
	return w.Do(method(e.Verb), e.Path, token, body)
}

// method is the HTTP method of a verb.
func method(v route.Verb) string {
	return map[route.Verb]string{
		route.VerbRead: http.MethodGet, route.VerbList: "LIST", route.VerbScan: "SCAN",
		route.VerbWrite: http.MethodPost, route.VerbDelete: http.MethodDelete, route.VerbPatch: http.MethodPatch,
	}[v]
}

// endpoints lists every endpoint of a world, but not those of the fault engine.
func (w *world) endpoints() []endpoint {
	w.t.Helper()
	var all []endpoint
	for _, m := range mounts {
		for _, e := range w.mounted(m).Routes().Endpoints() {
			all = append(all, endpoint{Endpoint: e, Mount: m, Path: fill(m, e.Pattern)})
		}
	}
	if len(all) < 150 {
		w.t.Fatalf("only %d endpoints were found", len(all))
	}
	slices.SortFunc(all, func(a, b endpoint) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func (w *world) mounted(path string) *mount.Mounted {
	w.t.Helper()
	m, _, ok := w.Gate().Mounts.Resolve(store.RootNamespace, path)
	if !ok {
		w.t.Fatalf("no mount at %s", path)
	}
	return m
}

// fill makes a path of a pattern.
func fill(mount, pattern string) string {
	segs := strings.Split(pattern, "/")
	for i, s := range segs {
		if strings.HasPrefix(s, "{") {
			segs[i] = "nobody"
		}
	}
	return mount + strings.Join(segs, "/")
}

// rows returns every row of the store, as it is under the barrier.
func (w *world) rows() map[store.Key]string {
	w.t.Helper()
	all := map[store.Key]string{}
	err := w.Gate().Store.View(context.Background(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			all[e.Key] = string(e.Value)
		}
		return nil
	})
	if err != nil {
		w.t.Fatalf("reading the store: %v", err)
	}
	return all
}

// digest names the content of the store.
func (w *world) digest() string {
	w.t.Helper()
	all := w.rows()
	keys := make([]string, 0, len(all))
	for k := range all {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	h := sha256.New()
	for _, k := range keys {
		sum := sha256.Sum256([]byte(all[store.Key(k)]))
		h.Write([]byte(hex.EncodeToString([]byte(k)) + " " + hex.EncodeToString(sum[:]) + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// difference names the kinds of rows in which two states differ.
func difference(before, after map[store.Key]string) []string {
	var list []string
	note := func(what string, k store.Key) {
		parts, _ := k.Parts()
		list = append(list, what+" mount "+hex.EncodeToString([]byte(k)[8:16])+" kind "+hex.EncodeToString([]byte{byte(k.Kind())})+" "+fmt.Sprintf("%.60q", strings.Join(parts, "|")))
	}
	for k, v := range after {
		if old, ok := before[k]; !ok {
			note("added", k)
		} else if old != v {
			note("changed", k)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			note("removed", k)
		}
	}
	slices.Sort(list)
	if len(list) > 12 {
		list = append(list[:12], "…")
	}
	return list
}

// count counts the rows of a kind of the server's own.
func (w *world) count(kind store.Kind) int {
	w.t.Helper()
	n := 0
	for k := range w.rows() {
		if k.Mount() == store.System && k.Kind() == kind {
			n++
		}
	}
	return n
}

// update changes the store behind the server's back.
func (w *world) update(fn func(store.Txn) error) {
	w.t.Helper()
	if _, err := w.Gate().Store.Update(context.Background(), fn); err != nil {
		w.t.Fatalf("changing the store: %v", err)
	}
}

// login makes a userpass user and returns nothing: logins follow.
func (w *world) user(name, password string, settings map[string]any) {
	w.t.Helper()
	body := map[string]any{"password": password}
	for k, v := range settings {
		body[k] = v
	}
	w.Must(http.StatusNoContent, http.MethodPost, "auth/userpass/users/"+name, body)
}

// auth returns a member of an answer's auth part.
func auth(a servertest.Answer, name string) string {
	part, _ := a.JSON()["auth"].(map[string]any)
	s, _ := part[name].(string)
	return s
}

// create makes a token as root, from a body.
func (w *world) create(body map[string]any) (text, accessor string) {
	w.t.Helper()
	return w.createAs(servertest.RootToken, body)
}

func (w *world) createAs(token string, body map[string]any) (text, accessor string) {
	w.t.Helper()
	a := w.MustAs(token, http.StatusOK, http.MethodPost, "auth/token/create", body)
	return auth(a, "client_token"), auth(a, "accessor")
}

// list reads an array of strings.
func list(v any) []string {
	var out []string
	items, _ := v.([]any)
	for _, i := range items {
		s, _ := i.(string)
		out = append(out, s)
	}
	return out
}

// auditText is what the audit device has written so far.
func (w *world) auditText() string {
	w.t.Helper()
	b, err := os.ReadFile(w.AuditLog)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// eventually waits until a condition holds; what names it in the failure.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("it did not come to pass: %s", what)
		}
	}
}

// breakPolicy damages the stored row of an ACL policy.
func (w *world) breakPolicy(name, value string) {
	w.t.Helper()
	w.update(func(tx store.Txn) error {
		return tx.Put(store.NewKey(store.RootNamespace, store.System, store.KindPolicy, name), []byte(value))
	})
}
