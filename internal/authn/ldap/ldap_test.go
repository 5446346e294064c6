package ldap_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/authn/ldap"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/ldaptest"
	"github.com/cofferhq/coffer/internal/route"
)

type object = map[string]any

// world is a mount over a real directory.
type world struct {
	*enginetest.Mount
	dir *ldaptest.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Mount: enginetest.New(t, ldap.Type.Routes, ldap.Type.New), dir: ldaptest.Start(t)}
	w.Write("config", object{
		"url": w.dir.URL, "userdn": ldaptest.UserDN, "userattr": "uid", "groupdn": ldaptest.GroupDN, "groupattr": "cn", "groupfilter": "(member={{.UserDN}})",
		"binddn": ldaptest.ServiceDN, "bindpass": ldaptest.ServicePW,
	})
	return w
}

func (w *world) login(name, password string) enginetest.Result {
	return w.Call(route.VerbWrite, "login/"+name, object{"password": password})
}

func TestALoginSaysWhoTheCallerIs(t *testing.T) {
	w := newWorld(t)
	w.dir.Group("Domain Admins", "uid=alice,"+ldaptest.UserDN)
	w.Write("groups/engineers", object{"policies": "Eng"})
	w.Write("groups/domain admins", object{"policies": "admins"})
	w.Write("groups/extra", object{"policies": "more"})
	w.Write("users/alice", object{"policies": "personal", "groups": "extra"})
	w.Write("config", object{"token_policies": "all", "token_ttl": "10m"})
	for _, name := range []string{"alice", "ALICE", "aLiCe"} {
		r := w.login(name, "alicepw")
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		r.Login.Payload = nil
		want := &authn.Identity{
			DisplayName: "alice", Alias: "alice", AliasMetadata: map[string]string{"name": "alice"}, Metadata: map[string]string{"username": "alice"},
			Groups: []string{"Domain Admins", "engineers", "extra"}, EmptyData: true,
			Token: authn.TokenParams{TTL: 10 * time.Minute, Policies: []string{"admins", "all", "eng", "more", "personal"}},
		}
		if diff := cmp.Diff(want, r.Login); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if string(r.Data) != "{}" || len(r.Warnings) != 0 {
			t.Errorf("data %s, warnings %q", r.Data, r.Warnings)
		}
	}
	if r := w.login("bob", "bobpw"); r.Err != nil || len(r.Warnings) != 1 {
		t.Errorf("bob, who is in no group: %v, warnings %q", r.Err, r.Warnings)
	}
}

// modes are the ways to find a user.
func modes(w *world) map[string]object {
	return map[string]object{
		"service account":  {},
		"direct bind":      {"binddn": "", "bindpass": ""},
		"as nobody":        {"binddn": "", "bindpass": "", "discoverdn": true},
		"TLS":              {"url": w.dir.TLSURL, "certificate": w.dir.CAPEM},
		"StartTLS":         {"starttls": true, "certificate": w.dir.CAPEM},
		"TLS 1.3":          {"url": w.dir.TLSURL, "certificate": w.dir.CAPEM, "tls_max_version": "tls13", "tls_min_version": "tls13"},
		"not verified":     {"url": w.dir.TLSURL, "insecure_tls": true},
		"groups as nobody": {"anonymous_group_search": true},
		"pages":            {"max_page_size": 1},
		"second server":    {"url": "ldap://127.0.0.1:1," + w.dir.URL},
		"memberOf":         {"groupfilter": "(uid={{.Username}})", "groupdn": ldaptest.UserDN, "groupattr": "memberOf"},
		"own filter":       {"userfilter": "(&(objectClass=inetOrgPerson)({{.UserAttr}}={{.Username}}))"},
	}
}

// TestRefusedLoginsAreAlike is D7 and E15, over every way to find a user.
func TestRefusedLoginsAreAlike(t *testing.T) {
	w := newWorld(t)
	before := object{}
	for k, v := range w.Read("config").Map(t) {
		before[k] = v
	}
	delete(before, "token_type")
	for mode, changes := range modes(w) {
		t.Run(mode, func(t *testing.T) {
			w.Write("config", before)
			w.Write("config", object{"bindpass": ldaptest.ServicePW})
			w.Write("config", changes)
			if r := w.login("alice", "alicepw"); r.Err != nil || !cmp.Equal(r.Login.Groups, []string{"engineers"}) {
				t.Fatalf("a good login: %v, %+v", r.Err, r.Login)
			}
			for name, c := range map[string]struct{ user, password string }{
				"wrong password": {"alice", "no"}, "another's password": {"alice", "bobpw"}, "no such user": {"nobody", "alicepw"},
				"no user can have the name": {"a*", "alicepw"}, "password with a NUL": {"alice", "alicepw\x00"}, "with space behind": {"alice", "alicepw "},
			} {
				r := w.login(c.user, c.password)
				if !errors.Is(r.Err, fault.Unauthenticated) || fault.Message(r.Err) != "ldap operation failed: failed to bind as user" {
					t.Errorf("%s: %v", name, r.Err)
				}
			}
			w.Write("config", object{"deny_null_bind": false})
			for _, empty := range []string{"", " ", "\t\n"} {
				if r := w.login("alice", empty); !errors.Is(r.Err, fault.Invalid) {
					t.Errorf("empty password %q: %v", empty, r.Err)
				}
			}
		})
	}
}

