package audit_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/audit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testSalt = []byte("0123456789abcdef0123456789abcdef")

// sampleLogin is the answer to a login, with everything a response can hold.
func sampleLogin() *audit.Record {
	request, _ := sampleRead()
	request.Type = audit.TypeResponse
	request.Error = "1 error occurred: \"quoted\"\n"
	request.Request.Data = []byte(`{"password": "hunter2", "remember": true}`)
	request.Request.WrapTTL = 5 * time.Minute
	request.Request.PolicyOverride = true
	request.Request.ClientCertificateSerialNumber = "57:3a"
	request.Request.Headers = []audit.Header{
		{Name: "X-Hashed", Values: []string{"header-canary", "second"}},
		{Name: "X-Clear", Values: []string{"shown"}},
		{Name: "Authorization", Values: []string{"Bearer never-canary"}},
	}
	request.Response = &audit.Response{
		Mount: request.Request.Mount, LeaseID: "database/creds/app/abc", Warnings: []string{"soon"}, Redirect: "https://other",
		Auth: &audit.Auth{
			Token: "hvs.new-canary", Accessor: "new-accessor-canary", Policies: []string{"default"}, TokenType: "service", NumUses: 3,
			ExternalNamespacePolicies: []audit.NamespacePolicies{{NamespaceID: "ns1", Policies: []string{"p"}}},
			NoDefaultPolicy:           true, EntityCreated: true,
		},
		WrapInfo: &audit.WrapInfo{
			TTL: time.Minute, Token: "wrap-canary", Accessor: "wrap-accessor-canary", CreationTime: sampleTime(),
			CreationPath: "auth/userpass/login/alice", WrappedAccessor: "wrapped-canary",
		},
	}
	return request
}

func TestEntriesAreAsVaultNamesThem(t *testing.T) {
	request, response := sampleRead()
	list := sampleRecordList()
	for name, c := range map[string]struct {
		rec  *audit.Record
		opts map[string]string
	}{
		"request":           {request, nil},
		"response":          {response, nil},
		"login":             {sampleLogin(), nil},
		"login-raw":         {sampleLogin(), map[string]string{"log_raw": "true"}},
		"login-accessors":   {sampleLogin(), map[string]string{"hmac_accessor": "false"}},
		"list":              {list, nil},
		"list-elided":       {list, map[string]string{"elide_list_responses": "true"}},
		"request-prefixed":  {request, map[string]string{"prefix": "@cee: "}},
		"request-nobody":    {&audit.Record{Time: sampleTime(), Type: audit.TypeRequest, Request: &audit.Request{ID: "1", Path: "sys/x"}}, nil},
		"request-forwarded": {&audit.Record{Time: sampleTime(), Type: audit.TypeRequest, ForwardedFrom: "node-2", Request: &audit.Request{ID: "1"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := audit.NewTestEncoder(testSalt, c.opts).Line(c.rec)
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Error(d)
			}
			if !json.Valid(bytes.TrimPrefix(got, []byte(c.opts["prefix"]))) {
				t.Errorf("no JSON: %s", got)
			}
			if c.opts["log_raw"] == "" && c.opts["hmac_accessor"] == "" && bytes.Contains(got, []byte("canary")) {
				t.Errorf("in clear: %s", got)
			}
			if bytes.Contains(got, []byte("never-canary")) {
				t.Errorf("a header that is not audited: %s", got)
			}
			if bytes.Contains(got, []byte("header-canary")) {
				t.Errorf("a header that is to be hashed: %s", got)
			}
		})
	}
}

func sampleRecordList() *audit.Record {
	_, response := sampleRead()
	req := *response.Request
	req.Operation = "list"
	response.Request = &req
	response.Response.Data = []byte(`{"keys":["a","b/",["c"]],"key_info":{"a":{"x":"y"},"b/":{}},"other":{"keys":["z"]}}`)
	return response
}

const canary = "CANARY-7f3a"

