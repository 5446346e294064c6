package jwt_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// trusting mounts the method with a signer's key and a role "dev".
func trusting(t *testing.T, s signer, role object) *enginetest.Mount {
	t.Helper()
	m := mount(t)
	m.Write("config", object{"jwt_validation_pubkeys": []string{s.pem(t)}, "bound_issuer": "https://issuer.example"})
	full := object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer", "token_policies": "dev", "token_ttl": "10m"}
	for name, v := range role {
		full[name] = v
	}
	m.Write("role/dev", full)
	return m
}

func login(m *enginetest.Mount, token string) enginetest.Result {
	return m.Call(route.VerbWrite, "login", object{"role": "dev", "jwt": token})
}

func TestALoginSaysWhoTheCallerIs(t *testing.T) {
	s := newECDSA(t, "")
	m := trusting(t, s, object{
		"groups_claim": "groups", "claim_mappings": object{"email": "mail", "/team/name": "team", "/team/level": "level", "/team/a~1b": "slash", "/team/list/1": "second", "admin": "admin", "absent": "absent"},
	})
	r := login(m, s.sign(t, claimsAt(m.Clock.Now(), nil)))
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	metadata := map[string]string{"role": "dev", "mail": "alice@example.org", "team": "blue", "level": "3", "slash": "slash", "second": "y", "admin": "true"}
	want := &authn.Identity{
		DisplayName: "alice", Alias: "alice", AliasMetadata: metadata, Metadata: metadata, Groups: []string{"dev", "ops"},
		Token: authn.TokenParams{Policies: []string{"dev"}, TTL: 10 * time.Minute}, Payload: []byte(`{"role":"dev"}`),
	}
	if diff := cmp.Diff(want, r.Login); diff != "" {
		t.Error(diff)
	}
}

// TestWhatARoleIsBoundToBinds holds one token against roles: each setting that
// binds has a login that passes and one that does not.
func TestWhatARoleIsBoundToBinds(t *testing.T) {
	s := newECDSA(t, "")
	for name, tt := range map[string]struct {
		role   object
		claims object
		ok     bool
	}{
		"subject":                            {object{"bound_subject": "alice"}, nil, true},
		"other subject":                      {object{"bound_subject": "alice"}, object{"sub": "bob"}, false},
		"subject in other case":              {object{"bound_subject": "alice"}, object{"sub": "Alice"}, false},
		"claim":                              {object{"bound_claims": object{"email": "alice@example.org"}}, nil, true},
		"claim of other value":               {object{"bound_claims": object{"email": "alice@example.org"}}, object{"email": "alice@evil.example"}, false},
		"claim missing":                      {object{"bound_claims": object{"email": "alice@example.org"}}, object{"email": nil}, false},
		"claim null":                         {object{"bound_claims": object{"email": "alice@example.org"}}, object{"email": json.RawMessage("null")}, false},
		"one of several values":              {object{"bound_claims": object{"/team/name": []string{"green", "blue"}}}, nil, true},
		"one of several held":                {object{"bound_claims": object{"groups": "ops"}}, nil, true},
		"none of several held":               {object{"bound_claims": object{"groups": "root"}}, nil, false},
		"empty list held":                    {object{"bound_claims": object{"groups": "ops"}}, object{"groups": []string{}}, false},
		"all claims must match":              {object{"bound_claims": object{"groups": "ops", "email": "x"}}, nil, false},
		"number":                             {object{"bound_claims": object{"/team/level": 3}}, nil, true},
		"number in other writing":            {object{"bound_claims": object{"/team/level": json.RawMessage("3.0")}}, nil, true},
		"number as text":                     {object{"bound_claims": object{"/team/level": "3"}}, nil, false},
		"boolean":                            {object{"bound_claims": object{"admin": true}}, nil, true},
		"boolean as text":                    {object{"bound_claims": object{"admin": "true"}}, nil, false},
		"claim is an object":                 {object{"bound_claims": object{"team": "blue"}}, nil, false},
		"star without glob":                  {object{"bound_claims": object{"email": "*@example.org"}}, nil, false},
		"glob":                               {object{"bound_claims_type": "glob", "bound_claims": object{"email": "*@example.org"}}, nil, true},
		"glob of other value":                {object{"bound_claims_type": "glob", "bound_claims": object{"email": "*@example.org"}}, object{"email": "alice@example.org.evil"}, false},
		"pointer into nothing":               {object{"bound_claims": object{"/team/nothing/deep": "x"}}, nil, false},
		"user by pointer":                    {object{"user_claim": "/team/name", "user_claim_json_pointer": true}, nil, true},
		"user by pointer, not said so":       {object{"user_claim": "/team/name"}, nil, false},
		"user missing":                       {nil, object{"sub": nil}, false},
		"user is a number":                   {nil, object{"sub": 7}, false},
		"user is empty":                      {nil, object{"sub": ""}, false},
		"user with space around":             {nil, object{"sub": " alice"}, false},
		"user with a control":                {nil, object{"sub": "alice\x00"}, false},
		"user with a hidden sign":            {nil, object{"sub": "ali\u200bce"}, false},
		"groups missing":                     {object{"groups_claim": "groups"}, object{"groups": nil}, false},
		"groups of numbers":                  {object{"groups_claim": "groups"}, object{"groups": []int{1}}, false},
		"one group":                          {object{"groups_claim": "groups"}, object{"groups": "dev"}, true},
		"metadata of a list":                 {object{"claim_mappings": object{"groups": "g"}}, nil, false},
		"address":                            {object{"token_bound_cidrs": "127.0.0.0/8"}, nil, true},
		"other address":                      {object{"token_bound_cidrs": "192.0.2.0/24"}, nil, false},
		"another issuer":                     {nil, object{"iss": "https://evil.example"}, false},
		"issuer as prefix":                   {nil, object{"iss": "https://issuer.example.evil"}, false},
		"no issuer":                          {nil, object{"iss": nil}, false},
		"issuer as list":                     {nil, object{"iss": []string{"https://issuer.example"}}, false},
		"claim only in a name of other case": {object{"bound_claims": object{"email": "x"}}, object{"Email": "x", "email": nil}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := trusting(t, s, tt.role)
			m.Remote = netip.MustParseAddr("127.0.0.1")
			r := login(m, s.sign(t, claimsAt(m.Clock.Now(), tt.claims)))
			if (r.Err == nil) != tt.ok {
				t.Errorf("got %v", r.Err)
			}
			if k := fault.KindOf(r.Err); r.Err != nil && k != fault.Unauthenticated && k != fault.Denied {
				t.Errorf("the refusal is of kind %v", k)
			}
		})
	}
}

