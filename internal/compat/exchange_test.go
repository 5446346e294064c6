// Package compat pins what clients of HashiCorp Vault and OpenBao see of the
// most important exchanges: the status, which fields an answer has and which it
// has not, and the few texts that clients look for. Values are the business of
// the packages that make them.
package compat_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

type object = map[string]any

// exchange is one request, and what its answer is like.
type exchange struct {
	name         string // said when the request alone does not tell the situation
	method, path string
	body         any
	token        string // of a capture; "" is the root token, "-" none
	header       []string

	status int
	// top lists the fields of the body, often those of enveloped or failed; "" is
	// no body at all.
	top string
	// data, auth and wrap list the fields of these parts, unless they are "",
	// which is null where the body is enveloped.
	data, auth, wrap string
	// errors is a fragment of the texts of a failure, or none for no text.
	errors string
	// warned wants warnings, which are null otherwise.
	warned bool
	// keep captures a value: "name=part.field".
	keep string
}

const (
	enveloped = "auth data lease_duration lease_id renewable request_id warnings wrap_info"
	failed    = "errors"
	none      = "(none)"

	tokenFields = "accessor creation_time creation_ttl display_name entity_id expire_time explicit_max_ttl id issue_time meta num_uses orphan path policies renewable ttl type"
	authFields  = "accessor client_token entity_id lease_duration metadata mfa_requirement num_uses orphan policies renewable token_policies token_type"
	wrapFields  = "accessor creation_path creation_time token ttl"
)

// story plays exchanges on a new server. ${name} in paths and in the texts of
// bodies stands for a capture.
func story(t *testing.T, exchanges []exchange) {
	t.Helper()
	s := servertest.New(t, servertest.Options{})
	captured := map[string]string{"root": servertest.RootToken}
	for _, x := range exchanges {
		name := strings.TrimSpace(x.method + " " + x.path + " " + x.name)
		t.Run(name, func(t *testing.T) {
			a := s.Do(x.method, expand(x.path, captured), x.caller(captured), x.input(captured), x.header...)
			x.check(t, a)
			x.capture(t, a, captured)
		})
	}
}

func expand(text string, captured map[string]string) string {
	for name, value := range captured {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

func (x exchange) caller(captured map[string]string) string {
	switch x.token {
	case "":
		return servertest.RootToken
	case "-":
		return ""
	}
	return captured[x.token]
}

func (x exchange) input(captured map[string]string) any {
	fields, ok := x.body.(object)
	if !ok {
		return x.body
	}
	fields = maps.Clone(fields)
	for name, value := range fields {
		if text, ok := value.(string); ok {
			fields[name] = expand(text, captured)
		}
	}
	return fields
}

func (x exchange) check(t *testing.T, a servertest.Answer) {
	t.Helper()
	if a.Status != x.status {
		t.Fatalf("got %s, want status %d", a, x.status)
	}
	if x.top == "" {
		if len(a.Body) != 0 {
			t.Errorf("got %s, want no body", a)
		}
		return
	}
	if kind := a.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("content type %q", kind)
	}
	body := a.JSON()
	fields(t, "the body", body, x.top)
	switch {
	case x.top == failed:
		x.checkErrors(t, body)
	case strings.HasPrefix(x.top, enveloped):
		part(t, body, "data", x.data)
		part(t, body, "auth", x.auth)
		part(t, body, "wrap_info", x.wrap)
		if warned := body["warnings"] != nil; warned != x.warned {
			t.Errorf("warnings are %v", body["warnings"])
		}
	}
}

func (x exchange) checkErrors(t *testing.T, body object) {
	t.Helper()
	texts, ok := body["errors"].([]any)
	switch {
	case !ok:
		t.Errorf("errors is %v, want a list", body["errors"])
	case x.errors == none && len(texts) > 0:
		t.Errorf("errors are %v, want none", texts)
	case x.errors != none && !strings.Contains(fmt.Sprint(texts...), x.errors):
		t.Errorf("errors are %v, want %q in them", texts, x.errors)
	}
}

func part(t *testing.T, body object, name, want string) {
	t.Helper()
	switch p := body[name].(type) {
	case nil:
		if want != "" {
			t.Errorf("%s is null, want fields %s", name, want)
		}
	case object:
		fields(t, name, p, want)
	default:
		t.Errorf("%s is %T", name, p)
	}
}

func fields(t *testing.T, what string, have object, want string) {
	t.Helper()
	names := strings.Fields(want)
	slices.Sort(names)
	if diff := cmp.Diff(names, slices.Sorted(maps.Keys(have))); diff != "" {
		t.Errorf("fields of %s (-want +got):\n%s", what, diff)
	}
}

func (x exchange) capture(t *testing.T, a servertest.Answer, captured map[string]string) {
	t.Helper()
	name, path, ok := strings.Cut(x.keep, "=")
	if !ok {
		return
	}
	section, field, _ := strings.Cut(path, ".")
	in, _ := a.JSON()[section].(object)
	text, _ := in[field].(string)
	if text == "" {
		t.Fatalf("nothing at %s of %s", path, a)
	}
	captured[name] = text
}

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	remove = http.MethodDelete
	patch  = http.MethodPatch
	list   = "LIST"
)
