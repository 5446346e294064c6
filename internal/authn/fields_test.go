package authn_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// apply reads the fields as a request does and lays them over p.
func apply(t *testing.T, p authn.TokenParams, body string) (authn.TokenParams, error) {
	t.Helper()
	var f authn.TokenFields
	if err := route.Decode([]byte(body), &f); err != nil {
		return p, err
	}
	err := f.Apply(&p)
	return p, err
}

func TestApplyKeepsWhatIsNotGiven(t *testing.T) {
	before := authn.TokenParams{TTL: time.Hour, MaxTTL: 2 * time.Hour, Policies: []string{"a"}, BoundCIDRs: []string{"10.0.0.0/8"}, NumUses: 3, Type: "service", StrictlyBindIP: true}
	for _, tt := range []struct {
		name, body string
		want       func(*authn.TokenParams)
	}{
		{"nothing", `{}`, func(*authn.TokenParams) {}},
		{"nulls", `{"token_ttl":null,"token_policies":null,"token_type":null}`, func(*authn.TokenParams) {}},
		{"lifetimes", `{"token_ttl":"10m","token_max_ttl":7200,"token_explicit_max_ttl":"1d","token_period":"90"}`, func(p *authn.TokenParams) {
			p.TTL, p.MaxTTL, p.ExplicitMaxTTL, p.Period = 10*time.Minute, 2*time.Hour, 24*time.Hour, 90*time.Second
		}},
		{"zeros", `{"token_ttl":0,"token_num_uses":0,"token_strictly_bind_ip":false}`, func(p *authn.TokenParams) { p.TTL, p.NumUses, p.StrictlyBindIP = 0, 0, false }},
		{"policies", `{"token_policies":" B ,a,b"}`, func(p *authn.TokenParams) { p.Policies = []string{"a", "b"} }},
		{"no policies", `{"token_policies":[],"token_no_default_policy":true}`, func(p *authn.TokenParams) { p.Policies, p.NoDefaultPolicy = []string{}, true }},
		{"blocks", `{"token_bound_cidrs":["192.168.1.1/32"," 10.1.0.0/16","::1/128","fe80::1"]}`, func(p *authn.TokenParams) {
			p.BoundCIDRs = []string{"192.168.1.1", "10.1.0.0/16", "::1", "fe80::1"}
		}},
		{"type", `{"token_type":"","token_num_uses":"5"}`, func(p *authn.TokenParams) { p.Type, p.NumUses = "default", 5 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := before
			tt.want(&want)
			got, err := apply(t, before, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestApplyRefusesAndChangesNothing(t *testing.T) {
	before := authn.TokenParams{MaxTTL: time.Hour, Policies: []string{"a"}}
	for name, body := range map[string]string{
		"negative uses":                 `{"token_num_uses":-1}`,
		"too long a lifetime":           `{"token_ttl":"2h"}`,
		"negative lifetime":             `{"token_ttl":-5}`,
		"unknown type":                  `{"token_type":"root"}`,
		"counted batch":                 `{"token_type":"batch","token_num_uses":1}`,
		"periodic batch":                `{"token_type":"batch","token_period":"1h"}`,
		"no block":                      `{"token_bound_cidrs":"10.0.0.0/33"}`,
		"a name for a block":            `{"token_bound_cidrs":["localhost"]}`,
		"an empty policy":               `{"token_policies":["a"," "]}`,
		"a policy with a path":          `{"token_policies":["../root"]}`,
		"a policy beyond ASCII":         `{"token_policies":["rооt"]}`,
		"a policy with a control":       `{"token_policies":["a\u0000"]}`,
		"a good field and a bad one":    `{"token_policies":["b"],"token_type":"x"}`,
		"a policy with a space":         `{"token_policies":["a b"]}`,
		"a policy with a backslash":     `{"token_policies":["a\\b"]}`,
		"too many uses for the machine": `{"token_num_uses":1e300}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := apply(t, before, body)
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, got); diff != "" {
				t.Errorf("the settings were changed: %s", diff)
			}
		})
	}
}

func TestInCIDRs(t *testing.T) {
	blocks := []string{"10.0.0.0/8", "192.168.1.1", "2001:db8::/32", "::1"}
	for addr, want := range map[string]bool{
		"10.255.0.1": true, "11.0.0.1": false, "192.168.1.1": true, "192.168.1.2": false, "2001:db8::5": true, "2001:db9::5": false, "::1": true,
		"::ffff:10.0.0.1": true, "::ffff:192.168.1.1": true, "::ffff:11.0.0.1": false, "fe80::1%eth0": false, "2001:db8::5%eth0": false,
	} {
		if got := authn.InCIDRs(netip.MustParseAddr(addr), blocks); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if authn.InCIDRs(netip.Addr{}, blocks) {
		t.Error("no address lies in a block")
	}
	if !authn.InCIDRs(netip.Addr{}, nil) {
		t.Error("no blocks refuse an address")
	}
	if authn.InCIDRs(netip.MustParseAddr("10.0.0.1"), []string{"not checked"}) {
		t.Error("a malformed block allows an address")
	}
}

func TestMappedBlocksMeanTheirAddresses(t *testing.T) {
	list, err := authn.CleanCIDRs([]string{"::ffff:10.0.0.0/104", "::ffff:192.168.1.1"})
	if err != nil {
		return // refusing them is as good
	}
	for _, addr := range []string{"10.9.9.9", "192.168.1.1"} {
		if !authn.InCIDRs(netip.MustParseAddr(addr), list) {
			t.Errorf("%q were accepted, and %s is not in them", list, addr)
		}
	}
}

func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		p    authn.TokenParams
		want string
	}{
		{authn.TokenParams{}, `{"token_bound_cidrs":[],"token_explicit_max_ttl":0,"token_max_ttl":0,"token_no_default_policy":false,"token_num_uses":0,"token_period":0,"token_policies":[],"token_strictly_bind_ip":false,"token_ttl":0,"token_type":"default"}`},
		{authn.TokenParams{TTL: time.Hour, Policies: []string{"a"}, BoundCIDRs: []string{"::1"}, Type: "batch", NoDefaultPolicy: true}, `{"token_bound_cidrs":["::1"],"token_explicit_max_ttl":0,"token_max_ttl":0,"token_no_default_policy":true,"token_num_uses":0,"token_period":0,"token_policies":["a"],"token_strictly_bind_ip":false,"token_ttl":3600,"token_type":"batch"}`},
	} {
		if got, err := json.Marshal(authn.Answer(tt.p)); err != nil || string(got) != tt.want {
			t.Errorf("got %s, %v, want %s", got, err, tt.want)
		}
	}
}

func FuzzCleanPolicies(f *testing.F) {
	for _, seed := range []string{"root", "ROOT", " a ", "a..b", "a/b", "rооt", "K"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		list, err := authn.CleanPolicies([]string{name})
		if err != nil {
			return
		}
		again, err := authn.CleanPolicies(list)
		if err != nil || len(list) != 1 || !cmp.Equal(list, again) {
			t.Fatalf("%q becomes %q, then %q, %v", name, list, again, err)
		}
		for _, r := range list[0] {
			if r <= ' ' || r > '~' || r >= 'A' && r <= 'Z' {
				t.Fatalf("%q becomes %q", name, list)
			}
		}
	})
}