// TestAudiences is the table of E6: aud as text and as list, against roles.
func TestAudiences(t *testing.T) {
	s := newECDSA(t, "")
	bound := object{"bound_audiences": []string{"coffer", "other"}}
	unbound := object{"bound_audiences": []string{}, "bound_subject": "alice"}
	for name, tt := range map[string]struct {
		role object
		aud  any
		ok   bool
	}{
		"text":                    {bound, "coffer", true},
		"list":                    {bound, []string{"coffer"}, true},
		"superset":                {bound, []string{"x", "coffer"}, true},
		"the other":               {bound, "other", true},
		"empty text":              {bound, "", false},
		"empty list":              {bound, []string{}, false},
		"absent":                  {bound, nil, false},
		"null":                    {bound, json.RawMessage("null"), false},
		"prefix":                  {bound, "coff", false},
		"longer":                  {bound, "coffers", false},
		"other case":              {bound, "Coffer", false},
		"joined":                  {bound, "coffer,other", false},
		"object":                  {bound, object{"coffer": true}, false},
		"list with a number":      {bound, []any{"coffer", 1}, false},
		"for somebody, role open": {unbound, "coffer", false},
		"for nobody, role open":   {unbound, nil, true},
		"empty text, role open":   {unbound, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := trusting(t, s, tt.role)
			r := login(m, s.sign(t, claimsAt(m.Clock.Now(), object{"aud": tt.aud})))
			if (r.Err == nil) != tt.ok {
				t.Errorf("got %v", r.Err)
			}
		})
	}
}

