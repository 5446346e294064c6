package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/k8stest"
	"github.com/cofferhq/coffer/internal/ldaptest"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// ci is an issuer of signed tokens.
type ci struct {
	key *ecdsa.PrivateKey
	pem string
}

func newCI(t *testing.T) ci {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return ci{key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

func (i ci) token(t *testing.T, audience string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := clock.System{}.Now()
	claims, err := json.Marshal(in{"iss": "ci", "sub": "job", "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "team": "blue", "groups": []string{"devs"}})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestJWTLogin(t *testing.T) {
	issuer := newCI(t)
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("EnableAuthWithOptions", "ci", in{"type": "jwt"}).ok()
		c.logical("Write", "auth/ci/config", in{"jwt_validation_pubkeys": []string{issuer.pem}, "default_role": "deploy"}).ok()
		c.logical("Write", "auth/ci/role/deploy", in{
			"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{"coffer"}, "bound_claims": in{"team": []string{"blue"}}, "groups_claim": "groups",
			"claim_mappings": in{"team": "team"}, "token_policies": "deploy", "token_ttl": "5m",
		}).ok()
		c.logical("Read", "auth/ci/role/deploy").has(in{"data|bound_claims": in{"team": []string{"blue"}}, "data|token_ttl": 300})
		c.logical("List", "auth/ci/role").has(in{"data|keys": []string{"deploy"}})
		nobody := c.as("")
		first := nobody.logical("Write", "auth/ci/login", in{"jwt": issuer.token(t, "coffer")}).has(in{
			"auth|policies": []string{"default", "deploy"}, "auth|metadata": in{"role": "deploy", "team": "blue"}, "auth|lease_duration": 300,
		})
		c.as(first.text("auth|client_token")).token("LookupSelf").has(in{"data|display_name": "ci-job", "data|path": "auth/ci/login"})
		c.as(first.text("auth|client_token")).token("RenewSelf", 0).has(in{"auth|lease_duration": seconds{299, 300}})
		nobody.logical("Write", "auth/ci/login", in{"role": "deploy", "jwt": issuer.token(t, "other")}).fails(http.StatusBadRequest, "invalid audience (aud) claim")
		c.logical("Delete", "auth/ci/role/deploy").ok()
		c.as(first.text("auth|client_token")).token("RenewSelf", 0).fails(http.StatusForbidden, "no longer exists")
	})
}

// pods is an API server with a reviewer and the pod apps/web.
func pods(t *testing.T) (server *k8stest.Server, reviewer, pod string) {
	t.Helper()
	server = k8stest.New(t, nil)
	server.ServiceAccount("infra", "reviewer")
	server.ServiceAccount("apps", "web")
	server.AllowReviews("system:serviceaccount:infra:reviewer")
	return server, server.Token("infra", "reviewer", time.Hour), server.Token("apps", "web", time.Hour)
}

func TestKubernetesLogin(t *testing.T) {
	server, reviewer, pod := pods(t)
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("EnableAuthWithOptions", "kubernetes", in{"type": "kubernetes"}).ok()
		c.logical("Write", "auth/kubernetes/config", in{"kubernetes_host": server.URL, "kubernetes_ca_cert": server.CAPEM, "token_reviewer_jwt": reviewer}).ok()
		c.logical("Read", "auth/kubernetes/config").has(in{"data|token_reviewer_jwt_set": true, "data|token_reviewer_jwt": nil})
		c.logical("Write", "auth/kubernetes/role/web", in{"bound_service_account_names": "web", "bound_service_account_namespaces": []string{"apps"}, "policies": []string{"web"}, "ttl": "1h"}).ok()
		c.logical("Read", "auth/kubernetes/role/web").has(in{"data|policies": []string{"web"}, "data|token_policies": []string{"web"}, "data|ttl": 3600})
		nobody := c.as("")
		first := nobody.logical("Write", "auth/kubernetes/login", in{"role": "web", "jwt": pod}).has(in{"auth|policies": []string{"default", "web"}, "auth|lease_duration": 3600})
		c.as(first.text("auth|client_token")).token("LookupSelf").has(in{"data|display_name": "kubernetes-apps-web"})
		nobody.logical("Write", "auth/kubernetes/login", in{"role": "web", "jwt": reviewer}).fails(http.StatusForbidden, "service account name not authorized")
		nobody.logical("Write", "auth/kubernetes/login", in{"role": "web", "jwt": "junk"}).fails(http.StatusForbidden, "permission denied")
	})
}

func TestLDAPLogin(t *testing.T) {
	dir := ldaptest.Start(t)
	tour(t, servertest.Options{}, func(t *testing.T, _ *servertest.Server, c *client) {
		c.sys("EnableAuthWithOptions", "ldap", in{"type": "ldap"}).ok()
		c.logical("Write", "auth/ldap/config", in{
			"url": dir.URL, "userdn": ldaptest.UserDN, "userattr": "uid", "groupdn": ldaptest.GroupDN, "groupfilter": "(member={{.UserDN}})", "binddn": ldaptest.ServiceDN, "bindpass": ldaptest.ServicePW,
		}).ok()
		c.logical("Write", "auth/ldap/groups/engineers", in{"policies": "eng"}).ok()
		nobody := c.as("")
		first := nobody.logical("Write", "auth/ldap/login/alice", in{"password": "alicepw"}).has(in{"auth|policies": []string{"default", "eng"}, "auth|metadata": in{"username": "alice"}})
		c.as(first.text("auth|client_token")).token("RenewSelf", 0).ok()
		nobody.logical("Write", "auth/ldap/login/alice", in{"password": "wrong"}).fails(http.StatusBadRequest, "failed to bind as user")
		c.logical("Write", "auth/ldap/groups/engineers", in{"policies": "other"}).ok()
		c.as(first.text("auth|client_token")).token("RenewSelf", 0).fails(http.StatusForbidden, "policies have changed")
	})
}

// TestMethodsWithHVAC tours the methods with Python's client.
func TestMethodsWithHVAC(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	server, reviewer, pod := pods(t)
	issuer, dir := newCI(t), ldaptest.Start(t)
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/methods.py")
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+s.Addr, "VAULT_TOKEN="+servertest.RootToken, "K8S_HOST="+server.URL, "K8S_CA="+server.CAPEM, "K8S_REVIEWER="+reviewer, "K8S_POD="+pod,
		"JWT_KEY="+issuer.pem, "JWT="+issuer.token(t, "coffer"), "LDAP_URL="+dir.URL, "USERS="+ldaptest.UserDN, "GROUPS_DN="+ldaptest.GroupDN, "BIND_DN="+ldaptest.ServiceDN, "BIND_PW="+ldaptest.ServicePW)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
