package abuse_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// canary is what must not be found where a secret may not be.
const canary = "c4n4ry-5ecret-th4t-nobody-m4y-see"

// wrongFor are values that a field of a type cannot take, each with a canary.
func wrongFor(kind string) []any {
	object := map[string]any{"a": map[string]any{"b": canary}}
	nested := []any{[]any{map[string]any{"c": canary}}, canary}
	mixed := []any{1, canary, nil, object}
	switch kind {
	case "string":
		return []any{object, nested, mixed}
	case "boolean", "integer", "number", "duration":
		return []any{canary, object, nested, "1" + canary, []any{canary}}
	case "array":
		return []any{object, nested, mixed, map[string]any{"a": canary}}
	case "map":
		return []any{canary, nested, map[string]any{"k": object}, []any{canary}}
	case "object":
		return []any{canary, nested, []any{canary}, map[string]any{"a": object}}
	}
	return []any{canary, object, nested, mixed}
}

// takesAnything reports whether no value is wrong for a parameter.
func takesAnything(e endpoint, p route.Parameter) bool {
	return p.Type == "any" || e.Mount == "cubbyhole/" || e.Mount == "kv1/"
}

// TestG1_G2_G3_WrongTypesAreNotRepeated gives every parameter of every endpoint
// that takes a body every wrong type, with a canary: the answer is a 4xx, the
// canary is neither in it, nor in the audit log, nor in the server's log, and
// nothing in the store has changed.
func TestG1_G2_G3_WrongTypesAreNotRepeated(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.user("nobody", "first-password", nil)
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/nobody", map[string]any{"token_policies": "x"})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/nobody", map[string]any{"data": map[string]string{"k": "v"}})
	asked := 0
	for _, e := range w.endpoints() {
		if e.Verb < route.VerbWrite || e.Sealed {
			continue
		}
		for _, p := range e.Input() {
			if p.In != "body" || p.Name == "policies" && p.Type == "any" {
				continue // names of policies are no secret, and may be one string
			}
			for _, wrong := range wrongFor(p.Type) {
				asked++
				before := w.rows()
				a := w.ask(e, servertest.RootToken, w.completed(e, p.Name, wrong))
				what := fmt.Sprintf("%s, %s %q = %T", e, p.Type, p.Name, wrong)
				if a.Status/100 == 5 {
					t.Errorf("%s: got %s, want a 4xx", what, a)
				}
				if strings.Contains(string(a.Body), canary) {
					t.Errorf("%s: the answer repeats the value: %s", what, a)
				}
				if a.Status/100 == 2 {
					if !takesAnything(e, p) && !lenient(p, wrong) {
						t.Errorf("%s: got %s, want a 4xx", what, a)
					}
					continue
				}
				if diff := difference(before, w.rows()); len(diff) > 0 {
					t.Errorf("%s: refused with %d, but the store has changed: %v", what, a.Status, diff)
				}
			}
		}
	}
	if asked < 500 {
		t.Errorf("only %d requests were made", asked)
	}
	w.noCanary(canary)
}

// completed is a body with one wrong parameter and, for a KV write, the rest
// that it takes to get that far.
func (w *world) completed(e endpoint, name string, wrong any) map[string]any {
	body := map[string]any{name: wrong}
	if strings.HasPrefix(e.Pattern, "data/") && name != "data" {
		body["data"] = map[string]string{"k": canary}
	}
	return body
}

// lenient reports whether a type takes a value that looks wrong, as Vault's
// clients rely on.
func lenient(p route.Parameter, wrong any) bool {
	s, isString := wrong.(string)
	items, isList := wrong.([]any)
	switch p.Type {
	case "array":
		return isString || isList && len(items) == 1
	case "map", "object":
		return isString && s == ""
	}
	return false
}

// noCanary looks for a secret where it may not be.
func (w *world) noCanary(secret string) {
	w.t.Helper()
	for name, text := range map[string]string{"audit log": w.auditText(), "server's log": w.Log.String()} {
		if i := strings.Index(text, secret); i >= 0 {
			w.t.Errorf("the %s holds the canary: …%s…", name, text[max(i-300, 0):min(i+100, len(text))])
		}
	}
}