func TestTimes(t *testing.T) {
	s := newECDSA(t, "")
	at := func(d time.Duration) func(now time.Time) any {
		return func(now time.Time) any { return now.Add(d).Unix() }
	}
	type times map[string]func(time.Time) any
	for name, tt := range map[string]struct {
		role  object
		times times
		ok    bool
	}{
		"good":                                {nil, nil, true},
		"expired within the skew":             {nil, times{"exp": at(-59 * time.Second)}, true},
		"expired":                             {nil, times{"exp": at(-61 * time.Second)}, false},
		"expired, no skew":                    {object{"clock_skew_leeway": -1}, times{"exp": at(-time.Second)}, false},
		"expired, more skew":                  {object{"clock_skew_leeway": "5m"}, times{"exp": at(-4 * time.Minute)}, true},
		"not yet within the skew":             {nil, times{"nbf": at(59 * time.Second)}, true},
		"not yet":                             {nil, times{"nbf": at(61 * time.Second)}, false},
		"issued in the future":                {nil, times{"iat": at(2 * time.Minute)}, false},
		"no expiry, fresh":                    {nil, times{"exp": nil}, true},
		"no expiry, within the leeway":        {nil, times{"exp": nil, "iat": at(-3 * time.Minute)}, true},
		"no expiry, old":                      {nil, times{"exp": nil, "iat": at(-4 * time.Minute)}, false},
		"no expiry, old, more leeway":         {object{"expiration_leeway": 600}, times{"exp": nil, "iat": at(-10 * time.Minute)}, true},
		"no expiry, no leeway":                {object{"expiration_leeway": -1}, times{"exp": nil, "iat": at(-2 * time.Minute)}, false},
		"expiry alone":                        {nil, times{"iat": nil, "exp": at(time.Minute)}, true},
		"expiry alone, far":                   {nil, times{"iat": nil, "exp": at(4 * time.Minute)}, false},
		"expiry alone, far, more leeway":      {object{"not_before_leeway": "10m"}, times{"iat": nil, "exp": at(10 * time.Minute)}, true},
		"no times":                            {nil, times{"iat": nil, "exp": nil}, false},
		"expiry as text":                      {nil, times{"exp": func(time.Time) any { return "never" }}, false},
		"expiry beyond all dates":             {nil, times{"exp": func(time.Time) any { return 1e300 }}, false},
		"expiry with a fraction":              {nil, times{"exp": func(now time.Time) any { return float64(now.Unix()) + 60.5 }}, true},
		"expiry beyond what a number can say": {nil, times{"exp": func(time.Time) any { return json.RawMessage("1e999") }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := trusting(t, s, tt.role)
			changes := object{}
			for claim, of := range tt.times {
				changes[claim] = nil
				if of != nil {
					changes[claim] = of(m.Clock.Now())
				}
			}
			if r := login(m, s.sign(t, claimsAt(m.Clock.Now(), changes))); (r.Err == nil) != tt.ok {
				t.Errorf("got %v", r.Err)
			}
		})
	}
}

