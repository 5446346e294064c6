package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/cofferhq/coffer/api"
)

func loginCommand() *command {
	return &command{
		name: "login", args: "[TOKEN | K=V...]", max: -1, groups: connects | formats | selects,
		short: "Log in and keep the token for the next commands",
		long: "Without arguments the token, the password or the secret id is asked for; - reads it from standard input.\n\n" +
			"  {name} login\n  {name} login -method=userpass username=alice\n" +
			"  {name} login -method=approle role_id=... secret_id=@secret-id.txt\n  {name} login -method=jwt -path=ci role=build jwt=@token.jwt\n" +
			"  {name} login -method=oidc role=dev (opens a browser; port=8250 skip_browser=false are understood too)\n" +
			"  {name} login -method=kubernetes role=web (in a pod, with the pod's own token)\n  {name} login -method=ldap username=alice\n" +
			"  {name} login -method=cert -client-cert=me.pem -client-key=me.key name=web",
		define: func(fs *flag.FlagSet) action {
			var l login
			fs.StringVar(&l.method, "method", "token", "log in with this `type` of method: token, userpass, ldap, approle, oidc, kubernetes, jwt, cert, or any that takes K=V")
			fs.StringVar(&l.path, "path", "", "`path` of the method; its type by default")
			fs.BoolVar(&l.noStore, "no-store", false, "do not keep the token")
			fs.BoolVar(&l.noPrint, "no-print", false, "do not show the token")
			fs.BoolVar(&l.tokenOnly, "token-only", false, "print nothing but the token, and do not keep it")
			fs.BoolVar(&l.noLookup, "no-lookup", false, "keep the token given without looking it up")
			return func(ctx context.Context, c *call) error { return c.login(ctx, l) }
		},
		tokenless: true,
	}
}

// login is the flags of the login command.
type login struct {
	method, path                          string
	noStore, noPrint, tokenOnly, noLookup bool
}