// TestNamesMeanOneUser is E14, D4 and D5: a name is one user in whatever spelling,
// or nobody.
func TestNamesMeanOneUser(t *testing.T) {
	w := newWorld(t)
	w.dir.Person("o'brien", "pw")
	w.dir.Person("jürgen", "pw")
	w.dir.Person("a,b", "pw")
	w.dir.Person("x*", "pw")
	w.dir.Person("xy", "pw")
	alias := func(name string) string {
		c := &route.Call{}
		r := w.login(name, "pw")
		if r.Err != nil {
			return ""
		}
		_ = c
		return r.Login.Alias
	}
	for name, want := range map[string]string{
		"o'brien": "o'brien", "O'BRIEN": "o'brien", "jürgen": "jürgen", "JÜRGEN": "jürgen", "ju\u0308rgen": "jürgen", "xy": "xy", "ＸＹ": "xy",
		"xy ": "", " xy": "", "x*": "", "*": "", "a,b": "", "a\\2cb": "", "xy)(uid=*": "", "xy\x00": "", "xy,ou=users": "", "xy+cn=x": "",
		"x\u00ady": "", "xy\u200b": "", "xy\ufe0f": "", "x  y": "", "#xy": "", "": "", "..": "", "xy/": "",
	} {
		if got := alias(name); got != want {
			t.Errorf("%q logs in as %q, want %q", name, got, want)
		}
	}
}

// TestADirectoryThatFoldsMore has a filter by which the directory finds a user
// under another name: the alias would not be the user's.
func TestADirectoryThatFoldsMore(t *testing.T) {
	w := newWorld(t)
	w.Write("config", object{"userfilter": "(|(uid={{.Username}})(mail={{.Username}}))"})
	if r := w.login("alice@example.org", "alicepw"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("by another attribute: %v", r.Err)
	}
	w.Write("config", object{"username_as_alias": true})
	if r := w.login("alice@example.org", "alicepw"); r.Err != nil || r.Login.Alias != "alice@example.org" {
		t.Errorf("by another attribute, as the settings have it: %v", r.Err)
	}
	w.dir.Person("alicia", "pw", "mail", "alice@example.org")
	if r := w.login("alice@example.org", "alicepw"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("a name that stands for two: %v", r.Err)
	}
}

// TestTheLockoutCountsTheAlias holds what is counted against what logs in.
func TestTheLockoutCountsTheAlias(t *testing.T) {
	w := newWorld(t)
	table, err := route.NewTable(ldap.Type.Routes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "ALICE", "ＡLICE", "a*", "nobody"} {
		var match route.Match
		e, _ := table.Find(route.VerbWrite, "login/"+name, &match)
		c := &route.Call{}
		c.SetMatch(&match, e)
		counted := w.Instance.(authn.AliasOf).LoginAlias(c)
		if r := w.login(name, "alicepw"); r.Err == nil && r.Login.Alias != counted {
			t.Errorf("%q: %q is counted, %q logs in", name, counted, r.Login.Alias)
		}
	}
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.Write("config", object{"token_bound_cidrs": "10.0.0.0/8"})
	w.Remote = netip.MustParseAddr("192.0.2.1")
	if r := w.login("alice", "alicepw"); !errors.Is(r.Err, fault.Denied) {
		t.Errorf("got %v", r.Err)
	}
	if r := w.login("alice", "wrong"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("got %v", r.Err)
	}
}