// TestForgedTokens is the table of E20.
func TestForgedTokens(t *testing.T) {
	s, evil := newRSA(t, ""), newRSA(t, "")
	m := trusting(t, s, nil)
	good := claimsAt(m.Clock.Now(), nil)
	payload, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	raw := func(header, signature string) string {
		return b64([]byte(header)) + "." + b64(payload) + "." + signature
	}
	with := func(s signer, head map[jose.HeaderKey]any) signer {
		s.head = head
		return s
	}
	token := s.sign(t, good)
	parts := strings.Split(token, ".")
	encrypter, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.RSA_OAEP, Key: s.public()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := encrypter.Encrypt([]byte(token))
	if err != nil {
		t.Fatal(err)
	}
	nested, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]string{
		"no signature":                     raw(`{"alg":"none"}`, ""),
		"no signature, other case":         raw(`{"alg":"NONE"}`, ""),
		"the public key as a secret":       signer{key: []byte(s.pem(t)), alg: jose.HS256}.sign(t, good),
		"another key":                      evil.sign(t, good),
		"another key that it brings along": with(evil, map[jose.HeaderKey]any{"jwk": evil.jwk()}).sign(t, good),
		"another key that it points to":    with(evil, map[jose.HeaderKey]any{"jku": "http://127.0.0.1:1/keys"}).sign(t, good),
		"a chain that it points to":        with(evil, map[jose.HeaderKey]any{"x5u": "http://127.0.0.1:1/chain"}).sign(t, good),
		"a key id that is a path":          with(evil, map[jose.HeaderKey]any{"kid": "../../etc/passwd"}).sign(t, good),
		"a critical header nobody knows":   with(s, map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}).sign(t, good),
		"a signature cut off":              parts[0] + "." + parts[1] + ".",
		"another payload":                  parts[0] + "." + b64([]byte(`{"sub":"root"}`)) + "." + parts[2],
		"a header of half a megabyte":      raw(`{"alg":"RS256","x":"`+strings.Repeat("x", 1<<19)+`"}`, parts[2]),
		"an encrypted token":               nested,
		"JSON serialization":               `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"nothing":                          "..",
		"text":                             "not.a.jwt",
		"a claim twice":                    s.sign(t, strings.TrimSuffix(string(payload), "}")+`,"sub":"root"}`),
		"a list for a payload":             s.sign(t, "[]"),
		"a text for a payload":             s.sign(t, `"x"`),
		"nothing for a payload":            s.sign(t, ""),
		"a payload nested without end":     s.sign(t, strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 100)),
	} {
		r := login(m, forged)
		if r.Err == nil {
			t.Errorf("%s: the login was granted", name)
		} else if k := fault.KindOf(r.Err); k != fault.Unauthenticated {
			t.Errorf("%s: the refusal is of kind %v: %v", name, k, r.Err)
		} else if strings.Contains(r.Err.Error(), parts[1]) {
			t.Errorf("%s: the error repeats the token", name)
		}
	}
	if r := login(m, token); r.Err != nil {
		t.Errorf("the token that was forged from: %v", r.Err)
	}
}

func TestOnlyChosenAlgorithmsCount(t *testing.T) {
	s := newRSA(t, "")
	m := trusting(t, s, nil)
	token := s.sign(t, claimsAt(m.Clock.Now(), nil))
	m.Write("config", object{"jwt_validation_pubkeys": s.pem(t), "jwt_supported_algs": "ES256"})
	if r := login(m, token); r.Err == nil {
		t.Error("a token of another algorithm was accepted")
	}
	m.Write("config", object{"jwt_validation_pubkeys": s.pem(t), "jwt_supported_algs": []string{"ES256", "RS256"}})
	if r := login(m, token); r.Err != nil {
		t.Error(r.Err)
	}
	for _, alg := range []string{"none", "HS256", "rs256"} {
		m.Fails(fault.Invalid, route.VerbWrite, "config", object{"jwt_validation_pubkeys": s.pem(t), "jwt_supported_algs": alg})
	}
}

func TestLoginsThatCannotBeJudged(t *testing.T) {
	s := newECDSA(t, "")
	m := mount(t)
	token := s.sign(t, claimsAt(m.Clock.Now(), nil))
	m.Fails(fault.Invalid, route.VerbWrite, "login", object{"role": "dev", "jwt": token}) // not configured
	m.Write("config", object{"jwt_validation_pubkeys": s.pem(t), "default_role": "DEV"})
	m.Fails(fault.Invalid, route.VerbWrite, "login", object{"jwt": token}) // no such role
	m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer"})
	m.Write("login", object{"jwt": token})
	m.Write("login", object{"role": "Dev", "jwt": token})
	m.Fails(fault.Invalid, route.VerbWrite, "login", object{"role": "dev"})
	m.Fails(fault.Invalid, route.VerbWrite, "login", object{"role": "a/b", "jwt": token})
	m.Write("role/web", object{"user_claim": "sub", "allowed_redirect_uris": "http://localhost:8250/oidc/callback"})
	m.Fails(fault.Invalid, route.VerbWrite, "login", object{"role": "web", "jwt": token})
}

func TestARenewalHasTheRolesPresentSettings(t *testing.T) {
	s := newECDSA(t, "")
	m := trusting(t, s, nil)
	payload := login(m, s.sign(t, claimsAt(m.Clock.Now(), nil))).Login.Payload
	m.Write("role/dev", object{"token_ttl": "3m"})
	renewer := m.Instance.(authn.Renewer)
	if p, err := renewer.Renew(t.Context(), &route.Call{}, payload); err != nil || p.TTL != 3*time.Minute {
		t.Errorf("got %v, %v", p, err)
	}
	m.Delete("role/dev")
	if _, err := renewer.Renew(t.Context(), &route.Call{}, payload); !errors.Is(err, fault.Denied) {
		t.Errorf("without the role: %v", err)
	}
}