// TestG1_MalformedBodiesAreNotRepeated sends text that is no JSON object.
func TestG1_MalformedBodiesAreNotRepeated(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	bodies := []string{
		canary, `"` + canary + `"`, `["` + canary + `"]`, `{"a":"` + canary, `{"a":"` + canary + `"`, `{"` + canary + `"}`, `{` + canary + `:1}`, `{"a":` + canary + `}`,
		`{"a":"` + canary + `"}x`, `{"a":"` + canary + "\x01\"}", `{"a":"` + canary + `\q"}`, `{"a":"` + canary + "\xff\"}", `{"a":1,"a":"` + canary + `"}`, `{"a":'` + canary + `'}`,
		`{"a":"` + canary + `",}`, `{"a":01,"b":"` + canary + `"}`, `{"a":NaN,"b":"` + canary + `"}`, "\xef\xbb\xbf" + `{"a":"` + canary + `"}`, "\x00" + canary, `<a>` + canary + `</a>`, `a=` + canary,
	}
	before := w.rows()
	for _, e := range w.endpoints() {
		if e.Verb < route.VerbWrite || e.Verb == route.VerbDelete {
			continue
		}
		for _, body := range bodies {
			a := w.ask(e, servertest.RootToken, body)
			if a.Status != http.StatusBadRequest && a.Status != http.StatusForbidden && a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s with body %.40q: got %s, want 400", e, body, a)
			}
			if strings.Contains(string(a.Body), canary) {
				t.Errorf("%s with body %.40q: the answer repeats it: %s", e, body, a)
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
	w.noCanary(canary)
}

// TestG4_G5_ValuesAndTokensAreHashed sends a canary as every kind of value
// through writes, reads, logins and wrapping, and looks for it, for the tokens
// and for the accessors in the audit log.
func TestG4_G5_ValuesAndTokensAreHashed(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	secrets := []string{canary}
	values := []any{canary, []any{canary}, map[string]any{"a": []any{canary, map[string]any{"b": canary}}}, []any{[]any{[]any{canary}}}, "{\"x\":\"" + canary + "\"}"}
	for i, v := range values {
		path := fmt.Sprintf("secret/data/v%d", i)
		w.Must(http.StatusOK, http.MethodPost, path, map[string]any{"data": map[string]any{"k": v}})
		w.Must(http.StatusOK, http.MethodPatch, path, map[string]any{"data": map[string]any{"k2": v}}, "Content-Type", mergePatch)
		w.Must(http.StatusOK, http.MethodGet, path, nil)
		w.Must(http.StatusNoContent, http.MethodPost, fmt.Sprintf("kv1/v%d", i), map[string]any{"k": v})
		w.Must(http.StatusOK, http.MethodGet, fmt.Sprintf("kv1/v%d", i), nil)
		w.Must(http.StatusNoContent, http.MethodPost, fmt.Sprintf("cubbyhole/v%d", i), map[string]any{"k": v})
		w.Must(http.StatusOK, http.MethodGet, fmt.Sprintf("cubbyhole/v%d", i), nil)
	}
	w.Must(http.StatusNoContent, http.MethodPost, "secret/metadata/v0", map[string]any{"custom_metadata": map[string]string{"k": canary}})
	w.Must(http.StatusOK, http.MethodGet, "secret/metadata/v0", nil)
	wrapped := w.Must(http.StatusOK, http.MethodGet, "secret/data/v0", nil, "X-Vault-Wrap-TTL", "60s")
	info, _ := wrapped.JSON()["wrap_info"].(map[string]any)
	wrapToken, _ := info["token"].(string)
	w.Must(http.StatusOK, http.MethodPost, "sys/wrapping/lookup", map[string]any{"token": wrapToken})
	w.MustAs(wrapToken, http.StatusOK, http.MethodPost, "sys/wrapping/unwrap", nil)
	w.user("ann", canary+"-pw", nil)
	login := w.MustAs("", http.StatusOK, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": canary + "-pw"})
	w.Do(http.MethodPost, "auth/userpass/login/ann", "", map[string]any{"password": canary + "-wrong"})
	child, accessor := w.create(map[string]any{"policies": []string{"default"}})
	w.Must(http.StatusOK, http.MethodPost, "auth/token/lookup", map[string]any{"token": child})
	w.Must(http.StatusOK, http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
	w.Must(http.StatusOK, http.MethodPost, "auth/token/renew", map[string]any{"token": child})
	w.Do(http.MethodGet, "secret/data/v0", child, nil)
	batch, _ := w.create(map[string]any{"type": "batch", "policies": []string{"default"}})
	w.Do(http.MethodGet, "auth/token/lookup-self", batch, nil)
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/r", map[string]any{"token_policies": "x"})
	sid := w.Must(http.StatusOK, http.MethodPost, "auth/approle/role/r/secret-id", nil)
	rid := w.Must(http.StatusOK, http.MethodGet, "auth/approle/role/r/role-id", nil)
	secretID, _ := sid.Data()["secret_id"].(string)
	roleID, _ := rid.Data()["role_id"].(string)
	w.MustAs("", http.StatusOK, http.MethodPost, "auth/approle/login", map[string]any{"role_id": roleID, "secret_id": secretID})
	w.Do(http.MethodPost, "auth/approle/login", "", map[string]any{"role_id": roleID, "secret_id": canary})
	accessors := []string{accessor, auth(login, "accessor")}
	secrets = append(secrets, wrapToken, auth(login, "client_token"), child, batch, secretID, servertest.RootToken+`"`)
	secrets = append(secrets, accessors...)
	secrets = append(secrets, w.Keys...)
	for _, s := range secrets {
		if s == "" || s == `root"` {
			continue
		}
		w.noCanary(s)
	}
	w.walkAudit()
}

// walkAudit checks the lines one by one: the root token is too short a text to
// look for, so its fields are.
func (w *world) walkAudit() {
	w.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(w.auditText()), "\n") {
		var entry struct {
			Auth    struct{ ClientToken, Accessor string }
			Request struct {
				ClientToken string `json:"client_token"`
			}
			Response struct {
				Auth struct {
					ClientToken string `json:"client_token"`
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			w.t.Fatalf("audit line: %v", err)
		}
		for _, v := range []string{entry.Request.ClientToken, entry.Response.Auth.ClientToken, entry.Auth.ClientToken} {
			if v != "" && !strings.HasPrefix(v, "hmac-sha256:") {
				w.t.Errorf("a token in clear in: %s", line)
			}
		}
	}
}

// TestG6_RawIsOneDevicesOwn: what one device may record in clear stays hashed
// in another.
func TestG6_RawIsOneDevicesOwn(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	raw := filepath.Join(t.TempDir(), "raw.log")
	w.Must(http.StatusNoContent, http.MethodPost, "sys/audit/raw", map[string]any{"type": "file", "options": map[string]string{"file_path": raw, "log_raw": "true"}})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": canary}})
	w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil)
	w.noCanary(canary)
	text, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), canary) {
		t.Error("the raw device has not recorded the value: the test shows nothing")
	}
	w.Must(http.StatusNoContent, http.MethodDelete, "sys/audit/raw", nil)
	w.Must(http.StatusOK, http.MethodGet, "secret/data/x", nil)
	w.noCanary(canary)
}

// TestG7_HeadersAreRecordedByList: only listed headers are recorded, and those
// that carry credentials are hashed whatever the list says.
func TestG7_HeadersAreRecordedByList(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	for _, h := range []string{"Authorization", "Cookie", "Proxy-Authorization", "X-Vault-Token", "X-Listed"} {
		w.Must(http.StatusNoContent, http.MethodPost, "sys/config/auditing/request-headers/"+h, map[string]any{"hmac": h == "X-Listed"})
	}
	token, _ := w.create(map[string]any{"policies": []string{"default"}})
	headers := []string{
		"Cookie", canary, "Proxy-Authorization", "Basic " + canary, "X-Listed", canary, "X-Other", canary, "X-Forwarded-For", canary,
		"X-Vault-MFA", canary, "X-Vault-Namespace", "", "X-Vault-Request", "true", "X-Api-Key", canary, "Referer", "http://" + canary,
	}
	w.Do(http.MethodGet, "auth/token/lookup-self", token, nil, headers...)
	w.Do(http.MethodGet, "secret/data/x", token, nil, headers...)
	w.Do(http.MethodGet, "secret/data/x", "", nil, append(slices.Clone(headers), "Authorization", "Bearer "+canary)...)
	w.Do(http.MethodPost, "auth/userpass/login/x", "", map[string]any{"password": "x"}, headers...)
	w.noCanary(canary)
	w.noCanary(token)
	if !strings.Contains(w.auditText(), `"x-listed":["hmac-sha256:`) {
		t.Error("the listed header is not recorded: the test shows nothing")
	}
}

// TestG8_NoSecretInTheServersLog goes through start, unsealing, ceremonies and
// failures with a log at its most talkative, and looks for keys and tokens.
func TestG8_NoSecretInTheServersLog(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.reseal()
	w.Do(http.MethodPut, "sys/unseal", "", map[string]any{"key": canary})
	w.Do(http.MethodPut, "sys/unseal", "", map[string]any{"key": w.Keys[0][:20] + canary})
	w.Do(http.MethodPut, "sys/init", "", map[string]any{"secret_shares": 1, "pgp_keys": []string{canary}})
	w.Do(http.MethodPost, "database/config/x", servertest.RootToken, map[string]any{
		"plugin_name": "postgresql-database-plugin", "connection_url": "postgresql://u:" + canary + "@127.0.0.1:1/db?sslmode=disable", "allowed_roles": "*",
	})
	w.Do(http.MethodPost, "database/config/x", servertest.RootToken, map[string]any{
		"plugin_name": "postgresql-database-plugin", "connection_url": "postgresql://u:" + canary + "@[::1/db", "allowed_roles": "*",
	})
	if text := w.Log.String(); !strings.Contains(text, "listening") {
		t.Errorf("the log does not hold what it should: %s", text)
	}
	for _, secret := range append([]string{canary}, w.Keys...) {
		w.noCanary(secret)
	}
}

// TestD3_RefusedWritesLeaveMemoryAlone compares what every read and list answers
// before a storm of refused writes, after it, and after everything in memory has
// been built anew from the store.
func TestD3_RefusedWritesLeaveMemoryAlone(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.user("nobody", "first-password", map[string]any{"token_policies": "dev"})
	w.Policy("nobody", `path "secret/*" { capabilities = ["read"] }`)
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/nobody", map[string]any{"token_policies": "dev"})
	w.Must(http.StatusNoContent, http.MethodPost, "auth/token/roles/nobody", map[string]any{"allowed_policies": "dev"})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/nobody", map[string]any{"data": map[string]string{"k": "v"}})
	before := w.observe()
	for _, e := range w.endpoints() {
		if e.Verb < route.VerbWrite || e.Sealed {
			continue
		}
		good := map[string]any{}
		for _, p := range e.Input() {
			if p.In == "body" && p.Type == "array" {
				good[p.Name] = []string{"root"} // takes effect if anything is applied early
			}
		}
		for _, p := range e.Input() {
			if p.In != "body" || takesAnything(e, p) || len(good) == 0 {
				continue
			}
			body := map[string]any{}
			for k, v := range good {
				body[k] = v
			}
			body[p.Name] = map[string]any{"wrong": []any{map[string]any{}}}
			if a := w.ask(e, servertest.RootToken, body); a.Status/100 == 2 {
				t.Errorf("%s, %q wrong: got %s, want a refusal", e, p.Name, a)
			}
		}
	}
	after := w.observe()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("refused writes are visible (-before +after):\n%s", diff)
	}
	w.reseal()
	if diff := cmp.Diff(after, w.observe()); diff != "" {
		t.Errorf("memory was not what the store holds (-memory +rebuilt):\n%s", diff)
	}
}

// observe asks every read and list and returns the answers' data.
func (w *world) observe() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, e := range w.endpoints() {
		if e.Verb >= route.VerbWrite || e.Effect || restless(e) {
			continue
		}
		a := w.Do(method(e.Verb), e.Path, servertest.RootToken, nil)
		m := a.JSON()
		delete(m, "request_id")
		text, err := json.Marshal(m)
		if err != nil {
			w.t.Fatal(err)
		}
		all[e.String()] = fmt.Sprint(a.Status, " ", string(text))
	}
	return all
}

// restless are the endpoints whose answers change by themselves.
func restless(e endpoint) bool {
	for _, p := range []string{"health", "leader", "seal-status", "metrics", "host-info", "pprof", "in-flight-req", "ha-status", "tools/random", "generate", "loggers", "monitor", "counters", "key-status", "lookup-self"} {
		if strings.Contains(e.Pattern, p) {
			return true
		}
	}
	return false
}
