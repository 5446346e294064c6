// Package clients drives whole servers with the Go clients that programs use:
// HashiCorp Vault's and OpenBao's. Their types are alike without being the same,
// so a tour calls methods by name and reads results as JSON; every step is
// written once and taken with both.
package clients_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	vault "github.com/hashicorp/vault/api"
	openbao "github.com/openbao/openbao/api/v2"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// in is the input of a method that takes a struct: its fields by JSON name.
type in = map[string]any

// client is one of the two clients, on one server.
type client struct {
	t    *testing.T
	kind string
	api  any // *vault.Client or *openbao.Client
}

// tour runs steps with both clients, each on a server of its own.
func tour(t *testing.T, o servertest.Options, steps func(t *testing.T, s *servertest.Server, c *client)) {
	t.Helper()
	for kind, open := range map[string]func(t *testing.T, addr string) any{"vault": openVault, "openbao": openOpenBao} {
		t.Run(kind, func(t *testing.T) {
			s := servertest.New(t, o)
			c := &client{t: t, kind: kind, api: open(t, s.Addr)}
			if !o.Uninitialised {
				c.setToken(servertest.RootToken)
			}
			steps(t, s, c)
		})
	}
}

func openVault(t *testing.T, addr string) any {
	t.Helper()
	cfg := vault.DefaultConfig()
	cfg.Address, cfg.MaxRetries = addr, 0
	c, err := vault.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken() // whatever the environment says
	return c
}

func openOpenBao(t *testing.T, addr string) any {
	t.Helper()
	cfg := openbao.DefaultConfig()
	cfg.Address, cfg.MaxRetries = addr, 0
	c, err := openbao.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.ClearToken()
	return c
}

func (c *client) setToken(text string) { c.t.Helper(); c.call(c.api, "SetToken", text) }

// as returns the same client with another token.
func (c *client) as(token string) *client {
	c.t.Helper()
	clone := &client{t: c.t, kind: c.kind, api: c.call(c.api, "Clone").native}
	clone.setToken(token)
	return clone
}

// part returns what a chain of methods without parameters leads to.
func (c *client) part(names ...string) any {
	c.t.Helper()
	v := c.api
	for _, name := range names {
		v = c.call(v, name).native
	}
	return v
}

func (c *client) sys(method string, args ...any) got {
	c.t.Helper()
	return c.call(c.part("Sys"), method, args...)
}

func (c *client) logical(method string, args ...any) got {
	c.t.Helper()
	return c.call(c.part("Logical"), method, args...)
}

func (c *client) token(method string, args ...any) got {
	c.t.Helper()
	return c.call(c.part("Auth", "Token"), method, args...)
}

func (c *client) kv(version int, mount, method string, args ...any) got {
	c.t.Helper()
	return c.call(c.call(c.api, fmt.Sprintf("KVv%d", version), mount).native, method, args...)
}

// call calls a method. An argument becomes what the parameter asks for; a
// context is added where the method takes one.
func (c *client) call(on any, method string, args ...any) got {
	c.t.Helper()
	fn := reflect.ValueOf(on).MethodByName(method)
	if !fn.IsValid() {
		c.t.Fatalf("%s: %T has no method %s", c.kind, on, method)
	}
	if ft := fn.Type(); ft.NumIn() > 0 && ft.In(0) == reflect.TypeFor[context.Context]() {
		args = slices.Insert(slices.Clone(args), 0, any(c.t.Context()))
	}
	values := make([]reflect.Value, len(args))
	for i, arg := range args {
		values[i] = c.argument(parameter(fn.Type(), i), arg)
	}
	g := got{t: c.t, what: c.kind + ": " + method}
	for _, out := range fn.Call(values) {
		if err, ok := out.Interface().(error); ok {
			g.err = err
		} else if g.native == nil && out.Type() != reflect.TypeFor[error]() {
			g.native = out.Interface()
		}
	}
	return g
}

func parameter(fn reflect.Type, i int) reflect.Type {
	if last := fn.NumIn() - 1; fn.IsVariadic() && i >= last {
		return fn.In(last).Elem()
	}
	return fn.In(i)
}

