package kubernetes_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/authn/kubernetes"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/k8stest"
	"github.com/cofferhq/coffer/internal/route"
)

type object = map[string]any

// cluster is a mount that trusts an API server with the service account
// apps/web, and a reviewer.
type cluster struct {
	*enginetest.Mount
	server *k8stest.Server
	uid    string // of apps/web
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{Mount: enginetest.New(t, kubernetes.Type.Routes, kubernetes.TypeIn(t.TempDir()).New)}
	c.server = k8stest.New(t, c.Clock.Now)
	c.uid = c.server.ServiceAccount("apps", "web")
	c.server.ServiceAccount("infra", "reviewer")
	c.server.Namespace("apps", map[string]string{"team": "a", "env": "prod"})
	c.server.AllowReviews("system:serviceaccount:infra:reviewer")
	c.configure(nil)
	return c
}

// configure writes the configuration, with changes.
func (c *cluster) configure(changes object) {
	body := object{
		"kubernetes_host": c.server.URL, "kubernetes_ca_cert": c.server.CAPEM, "disable_local_ca_jwt": true,
		"token_reviewer_jwt": c.server.Token("infra", "reviewer", time.Hour),
	}
	for k, v := range changes {
		body[k] = v
	}
	c.Write("config", body)
}

// role writes the role "web", with changes.
func (c *cluster) role(changes object) {
	body := object{"bound_service_account_names": "web", "bound_service_account_namespaces": "apps", "token_policies": "web", "token_ttl": "10m"}
	for k, v := range changes {
		body[k] = v
	}
	c.Delete("role/web")
	c.Write("role/web", body)
}

func (c *cluster) login(token string) enginetest.Result {
	return c.Call(route.VerbWrite, "login", object{"role": "web", "jwt": token})
}

func TestALoginSaysWhoTheCallerIs(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	about := map[string]string{"service_account_name": "web", "service_account_namespace": "apps", "service_account_uid": c.uid, "service_account_secret_name": ""}
	metadata := map[string]string{"role": "web"}
	for k, v := range about {
		metadata[k] = v
	}
	want := &authn.Identity{
		DisplayName: "apps-web", Alias: c.uid, AliasMetadata: about, Metadata: metadata,
		Token: authn.TokenParams{Policies: []string{"web"}, TTL: 10 * time.Minute}, Payload: []byte(`{"role":"web"}`),
	}
	token := c.server.Token("apps", "web", time.Hour)
	if diff := cmp.Diff(want, c.Write("login", object{"role": "WEB", "jwt": token + "\n"}).Login); diff != "" {
		t.Error(diff)
	}
	c.role(object{"alias_name_source": "serviceaccount_name"})
	if r := c.login(token); r.Err != nil || r.Login.Alias != "apps/web" {
		t.Errorf("by name: %v", r.Err)
	}
	c.server.Put("secrets", "apps", "web-token", "")
	r := c.login(c.server.LegacyToken("apps", "web", "web-token"))
	if r.Err != nil || r.Login.Metadata["service_account_secret_name"] != "web-token" {
		t.Errorf("a token of the older kind: %v", r.Err)
	}
}

