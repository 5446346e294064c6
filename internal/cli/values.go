package cli

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cofferhq/coffer/api"
)

// list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// commaList is a flag that may be repeated and may hold several values
// separated by commas.
type commaList []string

func (l *commaList) String() string { return strings.Join(*l, ",") }

func (l *commaList) Set(s string) error {
	for _, v := range strings.Split(s, ",") {
		if v = strings.TrimSpace(v); v != "" {
			*l = append(*l, v)
		}
	}
	return nil
}

// pair is one name=value.
type pair struct{ name, value string }

// pairs is a flag name=value that may be repeated.
type pairs []pair

func (p *pairs) String() string {
	if p == nil {
		return ""
	}
	names := make([]string, len(*p))
	for i, kv := range *p {
		names[i] = kv.name
	}
	return strings.Join(names, ",")
}

func (p *pairs) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("expected name=value")
	}
	*p = append(*p, pair{name, value})
	return nil
}

// text prints the pairs with their values.
func (p pairs) text() string {
	parts := make([]string, len(p))
	for i, kv := range p {
		parts[i] = kv.name + "=" + kv.value
	}
	return strings.Join(parts, " ")
}

// asMap returns the pairs as a map; the last of a repeated name wins. It is
// never nil.
func (p pairs) asMap() map[string]string {
	m := make(map[string]string, len(p))
	for _, kv := range p {
		m[kv.name] = kv.value
	}
	return m
}

func (o *options) requestHeaders() http.Header {
	h := http.Header{}
	for _, kv := range o.headers {
		h.Add(kv.name, kv.value)
	}
	for _, credential := range o.mfa {
		h.Add("X-Vault-MFA", credential)
	}
	if o.policyOverride {
		h.Set("X-Vault-Policy-Override", "true")
	}
	return h
}

// duration is a flag in the notation of [api.ParseDuration].
type duration struct {
	time.Duration
	text string
}

func (d *duration) String() string { return d.text }

func (d *duration) Set(s string) error {
	parsed, err := api.ParseDuration(s)
	if err != nil {
		return err
	}
	d.Duration, d.text = parsed, s
	return nil
}

// ttl returns the duration as the API takes it: seconds with their unit, so
// that a negative or zero value keeps its meaning.
func (d *duration) ttl() string {
	if d.Duration%time.Second != 0 {
		return d.Duration.String()
	}
	return fmt.Sprintf("%ds", int64(d.Duration/time.Second))
}

// boolPointer is a boolean flag that knows whether it was given.
type boolPointer struct{ value *bool }

func (b *boolPointer) String() string {
	if b.value == nil {
		return ""
	}
	return fmt.Sprint(*b.value)
}

func (b *boolPointer) IsBoolFlag() bool { return true }

func (b *boolPointer) Set(s string) error {
	switch strings.ToLower(s) {
	case "true", "1", "t", "yes":
		v := true
		b.value = &v
	case "false", "0", "f", "no":
		v := false
		b.value = &v
	default:
		return fmt.Errorf("expected true or false")
	}
	return nil
}
