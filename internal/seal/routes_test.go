package seal_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// client calls the endpoints as the gate does, with sudo or without a token.
type client struct {
	t     *testing.T
	table *route.Table
	sudo  bool
	open  []string // paths that the listener opens
}

func newClient(t *testing.T, srv *server) *client {
	t.Helper()
	table, err := route.NewTable(srv.Routes())
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, table: table, sudo: true}
}

// do returns the decoded answer, nil for 204.
func (c *client) do(verb route.Verb, path, body string) (any, error) {
	c.t.Helper()
	var m route.Match
	e, _ := c.table.Find(verb, path, &m)
	if e == nil {
		c.t.Fatalf("no endpoint %v %s", verb, path)
	}
	call := &route.Call{Verb: verb, Path: path, Sudo: c.sudo, Open: slices.Contains(c.open, path)}
	if body != "" {
		var err error
		if call.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
			c.t.Fatal(err)
		}
	}
	if (e.Sudo || !e.Public) && !c.sudo && !call.Open {
		return nil, fault.New(fault.Denied, "permission denied") // the gate's part
	}
	reply, err := e.Handle(c.t.Context(), nil, call)
	if err != nil || reply.NoContent {
		return nil, err
	}
	raw := reply.Data
	if reply.Raw != nil {
		if reply.Raw.ContentType != "application/json" || reply.Raw.Status != 0 {
			c.t.Errorf("%v %s: %q, status %d", verb, path, reply.Raw.ContentType, reply.Raw.Status)
		}
		raw = reply.Raw.Body
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		c.t.Fatal(err)
	}
	return out, nil
}

// want does a call and compares the answer with JSON in which "*" stands for
// any text; "" is 204. It returns the answer.
func (c *client) want(verb route.Verb, path, body, want string) map[string]any {
	c.t.Helper()
	got, err := c.do(verb, path, body)
	if err != nil {
		c.t.Fatalf("%v %s: %v", verb, path, err)
	}
	var expected any
	if want != "" {
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			c.t.Fatal(err)
		}
	}
	if d := cmp.Diff(expected, masked(expected, got)); d != "" {
		c.t.Fatalf("%v %s (-want +got):\n%s", verb, path, d)
	}
	m, _ := got.(map[string]any)
	return m
}

// masked returns got with "*" wherever want has it and got has a text.
func masked(want, got any) any {
	switch w := want.(type) {
	case string:
		if s, ok := got.(string); ok && w == "*" && s != "" {
			return "*"
		}
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			out := map[string]any{}
			for k, v := range g {
				out[k] = masked(w[k], v)
			}
			return out
		}
	case []any:
		if g, ok := got.([]any); ok && len(g) == len(w) {
			out := make([]any, len(g))
			for i := range g {
				out[i] = masked(w[i], g[i])
			}
			return out
		}
	}
	return got
}

func (c *client) refused(verb route.Verb, path, body string, kind fault.Kind) {
	c.t.Helper()
	if _, err := c.do(verb, path, body); err == nil || fault.KindOf(err) != kind {
		c.t.Errorf("%v %s: %v, want kind %v", verb, path, err, kind)
	}
}

func share(answer map[string]any, i int) string { return answer["keys_base64"].([]any)[i].(string) }

const (
	read   = route.VerbRead
	write  = route.VerbWrite
	remove = route.VerbDelete
)