// TestWhatARoleIsBoundToBinds has a login that passes and one that does not for
// each setting that binds.
func TestWhatARoleIsBoundToBinds(t *testing.T) {
	c := newCluster(t)
	c.server.ServiceAccount("apps", "db")
	c.server.ServiceAccount("other", "web")
	c.server.Namespace("other", map[string]string{"team": "b"})
	c.server.AllowReads("system:serviceaccount:infra:reviewer")
	web := c.server.Token("apps", "web", time.Hour)
	vault := c.server.Token("apps", "web", time.Hour, "vault", "x")
	for name, tt := range map[string]struct {
		role  object
		token string
		ok    bool
	}{
		"name and namespace":               {nil, web, true},
		"another name":                     {nil, c.server.Token("apps", "db", time.Hour), false},
		"another namespace":                {nil, c.server.Token("other", "web", time.Hour), false},
		"name in other case":               {object{"bound_service_account_names": "Web"}, web, false},
		"name as prefix":                   {object{"bound_service_account_names": "we"}, web, false},
		"globs":                            {object{"bound_service_account_names": "w*", "bound_service_account_namespaces": "*pp*"}, web, true},
		"any name":                         {object{"bound_service_account_names": "*"}, web, true},
		"any namespace":                    {object{"bound_service_account_namespaces": "*"}, web, true},
		"glob of other namespaces":         {object{"bound_service_account_namespaces": "app-*"}, web, false},
		"selector":                         {object{"bound_service_account_namespaces": []string{}, "bound_service_account_namespace_selector": `{"matchLabels": {"team": "a"}}`}, web, true},
		"selector of others":               {object{"bound_service_account_namespaces": []string{}, "bound_service_account_namespace_selector": `{"matchLabels": {"team": "b"}}`}, web, false},
		"selector of others, but named":    {object{"bound_service_account_namespace_selector": `{"matchLabels": {"team": "b"}}`}, web, true},
		"selected, another named":          {object{"bound_service_account_namespaces": "x", "bound_service_account_namespace_selector": "matchLabels:\n  team: a\n"}, web, true},
		"audience":                         {object{"audience": "vault"}, vault, true},
		"another audience":                 {object{"audience": "vault2"}, vault, false},
		"audience in other case":           {object{"audience": "Vault"}, vault, false},
		"audience that the token lacks":    {object{"audience": "vault"}, web, false},
		"no audience asked, token for one": {nil, vault, false},
		"address":                          {object{"token_bound_cidrs": "127.0.0.0/8"}, web, true},
		"another address":                  {object{"token_bound_cidrs": "192.0.2.0/24"}, web, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.role(tt.role)
			c.Remote = netip.MustParseAddr("127.0.0.1")
			r := c.login(tt.token)
			if (r.Err == nil) != tt.ok {
				t.Errorf("got %v", r.Err)
			}
			if r.Err != nil && !errors.Is(r.Err, fault.Denied) {
				t.Errorf("the refusal is of kind %v", fault.KindOf(r.Err))
			}
		})
	}
}

func TestTokensThatTheClusterRefuses(t *testing.T) {
	c := newCluster(t)
	c.role(object{"bound_service_account_names": "*"})
	c.server.ServiceAccount("apps", "gone")
	gone := c.server.Token("apps", "gone", time.Hour)
	c.server.Delete("serviceaccounts/apps/gone")
	c.server.ServiceAccount("apps", "again")
	again := c.server.Token("apps", "again", time.Hour)
	c.server.ServiceAccount("apps", "again")
	c.server.User("alice-token", "alice", "1")
	elsewhere := k8stest.New(t, c.Clock.Now)
	elsewhere.ServiceAccount("apps", "web")
	old := c.server.Token("apps", "web", time.Minute)
	c.Clock.Advance(10 * time.Minute)
	for name, token := range map[string]string{
		"service account is gone":       gone,
		"service account was made anew": again,
		"expired":                       old,
		"of another cluster":            elsewhere.Token("apps", "web", time.Hour),
		"of a user":                     "alice-token",
		"text":                          "junk",
		"with a header injected":        "a.b.c\r\nX: y",
		"without signature":             "eyJhbGciOiJub25lIn0.e30.",
		"far too long":                  strings.Repeat("a", 1<<17),
	} {
		if r := c.login(token); !errors.Is(r.Err, fault.Denied) || fault.Message(r.Err) != "permission denied" {
			t.Errorf("%s: got %v", name, r.Err)
		}
	}
	c.Fails(fault.Invalid, route.VerbWrite, "login", object{"role": "web"})
	c.Fails(fault.Invalid, route.VerbWrite, "login", object{"jwt": gone})
	c.Fails(fault.Invalid, route.VerbWrite, "login", object{"role": "none", "jwt": gone})
}

// A login that the role would refuse by what the token itself says is not worth
// a question.
func TestHopelessLoginsDoNotReachTheCluster(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	c.server.ServiceAccount("apps", "db")
	c.server.ServiceAccount("other", "web")
	for _, token := range []string{"junk", c.server.Token("apps", "db", time.Hour), c.server.Token("other", "web", time.Hour)} {
		if r := c.login(token); r.Err == nil {
			t.Error("the login was granted")
		}
	}
	if n := c.server.Reviews.Load(); n != 0 {
		t.Errorf("the API server was asked %d times", n)
	}
}