func (c *call) login(ctx context.Context, l login) error {
	if l.tokenOnly {
		l.noStore = true
		if c.isSet("field") {
			return usageError("-token-only and -field exclude each other")
		}
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := c.authenticate(ctx, cl.WithToken(""), l)
	if err != nil {
		return err
	}
	if s.Auth == nil {
		// A wrapped login: whoever unwraps the answer gets the token.
		if l.tokenOnly {
			return c.raw(s.WrapInfo.Token)
		}
		return c.secret(s)
	}
	if !l.noStore {
		if err := c.tokens().Store(ctx, s.Auth.ClientToken); err != nil {
			return failed("storing the token", err)
		}
		c.warnAboutEnvironment()
	}
	return c.loggedIn(s, l)
}

// warnAboutEnvironment says that a token variable hides the one just stored.
func (c *call) warnAboutEnvironment() {
	if _, variable := api.LookupEnv(c.Env, "TOKEN"); variable != "" {
		fmt.Fprintf(c.Err, "WARNING! The environment variable %s is set, and goes before the token just stored.\nUnset it to use the new token.\n\n", variable)
	}
}

func (c *call) loggedIn(s *api.Secret, l login) error {
	switch {
	case l.tokenOnly:
		return c.raw(s.Auth.ClientToken)
	case c.opts.field != "":
		return c.secret(s)
	case l.noPrint:
		return nil
	case !c.tabular():
		return c.secret(s)
	}
	if l.noStore {
		c.success("You are now authenticated. The token was not stored: set VAULT_TOKEN to use it.\n")
	} else {
		c.success("You are now authenticated. The token below is stored, and the next commands\nuse it by themselves.\n")
	}
	return c.secret(s)
}

// authenticate logs in with the method and the arguments.
func (c *call) authenticate(ctx context.Context, cl *api.Client, l login) (*api.Secret, error) {
	if l.method == "token" {
		return c.loginToken(ctx, cl, l)
	}
	data, err := c.fields(ctx, c.args)
	if err != nil {
		return nil, err
	}
	mount := strings.TrimPrefix(cleanPath(l.path), "auth/")
	if m, ok := data["mount"].(string); ok && mount == "" {
		mount = cleanPath(m)
	}
	delete(data, "mount")
	if mount == "" {
		mount = l.method
	}
	if l.method == "oidc" && data["jwt"] == nil {
		return c.loginOIDC(ctx, cl, mount, data)
	}
	path, err := c.completeLogin(ctx, l.method, mount, data)
	if err != nil {
		return nil, err
	}
	s, err := cl.Login(ctx, path, data)
	if err != nil {
		return nil, failed("logging in at auth/"+mount, err)
	}
	return s, nil
}

// podToken is where a pod finds the token of its service account.
const podToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// completeLogin returns the login path of a method, and asks for the secret
// that the arguments left out.
func (c *call) completeLogin(ctx context.Context, method, mount string, data map[string]any) (path string, err error) {
	secret, prompt := "", ""
	switch method {
	case "userpass", "ldap", "okta", "radius":
		username, _ := data["username"].(string)
		if username == "" {
			return "", usageError(fmt.Sprintf("The method %s needs username=NAME", method))
		}
		if strings.Contains(username, "/") {
			return "", usageError("The user name has a slash")
		}
		delete(data, "username")
		path, secret, prompt = mount+"/login/"+username, "password", "Password"
	case "approle":
		if data["role_id"] == nil {
			return "", usageError("The method approle needs role_id=ID")
		}
		path = mount + "/login"
		// A role may need no secret id: only an interactive user is asked.
		if !isTerminal(c.In) || c.opts.nonInteractive {
			return path, nil
		}
		secret, prompt = "secret_id", "Secret ID"
	case "kubernetes":
		if data["role"] == nil {
			return "", usageError("The method kubernetes needs role=NAME")
		}
		if data["jwt"] == nil {
			token, err := os.ReadFile(podToken)
			if err != nil {
				return "", failed("reading the pod's token; outside of a pod give jwt=@FILE", err)
			}
			data["jwt"] = strings.TrimSpace(string(token))
		}
		return mount + "/login", nil
	case "jwt", "oidc":
		path, secret, prompt = mount+"/login", "jwt", "Token"
	default:
		return mount + "/login", nil
	}
	if _, given := data[secret]; !given {
		if data[secret], err = c.ask(ctx, prompt); err != nil {
			return "", failed("asking for the "+strings.ToLower(prompt), err)
		}
	}
	return path, nil
}

// loginToken checks a token by looking it up, and describes it as a login would.
func (c *call) loginToken(ctx context.Context, cl *api.Client, l login) (*api.Secret, error) {
	if len(c.args) > 1 {
		return nil, usageError(fmt.Sprintf("Too many arguments (expected 0 or 1, got %d)", len(c.args)))
	}
	token, err := c.resolve(ctx, strings.TrimPrefix(c.arg(0), "token="))
	if err != nil {
		return nil, err
	}
	if len(c.args) == 0 {
		if token, err = c.ask(ctx, "Token"); err != nil {
			return nil, failed("asking for the token", err)
		}
	}
	if token = strings.TrimSpace(token); token == "" {
		return nil, usageError("The token is empty")
	}
	if l.noLookup {
		return &api.Secret{Auth: &api.Auth{ClientToken: token}}, nil
	}
	c.connected = cl.WithToken(token)
	s, err := c.connected.WithWrapTTL("").Tokens().LookupSelf(ctx)
	if err != nil {
		return nil, failed("looking up the token", err)
	}
	var info api.TokenInfo
	if err := s.Decode(&info); err != nil {
		return nil, err
	}
	return &api.Secret{
		RequestID: s.RequestID, Warnings: s.Warnings, Data: json.RawMessage("null"),
		Auth: &api.Auth{
			ClientToken: token, Accessor: info.Accessor, LeaseDuration: info.TTL, Renewable: info.Renewable,
			TokenPolicies: info.Policies, IdentityPolicies: info.IdentityPolicies,
			Policies: append(append([]string{}, info.Policies...), info.IdentityPolicies...),
			Metadata: maps.Clone(info.Metadata), Orphan: info.Orphan, EntityID: info.EntityID, TokenType: info.Type, NumUses: info.NumUses,
		},
	}, nil
}