func TestADirectoryThatIsAway(t *testing.T) {
	w := newWorld(t)
	w.dir.Stop()
	r := w.login("alice", "alicepw")
	if !errors.Is(r.Err, fault.Invalid) || strings.Contains(fault.Message(r.Err), "127.0.0.1") {
		t.Errorf("got %v", r.Err)
	}
	w.dir.Restart()
	if r := w.login("alice", "alicepw"); r.Err != nil {
		t.Error(r.Err)
	}
	for name, changes := range map[string]object{
		"certificate of nobody known": {"url": w.dir.TLSURL},
		"StartTLS with the same":      {"url": w.dir.URL, "starttls": true},
		"wrong service password":      {"starttls": false, "bindpass": "wrong"},
	} {
		w.Write("config", changes)
		if r := w.login("alice", "alicepw"); !errors.Is(r.Err, fault.Invalid) {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

func TestRenewals(t *testing.T) {
	w := newWorld(t)
	w.Write("groups/engineers", object{"policies": "eng"})
	payload := w.login("alice", "alicepw").Login.Payload
	if strings.Contains(string(payload), "alicepw") {
		t.Fatal("the password is stored")
	}
	renewer, grouper := w.Instance.(authn.Renewer), w.Instance.(authn.Grouper)
	renew := func() error {
		_, err := renewer.Renew(t.Context(), &route.Call{}, payload)
		return err
	}
	if err := renew(); err != nil {
		t.Error(err)
	}
	w.dir.Group("ops", "uid=alice,"+ldaptest.UserDN)
	if groups, err := grouper.Groups(t.Context(), &route.Call{}, payload); err != nil || !cmp.Equal(groups, []string{"engineers", "ops"}) {
		t.Errorf("a new group: %v, %v", groups, err)
	}
	if err := renew(); err != nil {
		t.Errorf("a new group without policies: %v", err)
	}
	w.Write("groups/ops", object{"policies": "ops"})
	if err := renew(); !errors.Is(err, fault.Denied) {
		t.Errorf("other policies: %v", err)
	}
	w.Delete("groups/ops")
	w.dir.Delete("uid=alice," + ldaptest.UserDN)
	if err := renew(); !errors.Is(err, fault.Denied) {
		t.Errorf("the user is gone: %v", err)
	}
	w.Write("config", object{"binddn": "", "bindpass": ""})
	if err := renew(); err != nil {
		t.Errorf("without a service account: %v", err)
	}
}

func TestRotatingTheServiceAccountsPassword(t *testing.T) {
	w := newWorld(t)
	works := func(password string) bool {
		c, err := w.dir.As(ldaptest.ServiceDN, password)
		if c != nil {
			defer c.Close()
		}
		return err == nil
	}
	w.Write("config/rotate-root", nil)
	if works(ldaptest.ServicePW) {
		t.Error("the old password works still")
	}
	if r := w.login("alice", "alicepw"); r.Err != nil {
		t.Errorf("after the rotation: %v", r.Err)
	}
	if r := w.Read("config"); strings.Contains(string(r.Data), "Pw-") {
		t.Errorf("the configuration shows the password: %s", r.Data)
	}
	w.Write("config/rotate-root", nil)
	if r := w.login("alice", "alicepw"); r.Err != nil {
		t.Errorf("after another rotation: %v", r.Err)
	}
	w.Write("config", object{"binddn": "", "bindpass": ""})
	w.Fails(fault.Invalid, route.VerbWrite, "config/rotate-root", nil)
}

// A rotation that was cut short leaves two passwords, one of which is in force.
func TestAnInterruptedRotation(t *testing.T) {
	for name, taken := range map[string]bool{"before the directory took it": false, "after the directory took it": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := ldap.Interrupt(t.Context(), w.Storage, "next-password"); err != nil {
				t.Fatal(err)
			}
			if taken {
				w.dir.Replace(ldaptest.ServiceDN, "userPassword", "next-password")
			}
			for range 2 {
				if r := w.login("alice", "alicepw"); r.Err != nil {
					t.Error(r.Err)
				}
			}
			w.Write("config/rotate-root", nil)
			if r := w.login("alice", "alicepw"); r.Err != nil {
				t.Error(r.Err)
			}
		})
	}
}

func TestBadSettingsAreRefusedAndChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.Write("groups/eng", object{"policies": "eng"})
	w.Write("users/alice", object{"policies": "p", "groups": "g"})
	state := func() []any {
		return []any{w.Read("config").Map(t), w.Read("groups/eng").Map(t), w.Read("users/alice").Map(t), w.List("groups").Map(t), w.List("users").Map(t)}
	}
	before := state()
	for name, tt := range map[string]struct {
		path string
		body object
	}{
		"group in upper case":    {"groups/ENG", object{"policies": "x"}},
		"group with a wildcard":  {"groups/+", object{"policies": "x"}},
		"group with space":       {"groups/eng ", object{"policies": "x"}},
		"group in full width":    {"groups/ｅng", object{"policies": "x"}},
		"user in upper case":     {"users/Alice", object{"policies": "x"}},
		"user with a NUL":        {"users/alice\x00", object{"policies": "x"}},
		"user with the long s":   {"users/ali\u017fe", object{"policies": "x"}},
		"policy with a path":     {"groups/eng", object{"policies": "../root"}},
		"policy beyond ASCII":    {"users/alice", object{"policies": "r\u043e\u043et"}},
		"group that is none":     {"users/alice", object{"groups": "a*"}},
		"no URL":                 {"config", object{"url": ""}},
		"URL of the web":         {"config", object{"url": "http://x"}},
		"password in the URL":    {"config", object{"url": "ldap://u:p@x"}},
		"bad version":            {"config", object{"tls_min_version": "bad"}},
		"versions the other way": {"config", object{"tls_min_version": "tls13", "tls_max_version": "tls12"}},
		"bad filter":             {"config", object{"userfilter": "(uid={{.Username}}"}},
		"bad template":           {"config", object{"groupfilter": "(uid={{.Secret}})"}},
		"attribute with a sign":  {"config", object{"userattr": "uid)(x"}},
		"domain with a sign":     {"config", object{"upndomain": "a)(b"}},
		"entry that is none":     {"config", object{"userdn": "users"}},
		"junk for a certificate": {"config", object{"certificate": "junk"}},
		"junk for a key":         {"config", object{"client_tls_key": "junk"}},
		"unknown aliases":        {"config", object{"dereference_aliases": "sometimes"}},
		"no time":                {"config", object{"request_timeout": 0}},
		"negative pages":         {"config", object{"max_page_size": -1}},
	} {
		w.Fails(fault.Invalid, route.VerbWrite, tt.path, tt.body)
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Fatalf("%s changed something: %s", name, diff)
		}
	}
	w.Write("config", object{"case_sensitive_names": true})
	w.Write("groups/ENG", object{"policies": "other"})
}

