package abuse_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// wire sends a request line that no HTTP library would and returns the status.
func (w *world) wire(verb, target, token string) int {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.Addr, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: coffer\r\nX-Vault-Token: %s\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", verb, target, token); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("%s %s: %v", verb, target, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// spellings lead from mine/ to theirs/ if anything is cleaned, decoded twice or
// folded on the way; %s is the text before, "secret/metadata/mine".
var spellings = []string{
	"%s/../theirs", "%s/%%2e%%2e/theirs", "%s/%%2E%%2E/theirs", "%s/.%%2e/theirs", "%s/%%2e./theirs",
	"%s/..%%2ftheirs", "%s/%%2e%%2e%%2ftheirs", "%s%%2f..%%2ftheirs", "%s%%2f%%2e%%2e%%2ftheirs", "%s/..%%5ctheirs", "%s/%%2e%%2e%%5ctheirs",
	"%s\\..\\theirs", "%s/..\\theirs", "%s/%%252e%%252e/theirs", "%s/%%252e%%252e%%252ftheirs", "%s/..%%252ftheirs", "%s/%%25%%32%%65%%25%%32%%65/theirs",
	"%s/./../theirs", "%s/x/../../theirs", "%s//../theirs", "%s/..//theirs", "%s/;/../theirs", "%s/..;/../theirs", "%s/%%00/../theirs", "%s/..%%00/theirs",
	"%s/..%%0d%%0a/theirs", "%s/%%c0%%ae%%c0%%ae/theirs", "%s/%%c0%%ae%%c0%%ae%%c0%%aftheirs", "%s/%%e0%%80%%ae%%e0%%80%%ae/theirs", "%s/%%fe%%80/theirs",
	"%s/.", "%s/..", "%s/./x", "%s//x", "%s/%%2f/x", "%s/%%2fx", "%s/x%%2f%%2fy", "%s/%%09x", "%s/x%%7f", "%s/%%c2%%85x", "%s/%%e2%%80%%a8x", "%s/%%ef%%bb%%bfx",
	"%s/..%%2f..%%2f..%%2fsys%%2fraw", "/%s", "%s/../mine/../theirs",
}

// TestA6_T14_PathsAreRefusedNotCleaned sends every spelling on every verb, to
// every kind of path of both versions of KV, to names in sys/ and to auth
// methods, by a caller whose policy covers mine/ only.
func TestA6_T14_PathsAreRefusedNotCleaned(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/theirs", map[string]any{"data": map[string]string{"k": "v"}})
	w.Must(http.StatusNoContent, http.MethodPost, "kv1/theirs", map[string]string{"k": "v"})
	w.Policy("mine", `
		path "secret/+/mine/*" { capabilities = ["create", "read", "update", "delete", "list", "patch", "scan"] }
		path "kv1/mine/*" { capabilities = ["create", "read", "update", "delete", "list", "patch", "scan"] }
		path "sys/policies/acl/mine/*" { capabilities = ["create", "read", "update", "delete", "list"] }
		path "auth/userpass/users/mine/*" { capabilities = ["create", "read", "update", "delete", "list"] }
		path "cubbyhole/mine/*" { capabilities = ["create", "read", "update", "delete", "list"] }`)
	token := w.Token("mine")
	before := w.rows()
	bases := []string{
		"secret/data/mine", "secret/metadata/mine", "secret/delete/mine", "secret/undelete/mine", "secret/destroy/mine", "secret/subkeys/mine",
		"secret/detailed-metadata/mine", "kv1/mine", "cubbyhole/mine", "sys/policies/acl/mine", "auth/userpass/users/mine",
	}
	verbs := []string{http.MethodGet, "LIST", "SCAN", http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch}
	for _, base := range bases {
		for _, s := range spellings {
			target := "/v1/" + fmt.Sprintf(s, base)
			for _, verb := range verbs {
				for _, as := range []string{token, servertest.RootToken} {
					if got := w.wire(verb, target, as); got != http.StatusBadRequest {
						t.Errorf("%s %s: got %d, want 400", verb, target, got)
					}
				}
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// TestA6_EncodedNamesAreOneName: a harmless escape is the same name, for the
// policy as for the storage.
func TestA6_EncodedNamesAreOneName(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("all-but-theirs", `path "secret/*" { capabilities = ["read"] } path "secret/data/theirs" { capabilities = ["deny"] }`)
	token := w.Token("all-but-theirs")
	w.Must(http.StatusOK, http.MethodPost, "secret/data/theirs", map[string]any{"data": map[string]string{"k": "v"}})
	for _, name := range []string{"theirs", "%74heirs", "t%68eirs", "%74%68%65%69%72%73"} {
		for _, prefix := range []string{"secret/data/", "secret%2fdata%2f", "%73ecret/dat%61/"} {
			if got := w.wire(http.MethodGet, "/v1/"+prefix+name, token); got != http.StatusForbidden {
				t.Errorf("GET %s%s: got %d, want 403", prefix, name, got)
			}
			if got := w.wire(http.MethodGet, "/v1/"+prefix+name, servertest.RootToken); got != http.StatusOK {
				t.Errorf("GET %s%s as root: got %d, want 200", prefix, name, got)
			}
		}
	}
}

// TestA1_NamesHaveOneSpelling: a deny on the canonical name of a thing holds
// for every spelling that leads to it. The names of HTTP headers below
// sys/config/ are not here: they are one name in any case (RFC 9110), and their
// endpoints demand sudo.
func TestA1_NamesHaveOneSpelling(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	type named struct {
		path string
		body map[string]any
		verb string // by which it is made
	}
	resources := map[string]named{
		"user":            {"auth/userpass/users/", map[string]any{"password": "first-password"}, http.MethodPost},
		"approle":         {"auth/approle/role/", map[string]any{"token_policies": "x"}, http.MethodPost},
		"jwt role":        {"auth/jwt/role/", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "x"}, http.MethodPost},
		"kubernetes role": {"auth/kubernetes/role/", map[string]any{"bound_service_account_names": "x", "bound_service_account_namespaces": "x"}, http.MethodPost},
		"certificate":     {"auth/cert/certs/", map[string]any{"certificate": certificate(t)}, http.MethodPost},
		"directory group": {"auth/ldap/groups/", map[string]any{"policies": "x"}, http.MethodPost},
		"directory user":  {"auth/ldap/users/", map[string]any{"policies": "x"}, http.MethodPost},
		"token role":      {"auth/token/roles/", map[string]any{"allowed_policies": "x"}, http.MethodPost},
		"policy":          {"sys/policies/acl/", map[string]any{"policy": `path "x" { capabilities = ["read"] }`}, http.MethodPost},
		"old policy":      {"sys/policy/", map[string]any{"policy": `path "x" { capabilities = ["read"] }`}, http.MethodPost},
		"password policy": {"sys/policies/password/", map[string]any{"policy": `length = 20 rule "charset" { charset = "abcdefghij" }`}, http.MethodPost},
		"secret":          {"secret/data/", map[string]any{"data": map[string]string{"k": "v"}}, http.MethodPost},
		"v1 secret":       {"kv1/", map[string]any{"k": "v"}, http.MethodPost},
		"mount":           {"sys/mounts/", map[string]any{"type": "kv"}, http.MethodPost},
		"auth mount":      {"sys/auth/", map[string]any{"type": "userpass"}, http.MethodPost},
	}
	spelt := []string{"ADMIN", "Admin", "aDmIn", "admin%20", "%20admin", "admin%09", "admin.", "admin%2e", "%61dmin", "admin/", "admin%2f", "admin%00", "admin%c2%a0", "adm%C4%B1n", "%ef%bd%81dmin", "admi%cc%87n", "admin%e2%80%8b"}
	for name, r := range resources {
		t.Run(name, func(t *testing.T) {
			if a := w.Do(r.verb, r.path+"admin", servertest.RootToken, r.body); a.Status/100 != 2 {
				t.Fatalf("making it: %s", a)
			}
			w.Policy("guard", fmt.Sprintf(`path "%[1]s*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] } path "%[1]sadmin" { capabilities = ["deny"] } path "%[1]sadmin/*" { capabilities = ["deny"] }`, r.path))
			token := w.Token("guard")
			mine := w.row(r.path + "admin")
			for _, s := range spelt {
				for _, verb := range []string{http.MethodPost, http.MethodDelete} {
					_ = w.wire(verb, "/v1/"+r.path+s, token)
					if a := w.row(r.path + "admin"); a != mine {
						t.Errorf("%s of %q has changed the thing called admin: %s, was %s", verb, s, a, mine)
					}
				}
			}
			// Whatever those made under names of their own is theirs alone; a
			// read of the guarded name is still refused.
			if got := w.wire(http.MethodGet, "/v1/"+r.path+"admin", token); got != http.StatusForbidden {
				t.Errorf("reading the guarded name: got %d, want 403", got)
			}
		})
	}
}

// row reads a thing as root, without what differs from request to request.
func (w *world) row(path string) string {
	w.t.Helper()
	a := w.Must(http.StatusOK, http.MethodGet, path, nil)
	m := a.JSON()
	delete(m, "request_id")
	return fmt.Sprint(m)
}

// TestA2_ListingIsJudgedByThePathItself: a deny on a folder holds for its
// listing, with and without a slash, though its parent may be listed.
func TestA2_ListingIsJudgedByThePathItself(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	for _, path := range []string{"secret/data/private/a", "secret/data/private/deep/b", "secret/data/open/c"} {
		w.Must(http.StatusOK, http.MethodPost, path, map[string]any{"data": map[string]string{"k": "v"}})
	}
	for _, path := range []string{"kv1/private/a", "kv1/private/deep/b", "kv1/open/c"} {
		w.Must(http.StatusNoContent, http.MethodPost, path, map[string]string{"k": "v"})
	}
	for _, deny := range []string{`path "%sprivate/*" { capabilities = ["deny"] }`, `path "%sprivate*" { capabilities = ["deny"] }`} {
		var text strings.Builder
		for _, m := range []string{"secret/metadata/", "secret/detailed-metadata/", "kv1/"} {
			fmt.Fprintf(&text, `path "%s*" { capabilities = ["list", "scan"] }`+"\n", m)
			fmt.Fprintf(&text, deny+"\n", m)
		}
		w.Policy("lister", text.String())
		token := w.Token("lister")
		for _, m := range []string{"secret/metadata/", "secret/detailed-metadata/", "kv1/"} {
			for _, path := range []string{"private", "private/", "private/deep", "private/deep/"} {
				for _, verb := range []string{"LIST", "SCAN"} {
					if a := w.Do(verb, m+path, token, nil); a.Status != http.StatusForbidden {
						t.Errorf("%s %s%s under %s: got %s, want 403", verb, m, path, deny, a)
					}
				}
				for _, q := range []string{"?list=true", "?list=1", "?scan=true", "?list=true&after=a&limit=1"} {
					if a := w.Do(http.MethodGet, m+path+q, token, nil); a.Status != http.StatusForbidden {
						t.Errorf("GET %s%s%s under %s: got %s, want 403", m, path, q, deny, a)
					}
				}
			}
		}
	}
}

// TestA7_NamespacesDoNotAppearUnderPaths: a policy that happens to name what is later a
// mount's or a namespace's path gives nothing there to which its token has no
// other right.
func TestA7_NamespacesDoNotAppearUnderPaths(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("nested", `path "ns1/secret/*" { capabilities = ["read", "list"] }`)
	token := w.Token("nested")
	w.Must(http.StatusOK, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": "v"}})
	for _, header := range []string{"ns1", "ns1/", "/ns1", "root/ns1", "../root", "root%2f"} {
		if a := w.Do(http.MethodGet, "secret/data/x", token, nil, "X-Vault-Namespace", header); a.Status/100 == 2 {
			t.Errorf("namespace %q: got %s, want a refusal", header, a)
		}
	}
	if a := w.Do(http.MethodGet, "ns1/secret/data/x", token, nil); a.Status/100 == 2 {
		t.Errorf("namespace in the path: got %s, want a refusal", a)
	}
}

// TestA3_BrokenPolicyCloses: a stored policy that cannot be read any more
// closes every request of whoever holds it, also those that another policy
// allows.
func TestA3_BrokenPolicyCloses(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("wide", `path "secret/*" { capabilities = ["read", "create", "update"] }`)
	w.Policy("deny", `path "secret/data/theirs" { capabilities = ["deny"] }`)
	token, _ := w.create(map[string]any{"policies": []string{"wide", "deny"}})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/theirs", map[string]any{"data": map[string]string{"k": "v"}})
	w.MustAs(token, http.StatusForbidden, http.MethodGet, "secret/data/theirs", nil)
	for what, value := range map[string]string{"garbled": "\x00garbled", "another shape": `[]`, "no text": `{}`, "text that does not parse": `{"text":"path {"}`} {
		w.breakPolicy("deny", value)
		for _, path := range []string{"secret/data/theirs", "secret/data/mine"} {
			if a := w.Do(http.MethodGet, path, token, nil); a.Status/100 == 2 || a.Status == http.StatusNotFound {
				t.Errorf("%s row, GET %s: got %s, want a refusal", what, path, a)
			}
		}
	}
}

// TestA12_LimitsOfListings: a policy's page size cannot be escaped.
func TestA12_LimitsOfListings(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	for i := range 30 {
		w.Must(http.StatusOK, http.MethodPost, fmt.Sprintf("secret/data/s%02d", i), map[string]any{"data": map[string]string{"k": "v"}})
		w.Must(http.StatusNoContent, http.MethodPost, fmt.Sprintf("kv1/s%02d", i), map[string]string{"k": "v"})
	}
	w.Policy("pages", `
		path "secret/*" { capabilities = ["list", "scan"] pagination_limit = 10 }
		path "kv1/*" { capabilities = ["list", "scan"] pagination_limit = 10 }`)
	token := w.Token("pages")
	for _, path := range []string{"secret/metadata/", "secret/detailed-metadata/", "kv1/"} {
		for _, limit := range []string{"", "0", "-1", "1", "10", "11", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "1e3", "0x7fffffff", "10 ", "٣٠", "null"} {
			for _, verb := range []string{"LIST", "SCAN", "GET list", "GET scan"} {
				q := "?limit=" + url.QueryEscape(limit)
				m := verb
				if name, ok := strings.CutPrefix(verb, "GET "); ok {
					m, q = http.MethodGet, q+"&"+name+"=true"
				}
				for _, more := range []string{"", "&limit=1000", "&after=s01"} {
					a := w.Do(m, path+q+more, token, nil)
					keys := list(a.Data()["keys"])
					if a.Status/100 == 5 || a.Status == http.StatusOK && (len(keys) > 10 || len(keys) == 0) {
						t.Errorf("%s %s%s%s: got status %d with %d keys, want at most 10 or a refusal", verb, path, q, more, a.Status, len(keys))
					}
				}
			}
		}
	}
}

// TestA11_DenialLeaksNothing judges a million denied requests, of a stranger
// and of a caller without the right, and looks at the heap.
func TestA11_DenialLeaksNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("a million requests")
	}
	w := newWorld(t, servertest.Options{NoAudit: true})
	w.Policy("little", `path "secret/data/mine/*" { capabilities = ["read"] }`)
	token := w.Token("little")
	g := w.Gate()
	ask := func(n int) {
		for i := range n {
			r := &gate.Request{
				ID: "id", Namespace: namespace.Root, Verb: route.VerbRead, Path: fmt.Sprintf("secret/data/theirs/%d", i%100_000),
				Headers: func(string) []string { return nil },
			}
			switch i % 3 {
			case 0:
				r.Token = token
			case 1:
				r.Token = fmt.Sprintf("wrong-%d", i)
			}
			if a := g.Serve(context.Background(), r); a.Err == nil {
				t.Fatal("a request was let through")
			}
		}
	}
	ask(50_000)
	before := heap()
	ask(1_000_000)
	after := heap()
	if slack := before / 20; after > before+slack {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