func TestInitAndUnsealOnTheWire(t *testing.T) {
	c := newClient(t, start(t, mem.New()))
	c.sudo = false
	const blank = `"commit_date":"","migration":false,"recovery_seal":false,"storage_type":"mem","type":"shamir","version":"1.2.3"`
	c.want(read, "init", "", `{"initialized":false}`)
	c.want(read, "seal-status", "", `{"initialized":false,"sealed":true,"n":0,"t":0,"progress":0,"nonce":"",`+blank+`}`)
	c.refused(write, "init", `{"secret_shares":5,"secret_threshold":9}`, fault.Invalid)
	c.refused(write, "init", `{"secret_shares":0,"secret_threshold":0}`, fault.Invalid)
	keys := c.want(write, "init", `{"secret_shares":3,"secret_threshold":2}`,
		`{"keys":["*","*","*"],"keys_base64":["*","*","*"],"root_token":"*"}`)
	c.want(read, "init", "", `{"initialized":true}`)
	c.refused(write, "init", `{"secret_shares":1,"secret_threshold":1}`, fault.Invalid)
	one := c.want(write, "unseal", `{"key":"`+share(keys, 0)+`"}`,
		`{"initialized":true,"sealed":true,"n":3,"t":2,"progress":1,"nonce":"*",`+blank+`}`)
	if len(one["nonce"].(string)) != 36 {
		t.Errorf("nonce %q", one["nonce"])
	}
	c.want(write, "unseal", `{"reset":true}`, `{"initialized":true,"sealed":true,"n":3,"t":2,"progress":0,"nonce":"",`+blank+`}`)
	c.want(write, "unseal", `{"key":"`+share(keys, 0)+`"}`, `{"initialized":true,"sealed":true,"n":3,"t":2,"progress":1,"nonce":"*",`+blank+`}`)
	c.want(write, "unseal", `{"key":"`+keys["keys"].([]any)[2].(string)+`"}`,
		`{"initialized":true,"sealed":false,"n":3,"t":2,"progress":0,"nonce":"","cluster_id":"*","cluster_name":"*",`+blank+`}`)
	c.want(write, "unseal", `{"key":"AAAA"}`,
		`{"initialized":true,"sealed":false,"n":3,"t":2,"progress":0,"nonce":"","cluster_id":"*","cluster_name":"*",`+blank+`}`)
	c.refused(write, "unseal", `{}`, fault.Invalid)
	c.refused(write, "unseal", `{"reset":true}`, fault.Invalid)
	c.refused(write, "seal", "", fault.Denied)
	c.sudo = true
	c.want(write, "seal", "", "")
	c.want(read, "seal-status", "", `{"initialized":true,"sealed":true,"n":3,"t":2,"progress":0,"nonce":"",`+blank+`}`)
}

func TestRekeyOnTheWire(t *testing.T) {
	srv, _, keys := ready(t, 1, 1)
	c := newClient(t, srv)
	const idle = `{"backup":false,"n":0,"nonce":"","pgp_fingerprints":null,"progress":0,"required":1,"started":false,"t":0,"verification_required":false}`
	c.want(read, "rekey/init", "", idle)
	st := c.want(write, "rekey/init", `{"secret_shares":2,"secret_threshold":2,"require_verification":true}`,
		`{"backup":false,"n":2,"nonce":"*","pgp_fingerprints":null,"progress":0,"required":1,"started":true,"t":2,"verification_required":true}`)
	res := c.want(write, "rekey/update", `{"key":"`+keys[0]+`","nonce":"`+st["nonce"].(string)+`"}`,
		`{"backup":false,"complete":true,"keys":["*","*"],"keys_base64":["*","*"],"nonce":"*","pgp_fingerprints":null,"verification_nonce":"*","verification_required":true}`)
	vn := `"nonce":"` + res["verification_nonce"].(string) + `"`
	c.want(read, "rekey/verify", "", `{"n":2,`+vn+`,"progress":0,"started":true,"t":2}`)
	c.want(write, "rekey/verify", `{"key":"`+share(res, 0)+`",`+vn+`}`, `{"n":2,`+vn+`,"progress":1,"started":true,"t":2}`)
	c.want(write, "rekey/verify", `{"key":"`+share(res, 1)+`",`+vn+`}`, `{"complete":true,`+vn+`}`)

	st = c.want(write, "rekey/init", `{"secret_shares":1,"secret_threshold":1}`,
		`{"backup":false,"n":1,"nonce":"*","pgp_fingerprints":null,"progress":0,"required":2,"started":true,"t":1,"verification_required":false}`)
	nonce := `"nonce":"` + st["nonce"].(string) + `"`
	c.want(write, "rekey/update", `{"key":"`+share(res, 0)+`",`+nonce+`}`,
		`{"backup":false,"n":1,`+nonce+`,"pgp_fingerprints":null,"progress":1,"required":2,"started":true,"t":1,"verification_required":false}`)
	c.want(write, "rekey/update", `{"key":"`+share(res, 1)+`",`+nonce+`}`,
		`{"backup":false,"complete":true,"keys":["*"],"keys_base64":["*"],`+nonce+`,"pgp_fingerprints":null,"verification_required":false}`)
	c.want(read, "rekey/init", "", idle)
	c.refused(read, "rekey/backup", "", fault.Invalid)
	c.want(remove, "rekey/init", "", "")
}

