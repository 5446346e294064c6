package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/policy"
)

// request decodes a body as the server does.
func request(t *testing.T, body string) policy.ParamView {
	t.Helper()
	if body == "" {
		return nil
	}
	var p params
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParameterRules(t *testing.T) {
	type req struct {
		body string
		want bool
	}
	tests := []struct {
		name  string
		rules string
		reqs  []req
	}{
		{"required", `required_parameters = ["owner", "Team"]`, []req{
			{`{"owner":"me","team":1}`, true},
			{`{"OWNER":null,"TEAM":[]}`, true},
			{`{"owner":"me"}`, false},
			{`{}`, false},
			{``, false},
		}},
		{"allowed with values, any value, and nothing else", `allowed_parameters = { "color" = ["red", "blue"], "note" = [] }`, []req{
			{`{"color":"red"}`, true},
			{`{"color":"green"}`, false},
			{`{"COLOR":"red"}`, true},
			{`{"color":"RED"}`, false},
			{`{"note":{"any":["thing"]}}`, true},
			{`{"note":null}`, true},
			{`{"color":null}`, false},
			{`{"color":{"a":1}}`, false},
			{`{"other":1}`, false},
			{`{"color":"red","other":1}`, false},
			{`{"color":"red","Color":"green"}`, false},
			{`{}`, true},
			{``, true},
		}},
		{"allowed with all others", `allowed_parameters = { "color" = ["red"], "*" = [] }`, []req{
			{`{"other":1}`, true},
			{`{"color":"green","other":1}`, false},
			{`{"color":"red","other":1}`, true},
		}},
		{"all allowed", `allowed_parameters = { "*" = [] }`, []req{{`{"x":1}`, true}}},
		{"an empty block constrains nothing", `allowed_parameters = {}`, []req{{`{"x":1}`, true}}},
		{"denied with values, and with any", `denied_parameters = { "role" = ["admin"], "secret" = [] }`, []req{
			{`{"role":"admin"}`, false},
			{`{"Role":"admin"}`, false},
			{`{"role":"user"}`, true},
			{`{"secret":null}`, false},
			{`{"other":1}`, true},
			{`{"role":["user","admin"]}`, false},
			{`{"role":[["admin"]]}`, false},
			{`{"role":"user, admin"}`, false},
			{`{"role":"administrator"}`, true},
			{`{"role":[]}`, true},
			{`{}`, true},
		}},
		{"everything denied", `denied_parameters = { "*" = [] }`, []req{{`{"x":1}`, false}, {`{}`, true}}},
		{"denied wins over allowed", `allowed_parameters = { "a" = [] }
			denied_parameters = { "a" = ["x"] }`, []req{{`{"a":"x"}`, false}, {`{"a":"y"}`, true}, {`{"b":"y"}`, false}}},
		{"globs", `allowed_parameters = { "a" = ["pre*"], "b" = ["*suf"], "c" = ["*mid*"], "d" = ["*"] }`, []req{
			{`{"a":"prefix"}`, true},
			{`{"a":"pre"}`, true},
			{`{"a":"a pre"}`, false},
			{`{"b":"x.suf"}`, true},
			{`{"b":"suffix"}`, false},
			{`{"c":"a mid b"}`, true},
			{`{"c":"md"}`, false},
			{`{"d":"*"}`, true},
			{`{"d":"x"}`, false},
			{`{"a":"prefix,anything"}`, true},
		}},
		{"a lone star denies any value", `denied_parameters = { "a" = ["*"] }`, []req{{`{"a":"x"}`, false}, {`{"a":5}`, false}, {`{"b":"x"}`, true}}},
		{"numbers and booleans", `allowed_parameters = { "n" = [24, "1*"], "f" = [0.5], "b" = [true], "s" = ["24", "true"] }`, []req{
			{`{"n":24}`, true},
			{`{"n":24.0}`, true},
			{`{"n":"24"}`, true},
			{`{"n":25}`, false},
			{`{"n":100}`, true},
			{`{"f":5e-1}`, true},
			{`{"b":true}`, true},
			{`{"b":"true"}`, true},
			{`{"b":false}`, false},
			{`{"s":24}`, true},
			{`{"s":true}`, true},
			{`{"n":1e400}`, true}, // the text begins with 1
			{`{"f":1e400}`, false},
		}},
		{"denied across types", `denied_parameters = { "no_store" = [false], "n" = ["0"] }`, []req{
			{`{"no_store":false}`, false},
			{`{"no_store":"false"}`, false},
			{`{"no_store":true}`, true},
			{`{"n":0}`, false},
			{`{"n":0.0}`, false},
		}},
		{"every element of a list must be allowed", `allowed_parameters = { "p" = ["a", "b*", ["x", "y"]] }`, []req{
			{`{"p":["a"]}`, true},
			{`{"p":["a","b1"]}`, true},
			{`{"p":["a","c"]}`, false},
			{`{"p":[]}`, true},
			{`{"p":["x","y"]}`, true},
			{`{"p":["y","x"]}`, false},
			{`{"p":["a",["x","y"]]}`, true},
			{`{"p":["a",null]}`, false},
			{`{"p":"a,c"}`, false},
		}},
		{"names of policies have no case", `denied_parameters = { "token_policies" = ["Admin"] }
			allowed_parameters = { "policies" = ["dev"], "*" = [] }`, []req{
			{`{"token_policies":"ADMIN"}`, false},
			{`{"token_policies":[" admin "]}`, false},
			{`{"token_policies":["dev","aDmin"]}`, false},
			{`{"token_policies":"dev"}`, true},
			{`{"policies":["DEV"]}`, true},
			{`{"policies":["admin"]}`, false},
		}},
		{"letters that fold into ASCII are that letter", `denied_parameters = { "policies" = [], "key" = [] }`, []req{
			{`{"policie\u017f":["x"]}`, false},
			{`{"\u212aey":["x"]}`, false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			acl := compile(t, "path \"a\" {\n capabilities = [\"create\", \"read\", \"update\", \"patch\", \"delete\"]\n "+tt.rules+"\n}")
			for _, r := range tt.reqs {
				for _, op := range []policy.Op{policy.Create, policy.Update, policy.Patch, policy.Read} {
					if d := acl.Check(op, "a", request(t, r.body), 0); d.Allowed != r.want {
						t.Errorf("%v %s: allowed %v (%v), want %v", op, r.body, d.Allowed, d.Reason, r.want)
					}
				}
				if !acl.Check(policy.Delete, "a", request(t, r.body), 0).Allowed {
					t.Errorf("delete %s: parameter rules do not apply", r.body)
				}
			}
		})
	}
}

func TestParameterRulesMerge(t *testing.T) {
	rule := func(body string) string { return "path \"a\" {\n capabilities = [\"update\"]\n " + body + "\n}" }
	tests := []struct {
		name  string
		texts []string
		allow []string
		deny  []string
	}{
		{"the union of allowed values", []string{rule(`allowed_parameters = { "x" = ["1"] }`), rule(`allowed_parameters = { "x" = ["2"], "y" = [] }`)},
			[]string{`{"x":"1"}`, `{"x":"2"}`, `{"y":"z"}`}, []string{`{"x":"3"}`, `{"z":"1"}`}},
		{"any value wins among allowed", []string{rule(`allowed_parameters = { "x" = ["1"] }`), rule(`allowed_parameters = { "x" = [] }`)},
			[]string{`{"x":"3"}`}, nil},
		{"the union of denied values", []string{rule(`denied_parameters = { "x" = ["1"] }`), rule(`denied_parameters = { "x" = ["2"] }`)},
			[]string{`{"x":"3"}`}, []string{`{"x":"1"}`, `{"x":"2"}`}},
		{"any value wins among denied", []string{rule(`denied_parameters = { "x" = ["1"] }`), rule(`denied_parameters = { "x" = [] }`)},
			nil, []string{`{"x":"3"}`}},
		{"all that is required", []string{rule(`required_parameters = ["x"]`), rule(`required_parameters = ["y", "x"]`)},
			[]string{`{"x":1,"y":1}`}, []string{`{"x":1}`, `{"y":1}`}},
		{"a rule without constraints lifts none", []string{rule(`allowed_parameters = { "x" = [] }`), rule(``)},
			[]string{`{"x":1}`}, []string{`{"y":1}`}},
		{"in either order", []string{rule(``), rule(`allowed_parameters = { "x" = [] }`)},
			[]string{`{"x":1}`}, []string{`{"y":1}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			acl := compile(t, tt.texts...)
			for want, bodies := range map[bool][]string{true: tt.allow, false: tt.deny} {
				for _, body := range bodies {
					if d := acl.Check(policy.Update, "a", request(t, body), 0); d.Allowed != want {
						t.Errorf("%s: allowed %v, want %v", body, d.Allowed, want)
					}
				}
			}
			// Joining must not have changed the policies themselves.
			again := compile(t, tt.texts...)
			for _, body := range tt.deny {
				if again.Check(policy.Update, "a", request(t, body), 0).Allowed {
					t.Errorf("%s: allowed when compiled again", body)
				}
			}
		})
	}
}

// Compiling the same parsed policies over and over must not change them.
func TestCompileLeavesPoliciesAlone(t *testing.T) {
	parse := func(text string) *policy.Policy {
		p, _, err := policy.Parse("p", text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	one := parse(`path "a" { capabilities = ["update"] allowed_parameters = { "x" = ["1"] } required_parameters = ["x"] mfa_methods = ["m"] }`)
	two := parse(`path "a" { capabilities = ["update"] allowed_parameters = { "x" = ["2"] } required_parameters = ["y"] }`)
	for range 3 {
		if _, err := policy.Compile([]*policy.Policy{one, two}, noon); err != nil {
			t.Fatal(err)
		}
	}
	acl, err := policy.Compile([]*policy.Policy{one}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if acl.Check(policy.Update, "a", request(t, `{"x":"2"}`), 0).Allowed || !acl.Check(policy.Update, "a", request(t, `{"x":"1"}`), 0).Allowed {
		t.Error("joining two policies changed the first")
	}
}

// countingView fails the test when a rule without parameters asks for them.
type countingView struct{ t *testing.T }

func (v countingView) Names() []string { v.t.Error("parameters were read"); return nil }
func (v countingView) Lookup(string) (any, bool) {
	v.t.Error("parameters were read")
	return nil, false
}

func TestParametersAreReadOnlyWhenNeeded(t *testing.T) {
	acl := compile(t, rules("a", "update"), `path "b" { capabilities = ["read"] denied_parameters = { "x" = [] } }`)
	if !acl.Check(policy.Update, "a", countingView{t}, 0).Allowed {
		t.Error("a rule without parameter rules refused")
	}
	if acl.Check(policy.Update, "b", countingView{t}, 0).Allowed {
		t.Error("a rule without the capability allowed")
	}
}