// Active Directory binds by a principal's name; OpenLDAP does not, but finds one.
func TestUPNLogins(t *testing.T) {
	w := newWorld(t)
	w.Write("config", object{"upndomain": "example.org"})
	if r := w.login("alice", "alicepw"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("a user without a principal's name: %v", r.Err)
	}
	w.dir.Person("carol", "carolpw", "objectClass", "principal", "userPrincipalName", "Carol@Example.org")
	w.dir.Person("mallory", "mallorypw", "objectClass", "principal", "userPrincipalName", "dave@example.org")
	w.dir.Group("ops", "uid=carol,"+ldaptest.UserDN)
	if r := w.login("CAROL", "carolpw"); r.Err != nil || r.Login.Alias != "carol" || !cmp.Equal(r.Login.Groups, []string{"ops"}) {
		t.Errorf("got %v, %+v", r.Err, r.Login)
	}
	if r := w.login("dave", "mallorypw"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("an entry that is called otherwise: %v", r.Err)
	}
	w.dir.Person("erin", "erinpw", "objectClass", "principal", "sAMAccountName", "erin")
	if r := w.login("erin", "erinpw"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("by the account's name: %v", r.Err)
	}
	w.Write("config", object{"enable_samaccountname_login": true})
	for name, password := range map[string]string{"erin": "erinpw", "carol": "carolpw"} {
		if r := w.login(name, password); r.Err != nil {
			t.Errorf("by either name, %s: %v", name, r.Err)
		}
	}
	w.Write("config", object{"binddn": "", "bindpass": ""})
	if r := w.login("carol", "carolpw"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("a directory that does not bind by such names: %v", r.Err)
	}
}

func FuzzCanonicalName(f *testing.F) {
	for _, seed := range []string{"alice", "ALICE", "ＡLICE", "ß", "\u017f", "\u212a", "a\u0308", "İ", "x  y", "\u00ad", "ﬃ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once, ok := ldap.CanonicalName(name)
		if !ok {
			return
		}
		if twice, ok := ldap.CanonicalName(once); !ok || twice != once {
			t.Errorf("%q becomes %q, and that %q, %t", name, once, twice, ok)
		}
		if strings.ContainsAny(once, "*()\\/,+\"<>;=#\x00\n") {
			t.Errorf("%q becomes %q", name, once)
		}
	})
}

// FuzzFilter makes filters of names and reads them back: a name is one assertion
// value, whatever is in it.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"alice", "*", ")(uid=*", "\\2a", "\x00", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if err := ldap.OneAssertion(name); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkLogin(b *testing.B) {
	w := newWorld(b)
	body := object{"password": "alicepw"}
	b.ReportAllocs()
	for b.Loop() {
		w.Write("login/alice", body)
	}
}