func TestRotateRootOnTheWire(t *testing.T) {
	srv, _, keys := ready(t, 1, 1)
	c := newClient(t, srv)
	const idle = `{"n":0,"required":1,"started":false,"t":0}`
	c.want(read, "rotate/root/init", "", idle)
	st := c.want(write, "rotate/root/init", `{"secret_shares":3,"secret_threshold":2}`,
		`{"n":3,"nonce":"*","progress":0,"required":1,"started":true,"t":2,"verification_nonce":"","verification_required":false}`)
	nonce := `"nonce":"` + st["nonce"].(string) + `"`
	c.want(read, "rotate/root/init", "",
		`{"n":3,`+nonce+`,"progress":0,"required":1,"started":true,"t":2,"verification_nonce":"","verification_required":false}`)
	c.refused(write, "rotate/root/init", `{"secret_shares":3,"secret_threshold":2}`, fault.Invalid)
	c.refused(write, "rotate/root/update", `{"key":"AAAA","nonce":"bad"}`, fault.Invalid)
	c.refused(remove, "rotate/root/init", `{"nonce":"bad"}`, fault.Invalid)
	c.want(remove, "rotate/root/init", `{`+nonce+`}`, "")
	c.want(read, "rotate/root/init", "", idle)
	c.refused(write, "rotate/root/init", `{"secret_shares":2,"secret_threshold":5}`, fault.Invalid)
	c.refused(read, "rotate/root/backup", "", fault.Invalid)
	c.want(remove, "rotate/root/backup", "", "")

	st = c.want(write, "rotate/root/init", `{"secret_shares":2,"secret_threshold":2,"require_verification":true}`,
		`{"n":2,"nonce":"*","progress":0,"required":1,"started":true,"t":2,"verification_nonce":"","verification_required":true}`)
	res := c.want(write, "rotate/root/update", `{"key":"`+keys[0]+`","nonce":"`+st["nonce"].(string)+`"}`,
		`{"backup":false,"complete":true,"keys":["*","*"],"keys_base64":["*","*"],"nonce":"*","pgp_fingerprints":null,"verification_nonce":"*","verification_required":true}`)
	vn := `"nonce":"` + res["verification_nonce"].(string) + `"`
	c.want(write, "rotate/root/verify", `{"key":"`+share(res, 0)+`",`+vn+`}`, `{"n":2,`+vn+`,"progress":1,"started":true,"t":2}`)
	c.want(remove, "rotate/root/verify", `{`+vn+`}`, `{"n":2,"nonce":"*","progress":0,"started":true,"t":2}`)
	again := c.want(read, "rotate/root/verify", "", `{"n":2,"nonce":"*","progress":0,"started":true,"t":2}`)
	vn = `"nonce":"` + again["nonce"].(string) + `"`
	for i, want := range []string{`{"n":2,` + vn + `,"progress":1,"started":true,"t":2}`, `{"complete":true,` + vn + `}`} {
		c.want(write, "rotate/root/verify", `{"key":"`+share(res, i)+`",`+vn+`}`, want)
	}
	c.want(write, "rotate/root", "", "")
}

