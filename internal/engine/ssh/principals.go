package ssh

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// caller is who asks, for templates.
type caller struct {
	identity func(ctx context.Context, entity string) (func(name string) (string, bool), error)
	entity   string
}

// expand fills a template with the caller's identity. ok is false if it speaks of
// what the caller does not have.
func (w caller) expand(ctx context.Context, template string) (text string, ok bool, err error) {
	t := engine.Template(template)
	if !t.Templated() {
		return template, true, nil
	}
	values, err := w.identity(ctx, w.entity)
	if errors.Is(err, fault.Denied) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	return t.Expand(values, false)
}

// expandList fills the templates of a comma-separated list. Entries that speak
// of what the caller does not have fall out.
func (w caller) expandList(ctx context.Context, list string, templates bool) (string, error) {
	if !templates {
		return list, nil
	}
	var filled []string
	for _, item := range wire.SplitList(list) {
		text, ok, err := w.expand(ctx, item)
		if err != nil {
			return "", err
		}
		if ok {
			filled = append(filled, text)
		}
	}
	return strings.Join(filled, ","), nil
}

var (
	errNoPrincipals = fault.New(fault.Invalid, "give valid_principals: the role has no default_user, and OpenSSH takes a certificate without principals for one of every user")
	errPrincipal    = fault.New(fault.Invalid, "the role does not allow a principal that was asked for")
)

// principals are those of a certificate: what was asked for if the role allows
// it, else the role's default. None at all need the role's word.
func (r *roleRow) principals(ctx context.Context, who caller, certType uint32, asked string) ([]string, error) {
	list := wire.SplitList(asked)
	fallback := ""
	if certType == ssh.UserCert && r.DefaultUser != "" {
		var err error
		if fallback, err = who.expandList(ctx, r.DefaultUser, r.DefaultUserTemplate); err != nil {
			return nil, err
		}
		if fallback == "" && len(list) == 0 {
			return nil, fault.New(fault.Invalid, "the template of default_user speaks of an identity that the caller does not have")
		}
	}
	defaults := wire.SplitList(fallback)
	if len(list) == 0 {
		list = defaults
	}
	if len(list) == 0 {
		if r.AllowEmptyPrincipals {
			return nil, nil
		}
		return nil, errNoPrincipals
	}
	allows, err := r.allows(ctx, who, certType)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		if !slices.Contains(defaults, p) && !allows(p) {
			return nil, errPrincipal
		}
	}
	return list, nil
}

// allows returns the test that a principal must pass.
func (r *roleRow) allows(ctx context.Context, who caller, certType uint32) (func(string) bool, error) {
	if certType == ssh.UserCert {
		users, err := who.expandList(ctx, r.AllowedUsers, r.UsersTemplate)
		return func(user string) bool { return listed(users, user) }, err
	}
	domains, err := who.expandList(ctx, r.AllowedDomains, r.DomainsTemplate)
	return func(host string) bool { return r.allowsHost(domains, host) }, err
}

func (r *roleRow) allowsHost(domains, host string) bool {
	for _, domain := range wire.SplitList(domains) {
		switch {
		case domain == "*":
			return true
		case strings.ContainsAny(host, "*?"): // OpenSSH reads a host principal as a pattern
			continue
		case r.AllowBareDomains && normal(host) == normal(domain):
			return true
		case r.AllowSubdomains && strings.HasSuffix(normal(host), "."+normal(domain)) && len(host) > len(domain)+1:
			return true
		}
	}
	return false
}
