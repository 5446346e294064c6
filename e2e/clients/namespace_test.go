package clients_test

import (
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// within returns the same client in a namespace.
func (c *client) within(namespace string) *client {
	c.t.Helper()
	return &client{t: c.t, kind: c.kind, api: c.call(c.api, "WithNamespace", namespace).native}
}

func TestNamespaces(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.logical("List", "sys/namespaces").absent()
		c.logical("Write", "sys/namespaces/team", in{"custom_metadata": in{"owner": "x"}}).has(in{"data|path": "team/", "data|custom_metadata|owner": "x", "data|locked": false})
		team := c.within("team")
		team.logical("Write", "sys/namespaces/app", nil).has(in{"data|path": "team/app/"})
		c.logical("List", "sys/namespaces").has(in{"data|keys": []string{"team/"}})
		c.logical("Read", "sys/namespaces/none").absent()
		app := c.within("team/app/")

		app.sys("Mount", "kv", in{"type": "kv", "options": in{"version": "2"}}).ok()
		app.sys("ListMounts").has(in{"kv/|type": "kv", "sys/|type": "ns_system", "secret/": nil})
		app.kv(2, "kv", "Put", "x", in{"v": "inside"}).ok()
		app.kv(2, "kv", "Get", "x").has(in{"Data": in{"v": "inside"}})
		team.logical("Read", "app/kv/data/x").has(in{"data|data|v": "inside"})
		c.logical("Read", "team/app/kv/data/x").has(in{"data|data|v": "inside"})
		c.logical("Read", "kv/data/x").absent()

		app.sys("PutPolicy", "reader", `path "kv/data/*" { capabilities = ["read"] }`).ok()
		app.sys("EnableAuthWithOptions", "people", in{"type": "userpass"}).ok()
		app.logical("Write", "auth/people/users/ann", in{"password": "pw", "token_policies": "reader"}).ok()
		ann := app.within("team/app")
		text := app.logical("Write", "auth/people/login/ann", in{"password": "pw"}).text("auth|client_token")
		ann = ann.as(text).within("team/app")
		ann.kv(2, "kv", "Get", "x").has(in{"Data": in{"v": "inside"}})
		ann.token("LookupSelf").has(in{"data|namespace_path": "team/app/"})
		c.as(text).token("LookupSelf").has(in{"data|namespace_path": "team/app/"})
		c.as(text).kv(2, "secret", "Get", "x").fails(http.StatusForbidden, "permission denied")
		ann.within("team").kv(2, "kv", "Get", "x").fails(http.StatusForbidden, "permission denied")
		ann.sys("CapabilitiesSelf", "kv/data/x").ok()

		team.logical("Delete", "sys/namespaces/none").ok()
		c.logical("Delete", "sys/namespaces/team").fails(http.StatusBadRequest, "namespaces below")
		team.logical("Delete", "sys/namespaces/app").has(in{"data|status": "in-progress"})
	})
}

// hvacNamespaces goes through namespaces with Python's client.
const hvacNamespaces = `
import os, hvac
address, token = os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"]
root = hvac.Client(url=address, token=token)
root.sys.create_namespace(path="python")
assert root.sys.list_namespaces()["data"]["keys"] == ["python/"]
inside = hvac.Client(url=address, token=token, namespace="python")
inside.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
inside.secrets.kv.v2.create_or_update_secret("x", secret={"v": "inside"}, mount_point="kv")
assert inside.secrets.kv.v2.read_secret_version("x", mount_point="kv")["data"]["data"]["v"] == "inside"
inside.sys.create_or_update_policy("reader", 'path "kv/*" { capabilities = ["read"] }')
inside.sys.enable_auth_method("approle")
inside.write("auth/approle/role/app", token_policies="reader")
role_id = inside.read("auth/approle/role/app/role-id")["data"]["role_id"]
secret_id = inside.write("auth/approle/role/app/secret-id")["data"]["secret_id"]
app = hvac.Client(url=address, namespace="python")
app.auth.approle.login(role_id, secret_id)
assert app.secrets.kv.v2.read_secret_version("x", mount_point="kv")["data"]["data"]["v"] == "inside"
app.auth.token.renew_self()
outside = hvac.Client(url=address, token=app.token)
try:
    outside.secrets.kv.v2.read_secret_version("x")
    raise SystemExit("a token of the namespace has read a secret of the root")
except hvac.exceptions.Forbidden:
    pass
assert outside.auth.token.lookup_self()["data"]["namespace_path"] == "python/"
root.sys.delete_namespace(path="python")
`

func TestNamespacesInPython(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", hvacNamespaces)
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+s.Addr, "VAULT_TOKEN="+servertest.RootToken)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