func TestGenerateRootOnTheWire(t *testing.T) {
	srv, _, keys := ready(t, 1, 1)
	c := newClient(t, srv)
	for _, path := range []string{"generate-root", "generate-root-token"} {
		attempt := path + "/attempt"
		st := c.want(write, attempt, `{}`, `{"complete":false,"encoded_root_token":"","encoded_token":"","nonce":"*","otp":"*","otp_length":26,"pgp_fingerprint":"","progress":0,"required":1,"started":true}`)
		c.refused(remove, attempt, `{"nonce":"bad"}`, fault.Invalid)
		c.want(remove, attempt, "", "")
		const idle = `{"complete":false,"encoded_root_token":"","encoded_token":"","nonce":"","otp":"","otp_length":26,"pgp_fingerprint":"","progress":0,"required":1,"started":false}`
		c.want(read, attempt, "", idle)
		c.refused(write, path+"/update", `{"key":"`+keys[0]+`","nonce":"`+st["nonce"].(string)+`"}`, fault.Invalid)
		st, _ = must(c.do(write, attempt, `{}`)).(map[string]any)
		nonce := `"nonce":"` + st["nonce"].(string) + `"`
		c.want(write, path+"/update", `{"key":"`+keys[0]+`",`+nonce+`}`,
			`{"complete":true,"encoded_root_token":"*","encoded_token":"*",`+nonce+`,"otp":"","otp_length":0,"pgp_fingerprint":"","progress":1,"required":1,"started":true}`)
		c.want(read, attempt, "", idle)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDataKeyOnTheWire(t *testing.T) {
	srv, _, _ := ready(t, 1, 1)
	c := newClient(t, srv)
	for _, path := range []string{"rotate", "rotate/keyring"} {
		before := must(c.do(read, "key-status", "")).(map[string]any)
		c.want(write, path, "", "")
		after := c.want(read, "key-status", "", `{"encryptions":0,"install_time":"*","term":`+string('1'+rune(before["term"].(float64)))+`}`)
		if s := after["install_time"].(string); !strings.HasSuffix(s, "Z") {
			t.Errorf("install time %q", s)
		}
		config := path + "/config"
		c.want(read, config, "", `{"enabled":true,"interval":0,"max_operations":3865470566}`)
		c.want(write, config, `{"enabled":true,"max_operations":3000000000,"interval":"48h"}`, "")
		c.want(read, config, "", `{"enabled":true,"interval":"48h0m0s","max_operations":3000000000}`)
		for _, bad := range []string{`{"max_operations":10}`, `{"max_operations":-1}`, `{"interval":"1h"}`, `{"interval":"x"}`, `{"enabled":"perhaps"}`} {
			c.refused(write, config, bad, fault.Invalid)
		}
		c.want(write, config, `{"enabled":false}`, "")
		c.want(read, config, "", `{"enabled":false,"interval":"48h0m0s","max_operations":3000000000}`)
		c.want(write, config, `{"enabled":true,"max_operations":3865470566,"interval":0}`, "")
	}
}

// TestEndpointsWithoutToken lists what may be called without a token. Listeners
// may open the older endpoints of rekey and root generation, and only those.
func TestEndpointsWithoutToken(t *testing.T) {
	always := []string{"read init", "read seal-status", "write init", "write unseal"}
	var got []string
	for _, e := range startWith(t, mem.New(), seal.Config{}).Routes() {
		switch {
		case e.Public:
			got = append(got, e.Verb.String()+" "+e.Pattern)
		case e.Verb != route.VerbRead && !e.Sudo && !strings.HasSuffix(e.Pattern, "/config"):
			t.Errorf("%v %s needs no sudo", e.Verb, e.Pattern)
		}
		if e.Sealed && !slices.Contains(always, e.Verb.String()+" "+e.Pattern) {
			t.Errorf("%v %s is served while sealed", e.Verb, e.Pattern)
		}
	}
	slices.Sort(got)
	if d := cmp.Diff(always, got); d != "" {
		t.Errorf("without a token (-want +got):\n%s", d)
	}
}

func TestOpenedEndpointsWithoutToken(t *testing.T) {
	s := mem.New()
	srv := startWith(t, s, seal.Config{})
	srv.mustUnseal(t, srv.initialize(t, 1, 1)...)
	c := newClient(t, srv)
	c.sudo = false
	c.open = []string{"rekey/init", "generate-root/attempt"}
	for _, start := range []struct{ path, body string }{
		{"rekey/init", `{"secret_shares":1,"secret_threshold":1}`},
		{"generate-root/attempt", `{}`},
	} {
		st := must(c.do(write, start.path, start.body)).(map[string]any)
		c.refused(remove, start.path, "", fault.Invalid)
		c.refused(remove, start.path, `{"nonce":"wrong"}`, fault.Invalid)
		c.want(remove, start.path, `{"nonce":"`+st["nonce"].(string)+`"}`, "")
	}
	c.refused(write, "rotate/root/init", `{"secret_shares":1,"secret_threshold":1}`, fault.Denied)
	c.refused(write, "generate-root-token/attempt", `{}`, fault.Denied)
}