func (c *client) argument(want reflect.Type, arg any) reflect.Value {
	c.t.Helper()
	fields, isInput := arg.(in)
	switch v := reflect.ValueOf(arg); {
	case arg == nil:
		return reflect.Zero(want)
	case v.Type().ConvertibleTo(want):
		return v.Convert(want)
	case !isInput:
		c.t.Fatalf("%s: %T is no %v", c.kind, arg, want)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		c.t.Fatal(err)
	}
	out := reflect.New(want)
	if err := json.Unmarshal(text, out.Interface()); err != nil {
		c.t.Fatalf("%s: %v: %v", c.kind, want, err)
	}
	return out.Elem()
}

// got is what a method returned.
type got struct {
	t      *testing.T
	what   string
	native any
	err    error
}

// ok wants no error.
func (g got) ok() got {
	g.t.Helper()
	if g.err != nil {
		g.t.Fatalf("%s: %v", g.what, g.err)
	}
	return g
}

// absent wants neither an error nor a result, as clients see a 404.
func (g got) absent() {
	g.t.Helper()
	if v := reflect.ValueOf(g.ok().native); v.IsValid() && !v.IsNil() {
		g.t.Fatalf("%s: got %v, want nothing", g.what, g.tree())
	}
}

// fails wants an answer with that status and a text that has the fragment, or,
// for status 0, an error that the client has found itself.
func (g got) fails(status int, fragment string) {
	g.t.Helper()
	code, texts := 0, []string(nil)
	var v *vault.ResponseError
	var b *openbao.ResponseError
	switch {
	case errors.As(g.err, &v):
		code, texts = v.StatusCode, v.Errors
	case errors.As(g.err, &b):
		code, texts = b.StatusCode, b.Errors
	}
	if g.err == nil || code != status || !strings.Contains(strings.Join(texts, "\n"), fragment) {
		g.t.Errorf("%s: got %v, want status %d with %q", g.what, g.err, status, fragment)
	}
}

// missing wants the error by which the KV helpers say that there is no secret.
func (g got) missing() {
	g.t.Helper()
	if !errors.Is(g.err, vault.ErrSecretNotFound) && !errors.Is(g.err, openbao.ErrSecretNotFound) {
		g.t.Errorf("%s: got %v, want the error for a missing secret", g.what, g.err)
	}
}

// tree is the result as JSON has it.
func (g got) tree() any {
	g.t.Helper()
	return decode(g.t, g.native)
}

func decode(t *testing.T, v any) (tree any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// at returns a part of the result, by names joined by bars.
func (g got) at(path string) any {
	g.t.Helper()
	v := g.ok().tree()
	if path == "" {
		return v
	}
	for name := range strings.SplitSeq(path, "|") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// text is at for a string.
func (g got) text(path string) string {
	g.t.Helper()
	s, ok := g.at(path).(string)
	if !ok || s == "" {
		g.t.Fatalf("%s: no text at %q of %v", g.what, path, g.tree())
	}
	return s
}

// has wants parts of the result to be equal to values.
func (g got) has(want map[string]any) got {
	g.t.Helper()
	g.ok()
	for path, w := range want {
		have := g.at(path)
		if r, ok := w.(seconds); ok {
			if n, _ := have.(float64); n < float64(r[0]) || n > float64(r[1]) {
				g.t.Errorf("%s: %s is %v, want between %d and %d", g.what, path, have, r[0], r[1])
			}
			continue
		}
		if diff := cmp.Diff(decode(g.t, w), have); diff != "" {
			g.t.Errorf("%s: %s (-want +got):\n%s", g.what, path, diff)
		}
	}
	return g
}

// includes wants a list in the result to have an element.
func (g got) includes(path string, element any) {
	g.t.Helper()
	list, _ := g.at(path).([]any)
	if !slices.Contains(list, element) {
		g.t.Errorf("%s: %s is %v, want it to include %v", g.what, path, g.at(path), element)
	}
}

// seconds are bounds of a remaining lifetime.
type seconds [2]int