func TestWhoAsks(t *testing.T) {
	folder := t.TempDir()
	m := enginetest.New(t, kubernetes.Type.Routes, kubernetes.TypeIn(folder).New)
	server := k8stest.New(t, m.Clock.Now)
	server.ServiceAccount("apps", "web")
	server.ServiceAccount("infra", "coffer")
	c := &cluster{Mount: m, server: server}
	web := server.Token("apps", "web", time.Hour)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.role(nil)
	c.configure(object{"token_reviewer_jwt": "", "kubernetes_ca_cert": "", "disable_local_ca_jwt": false})

	// Outside of a pod the client's own token asks, of a server that shows a
	// certificate the system knows; this one does not.
	if r := c.login(web); !errors.Is(r.Err, fault.Upstream) {
		t.Errorf("a certificate that nobody has vouched for: %v", r.Err)
	}
	write("ca.crt", server.CAPEM)
	if r := c.login(web); !errors.Is(r.Err, fault.Denied) {
		t.Errorf("a client without the right to review: %v", r.Err)
	}
	server.AllowReviews("system:serviceaccount:apps:web")
	if r := c.login(web); r.Err != nil {
		t.Errorf("a client that may review: %v", r.Err)
	}
	write("token", server.Token("infra", "coffer", time.Hour)+"\n")
	if r := c.login(web); !errors.Is(r.Err, fault.Upstream) || !strings.Contains(fault.Message(r.Err), "system:auth-delegator") {
		t.Errorf("a pod without the right to review: %v", r.Err)
	}
	server.AllowReviews("system:serviceaccount:infra:coffer")
	if r := c.login(web); r.Err != nil {
		t.Errorf("a pod that may review: %v", r.Err)
	}
	c.Clock.Advance(2 * time.Hour)
	web = server.Token("apps", "web", time.Hour)
	if r := c.login(web); !errors.Is(r.Err, fault.Upstream) {
		t.Errorf("a pod's token that has expired: %v", r.Err)
	}
	write("token", server.Token("infra", "coffer", time.Hour)) // as the kubelet does
	if r := c.login(web); r.Err != nil {
		t.Errorf("a pod's token that was replaced: %v", r.Err)
	}
	c.configure(object{"token_reviewer_jwt": "", "kubernetes_ca_cert": server.CAPEM, "disable_local_ca_jwt": true})
	if r := c.login(web); r.Err != nil {
		t.Errorf("the pod is not to be used, and the client may review: %v", r.Err)
	}
}

func TestSelectorsNeedTheRightToReadNamespaces(t *testing.T) {
	c := newCluster(t)
	c.role(object{"bound_service_account_namespaces": []string{}, "bound_service_account_namespace_selector": `{"matchLabels": {"team": "a"}}`})
	r := c.login(c.server.Token("apps", "web", time.Hour))
	if !errors.Is(r.Err, fault.Upstream) || !strings.Contains(fault.Message(r.Err), "namespaces") {
		t.Errorf("got %v", r.Err)
	}
}

func TestAClusterThatFails(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	token := c.server.Token("apps", "web", time.Hour)
	c.server.Break(1)
	if r := c.login(token); !errors.Is(r.Err, fault.Upstream) || strings.Contains(r.Err.Error(), token) {
		t.Errorf("got %v", r.Err)
	}
	if r := c.login(token); r.Err != nil {
		t.Error(r.Err)
	}
	c.configure(object{"kubernetes_host": "https://127.0.0.1:1"})
	if r := c.login(token); !errors.Is(r.Err, fault.Upstream) {
		t.Errorf("nobody there: %v", r.Err)
	}
}