func TestNoStringValueIsInClear(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, data := range map[string]string{
		"a member":                    `{"a":"CANARY-7f3a"}`,
		"nested maps":                 `{"a":{"b":{"c":"CANARY-7f3a"}}}`,
		"arrays":                      `{"a":["CANARY-7f3a",["CANARY-7f3a"],{"b":"CANARY-7f3a"}]}`,
		"the top":                     `"CANARY-7f3a"`,
		"an array at the top":         `["CANARY-7f3a"]`,
		"duplicate names":             `{"a":1,"a":"CANARY-7f3a","a":{"b":"CANARY-7f3a"}}`,
		"a number as a string":        `{"a":"CANARY-7f3a123"}`,
		"an escaped quote":            `{"a":"\"CANARY-7f3a\""}`,
		"an escaped backslash":        `{"a":"\\","b":"CANARY-7f3a"}`,
		"white space":                 "{ \"a\" :\n [ \"CANARY-7f3a\" ,\t1 ] }",
		"after a kept one":            `{"kept":"ok","a":"CANARY-7f3a"}`,
		"an object under a kept name": `{"kept":{"a":"CANARY-7f3a"}}`,
		"a name that differs in case": `{"Kept":"CANARY-7f3a"}`,
		"a list's keys":               `{"keys":["CANARY-7f3a"]}`,
		"malformed: no end":           `{"a":"CANARY-7f3a`,
		"malformed: no brace":         `{"a":"CANARY-7f3a"`,
		"malformed: two values":       `{"a":"x"} "CANARY-7f3a"`,
		"malformed: a bare word":      `{"a":CANARY-7f3a}`,
		"malformed: a bare name":      `{CANARY-7f3a:1}`,
		"malformed: a bad escape":     `{"a":"\x","b":"CANARY-7f3a"}`,
		"malformed: a line end":       "{\"a\":\"CANARY-7f3a\n\"}",
		"malformed: a bad number":     `{"a":01,"b":"CANARY-7f3a"}`,
		"malformed: a comma":          `{"a":"CANARY-7f3a",}`,
		"malformed: no JSON":          "CANARY-7f3a",
		"malformed: NUL":              "{\"a\":\"\x00CANARY-7f3a\"}",
		"too deep":                    strings.Repeat("[", 5000) + `"CANARY-7f3a"` + strings.Repeat("]", 5000),
		"many strings":                `["` + strings.Repeat(`","`, 70000) + `CANARY-7f3a"]`,
		"a long string":               `{"a":"` + long + canary + `"}`,
		"no UTF-8":                    "{\"a\":\"\xff\xfeCANARY-7f3a\"}",
		"a lone surrogate":            `{"a":"\ud800CANARY-7f3a"}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := audit.NewTestEncoder(testSalt, nil).Data([]byte(data), []string{"kept"}, false)
			if bytes.Contains(got, []byte(canary)) {
				t.Errorf("in clear: %.300s", got)
			}
			if !json.Valid(got) {
				t.Errorf("no JSON: %.300s", got)
			}
			if strings.HasPrefix(name, "malformed") || strings.HasPrefix(name, "too") || strings.HasPrefix(name, "many") {
				if want := `"` + audit.HashOf(testSalt, []byte(data)) + `"`; string(got) != want {
					t.Errorf("got %.300s, want %s", got, want)
				}
			}
		})
	}
}

func TestDataKeepsItsShape(t *testing.T) {
	h := func(s string) string { return `"` + audit.HashOf(testSalt, []byte(s)) + `"` }
	for name, c := range map[string]struct {
		in, want string
		opts     map[string]string
		keep     []string
		elide    bool
	}{
		"other values stay":              {in: `{"a":1,"b":-1.5e+10,"c":true,"d":false,"e":null,"f":{},"g":[]}`, want: `{"a":1,"b":-1.5e+10,"c":true,"d":false,"e":null,"f":{},"g":[]}`},
		"white space goes":               {in: " { \"a\" : [ 1 , 2 ] } \n", want: `{"a":[1,2]}`},
		"a value is hashed unescaped":    {in: `{"a":"\u0068\u00e9\ud83d\ude00\/"}`, want: `{"a":` + h("hé😀/") + `}`},
		"an empty string is hashed":      {in: `{"a":""}`, want: `{"a":` + h("") + `}`},
		"names stay as they are":         {in: `{"\u0061\n":"x"}`, want: `{"a\n":` + h("x") + `}`},
		"kept names stay":                {in: `{"k":"x","l":"y"}`, want: `{"k":"x","l":` + h("y") + `}`, keep: []string{"k"}},
		"kept names match unescaped":     {in: `{"\u006b":"x"}`, want: `{"k":"x"}`, keep: []string{"k"}},
		"kept names match inside":        {in: `{"data":{"k":"x","l":"y"}}`, want: `{"data":{"k":"x","l":` + h("y") + `}}`, keep: []string{"k"}},
		"kept lists stay":                {in: `{"k":["x",["y"]]}`, want: `{"k":["x",["y"]]}`, keep: []string{"k"}},
		"a kept name's object is hashed": {in: `{"k":{"l":"x"}}`, want: `{"k":{"l":` + h("x") + `}}`, keep: []string{"k"}},
		"raw shows everything":           {in: `{"a":["x",{"b":"y\n"}]}`, want: `{"a":["x",{"b":"y\n"}]}`, opts: map[string]string{"log_raw": "true"}},
		"raw stays on one line":          {in: "{\"a\":\n\"x\"}", want: `{"a":"x"}`, opts: map[string]string{"log_raw": "true"}},
		"elided lists are counts":        {in: `{"keys":["a","b"],"key_info":{"a":{"x":"y"}}}`, want: `{"keys":2,"key_info":1}`, elide: true},
		"elided empty lists":             {in: `{"keys":[],"key_info":{}}`, want: `{"keys":0,"key_info":0}`, elide: true},
		"only lists are elided":          {in: `{"keys":"x","o":{"keys":["y"]}}`, want: `{"keys":` + h("x") + `,"o":{"keys":[` + h("y") + `]}}`, elide: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := audit.NewTestEncoder(testSalt, c.opts).Data([]byte(c.in), c.keep, c.elide)
			if d := cmp.Diff(c.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// H1: a body of many tiny strings or deep nesting costs no more than hashing
// it once.
func TestHostileDataIsBounded(t *testing.T) {
	enc := audit.NewTestEncoder(testSalt, nil)
	for name, data := range map[string]string{
		"brackets":     strings.Repeat("[", 8<<20),
		"objects":      strings.Repeat(`{"a":`, 1<<20),
		"tiny strings": "[" + strings.Repeat(`"",`, 1<<20) + `""]`,
	} {
		if got := enc.Data([]byte(data), nil, false); len(got) > 100 {
			t.Errorf("%s: %d bytes of output", name, len(got))
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget at random under the race detector")
	}
	enc := audit.NewTestEncoder(testSalt, nil)
	request, response := sampleRead()
	if n := testing.AllocsPerRun(200, func() { enc.Line(request); enc.Line(response) }); n > 0.5 {
		t.Errorf("%v allocations for a pair", n)
	}
}

func FuzzData(f *testing.F) {
	for _, s := range []string{
		`{"a":"b"}`, `{"keys":["a"],"key_info":{"a":{}}}`, `[1,-0.5e3,true,null,"x\u00e9\ud83d\ude00"]`, `"\"`, `{"a":"\ud800"}`,
		"{\"\xff\":\"\xff\"}", `{"k":["v"]}`, ` {} `, `{"a":1,}`, `-`, `1.`, `tru`, "",
	} {
		f.Add([]byte(s), s)
	}
	f.Fuzz(func(t *testing.T, data []byte, secret string) {
		for _, opts := range []map[string]string{nil, {"log_raw": "true"}} {
			enc := audit.NewTestEncoder(testSalt, opts)
			for _, elide := range []bool{false, true} {
				out := enc.Data(data, []string{"k"}, elide)
				if !json.Valid(out) || bytes.ContainsAny(out, "\n\r") {
					t.Fatalf("%q became %q", data, out)
				}
				if opts == nil && !elide && len(data) < 250 && json.Valid(data) != (string(out) != `"`+audit.HashOf(testSalt, data)+`"`) && !isString(data) {
					t.Fatalf("%q: validity judged differently: %q", data, out)
				}
			}
		}
		// A secret in the middle of any shape never shows.
		secret = canary + secret
		quoted, err := json.Marshal(secret)
		if err != nil {
			return
		}
		wrapped := []byte(`{"x":[` + string(quoted) + `],"d":` + string(data) + `}`)
		if bytes.Contains(data, []byte("CANARY")) {
			return
		}
		if out := audit.NewTestEncoder(testSalt, nil).Data(wrapped, []string{"k"}, false); bytes.Contains(out, []byte(canary)) {
			t.Fatalf("%q shows in %q", secret, out)
		}
	})
}

// isString reports whether data is a single string, whose rewritten form is a
// hash too.
func isString(data []byte) bool {
	d := bytes.TrimSpace(data)
	return len(d) > 0 && d[0] == '"'
}