func TestAnnotationsBecomeMetadata(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	c.server.Annotate("apps", "web", map[string]string{
		"vault.hashicorp.com/alias-metadata-team": "blue", "vault.hashicorp.com/alias-metadata-service_account_name": "root", "other": "x",
	})
	token := c.server.Token("apps", "web", time.Hour)
	c.configure(object{"use_annotations_as_alias_metadata": true})
	if r := c.login(token); !errors.Is(r.Err, fault.Upstream) {
		t.Errorf("without the right to read: %v", r.Err)
	}
	c.server.AllowReads("system:serviceaccount:infra:reviewer")
	want := map[string]string{"service_account_name": "web", "service_account_namespace": "apps", "service_account_uid": c.uid, "service_account_secret_name": "", "team": "blue"}
	if diff := cmp.Diff(want, c.login(token).Login.AliasMetadata); diff != "" {
		t.Error(diff)
	}
}

func TestKeysAndIssuersCanBeChecked(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	token := c.server.Token("apps", "web", time.Hour)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&other.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	otherPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	for name, tt := range map[string]struct {
		config object
		ok     bool
	}{
		"its key":            {object{"pem_keys": []string{otherPEM, c.server.PublicKeyPEM()}}, true},
		"another key":        {object{"pem_keys": otherPEM}, false},
		"its issuer":         {object{"disable_iss_validation": false, "issuer": k8stest.Issuer}, true},
		"another issuer":     {object{"disable_iss_validation": false, "issuer": "https://x"}, false},
		"the usual issuer":   {object{"disable_iss_validation": false}, false},
		"issuer not checked": {object{"issuer": "https://x"}, true},
	} {
		c.configure(tt.config)
		if r := c.login(token); (r.Err == nil) != tt.ok {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

func TestARenewalHasTheRolesPresentSettings(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	payload := c.login(c.server.Token("apps", "web", time.Hour)).Login.Payload
	c.Write("role/web", object{"token_ttl": "3m"})
	renewer := c.Instance.(authn.Renewer)
	if p, err := renewer.Renew(t.Context(), &route.Call{}, payload); err != nil || p.TTL != 3*time.Minute {
		t.Errorf("got %v, %v", p, err)
	}
	c.Delete("role/web")
	if _, err := renewer.Renew(t.Context(), &route.Call{}, payload); !errors.Is(err, fault.Denied) {
		t.Errorf("without the role: %v", err)
	}
}

// TestTheSampleRole writes the role that operators copy, as it stands.
func TestTheSampleRole(t *testing.T) {
	c := newCluster(t)
	c.Write("role/app-service", object{
		"policies": []string{"app-service"}, "ttl": "1h", "bound_service_account_names": []string{"app-sa"}, "bound_service_account_namespaces": []string{"production"},
	})
	got := c.Read("role/app-service").Map(t)
	for name, want := range map[string]any{
		"policies": []any{"app-service"}, "token_policies": []any{"app-service"}, "ttl": 3600.0, "token_ttl": 3600.0,
		"bound_service_account_names": []any{"app-sa"}, "bound_service_account_namespaces": []any{"production"},
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	c.server.ServiceAccount("production", "app-sa")
	r := c.Write("login", object{"role": "app-service", "jwt": c.server.Token("production", "app-sa", time.Hour)})
	if diff := cmp.Diff(authn.TokenParams{Policies: []string{"app-service"}, TTL: time.Hour}, r.Login.Token); diff != "" {
		t.Error(diff)
	}
}

func TestBadSettingsAreRefusedAndChangeNothing(t *testing.T) {
	c := newCluster(t)
	c.role(nil)
	role, config := c.Read("role/web").Map(t), c.Read("config").Map(t)
	good := object{"bound_service_account_names": "a", "bound_service_account_namespaces": "b"}
	for name, tt := range map[string]struct {
		path string
		body object
	}{
		"upper case":                 {"role/WEB", good},
		"space":                      {"role/web ", good},
		"long s":                     {"role/\u017f", good},
		"wildcard":                   {"role/+", good},
		"no names":                   {"role/new", object{"bound_service_account_namespaces": "b"}},
		"empty names":                {"role/web", object{"bound_service_account_names": []string{}}},
		"a blank name":               {"role/web", object{"bound_service_account_names": []string{" "}}},
		"no namespaces":              {"role/new", object{"bound_service_account_names": "a"}},
		"everybody":                  {"role/web", object{"bound_service_account_names": "*", "bound_service_account_namespaces": "*"}},
		"unknown alias":              {"role/web", object{"alias_name_source": "pod"}},
		"selector of nothing":        {"role/web", object{"bound_service_account_namespace_selector": "{}"}},
		"misspelt selector":          {"role/web", object{"bound_service_account_namespace_selector": `{"matchLabel": {"a": "b"}}`}},
		"selector without values":    {"role/web", object{"bound_service_account_namespace_selector": `{"matchExpressions": [{"key": "a", "operator": "In"}]}`}},
		"policy with a path":         {"role/web", object{"token_policies": "../root"}},
		"lifetime beyond the limit":  {"role/web", object{"ttl": "2h", "max_ttl": "1h"}},
		"no host":                    {"config", object{}},
		"host without scheme":        {"config", object{"kubernetes_host": "10.0.0.1:6443"}},
		"host with a password":       {"config", object{"kubernetes_host": "https://u:p@10.0.0.1"}},
		"no certificate":             {"config", object{"kubernetes_host": "https://10.0.0.1", "disable_local_ca_jwt": true}},
		"junk for a certificate":     {"config", object{"kubernetes_host": "https://10.0.0.1", "kubernetes_ca_cert": "junk"}},
		"junk for a key":             {"config", object{"kubernetes_host": "https://10.0.0.1", "pem_keys": "junk"}},
		"reviewer with a line break": {"config", object{"kubernetes_host": "https://10.0.0.1", "token_reviewer_jwt": "a\nb"}},
	} {
		c.Fails(fault.Invalid, route.VerbWrite, tt.path, tt.body)
		if diff := cmp.Diff(role, c.Read("role/web").Map(t)); diff != "" {
			t.Fatalf("%s changed the role: %s", name, diff)
		}
		if diff := cmp.Diff(config, c.Read("config").Map(t)); diff != "" {
			t.Fatalf("%s changed the configuration: %s", name, diff)
		}
	}
	if r := c.Read("config"); strings.Contains(string(r.Data), "eyJ") {
		t.Error("the configuration shows the reviewer's token")
	}
}

func TestSelectors(t *testing.T) {
	labels := map[string]string{"team": "a", "env": "prod"}
	for text, want := range map[string]bool{
		`{"matchLabels": {"team": "a"}}`:                                                                           true,
		`{"matchLabels": {"team": "a", "env": "dev"}}`:                                                             false,
		`{"matchLabels": {"absent": ""}}`:                                                                          false,
		`{"matchExpressions": [{"key": "env", "operator": "In", "values": ["dev", "prod"]}]}`:                      true,
		`{"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["dev", "prod"]}]}`:                   false,
		`{"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["x"]}]}`:                          true,
		`{"matchExpressions": [{"key": "absent", "operator": "In", "values": ["x"]}]}`:                             false,
		`{"matchExpressions": [{"key": "env", "operator": "Exists"}]}`:                                             true,
		`{"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}`:                                       false,
		"matchExpressions:\n- {key: team, operator: Exists}\n- {key: absent, operator: DoesNotExist}":              true,
		`{"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]}`: false,
	} {
		got, err := kubernetes.Selects(text, labels)
		if err != nil || got != want {
			t.Errorf("%s: %t, %v", text, got, err)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, seed := range []string{`{"matchLabels": {"a": "b"}}`, "matchExpressions:\n- {key: a, operator: Exists}", "&a [*a]", "a: &a [*a, *a]\nb: *a", "{", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = kubernetes.Selects(text, map[string]string{"a": "b"})
	})
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{"..", "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln", "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsxXSwia3ViZXJuZXRlcy5pbyI6W119.c2ln"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, token string) { _, _, _ = kubernetes.Hear(token) })
}

// BenchmarkLogin measures a login with the round trip to an API server in the
// same process.
func BenchmarkLogin(b *testing.B) {
	c := newCluster(b)
	c.role(nil)
	body := object{"role": "web", "jwt": c.server.Token("apps", "web", time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		c.Write("login", body)
	}
}
