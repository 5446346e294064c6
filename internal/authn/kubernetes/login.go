package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// grant is what a token's renewal needs to know of its login.
type grant struct {
	Role string `json:"role"`
}

// Clients and their operators know these texts.
var (
	errName      = fault.New(fault.Denied, "service account name not authorized")
	errNamespace = fault.New(fault.Denied, "namespace not authorized")
)

func (m *method) login(ctx context.Context, c *route.Call, in loginRequest) (authn.Identity, error) {
	if in.JWT == "" {
		return authn.Identity{}, fault.New(fault.Invalid, "missing jwt")
	}
	if strings.TrimSpace(in.Role) == "" {
		return authn.Identity{}, fault.New(fault.Invalid, "missing role")
	}
	name, ok := authn.FoldName(in.Role)
	if !ok {
		return authn.Identity{}, errNoRole
	}
	r, err := m.role(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		err = errNoRole
	}
	if err != nil {
		return authn.Identity{}, err
	}
	if !authn.InCIDRs(c.Remote, r.Token.BoundCIDRs) {
		return authn.Identity{}, errDenied
	}
	a, err := m.connect(ctx)
	if err != nil {
		return authn.Identity{}, err
	}
	l := judged{api: a, role: &r, token: strings.TrimSpace(in.JWT.Reveal())}
	l.reviewer = a.config.Reviewer
	if l.reviewer == "" && !a.config.IgnorePod {
		l.reviewer = m.pod.token()
	}
	if l.reviewer == "" {
		l.reviewer = l.token
	}
	if err := l.judge(ctx); err != nil {
		return authn.Identity{}, err
	}
	return l.identity(ctx, name)
}

var errNoRole = fault.New(fault.Invalid, "invalid role name")

// judged is a login that is being judged.
type judged struct {
	api      *api
	role     *role
	token    string
	reviewer string
	said     said
	who      account
}

// judge finds out who the caller is and whether the role is for them. What costs
// nothing comes first: a stranger cannot make Coffer ask the API server for
// every piece of text.
func (l *judged) judge(ctx context.Context) error {
	var ok bool
	if l.said, ok = l.api.hear(l.token); !ok || l.api.wrongIssuer(l.said) {
		return errDenied
	}
	if l.said.Name != "" && !l.role.named(l.said.Name) {
		return errName
	}
	if l.said.Namespace != "" && l.role.Selector == "" && !l.role.inNamespace(l.said.Namespace) {
		return errNamespace
	}
	who, confirmed, err := l.api.review(ctx, l.reviewer, l.token, l.role.Audience)
	if err != nil {
		return err
	}
	l.who = who
	switch {
	case l.role.Audience != "" && !confirmed && !l.said.isFor(l.role.Audience):
		return errDenied
	case !l.said.is(who):
		return errDenied
	case !l.role.named(who.Name):
		return errName
	}
	return l.judgeNamespace(ctx)
}

func (l *judged) judgeNamespace(ctx context.Context) error {
	if l.role.inNamespace(l.who.Namespace) {
		return nil
	}
	if l.role.Selector == "" {
		return errNamespace
	}
	s, err := parseSelector(l.role.Selector)
	if err != nil {
		return err
	}
	labels, err := l.api.labels(ctx, l.reviewer, l.who.Namespace)
	if err != nil {
		return err
	}
	if !s.selects(labels) {
		return errNamespace
	}
	return nil
}

// annotationPrefix begins the annotations that become metadata of an alias.
const annotationPrefix = "vault.hashicorp.com/alias-metadata-"

func (l *judged) identity(ctx context.Context, role string) (authn.Identity, error) {
	payload, err := json.Marshal(grant{role})
	if err != nil {
		return authn.Identity{}, fmt.Errorf("encoding a login: %w", err)
	}
	about := map[string]string{
		"service_account_name": l.who.Name, "service_account_namespace": l.who.Namespace, "service_account_uid": l.who.UID, "service_account_secret_name": l.said.Secret,
	}
	metadata := maps.Clone(about)
	metadata["role"] = role
	if l.api.config.AliasMetadata {
		if err := l.annotate(ctx, about); err != nil {
			return authn.Identity{}, err
		}
	}
	id := authn.Identity{
		DisplayName: l.who.Namespace + "-" + l.who.Name, Alias: l.who.UID, AliasMetadata: about, Metadata: metadata, Token: l.role.Token, Payload: payload,
	}
	if l.role.AliasSource == aliasName {
		id.Alias = l.who.Namespace + "/" + l.who.Name
	}
	return id, nil
}

// annotate adds the service account's annotations to the alias's metadata. They
// cannot replace what the API server has vouched for.
func (l *judged) annotate(ctx context.Context, about map[string]string) error {
	annotations, err := l.api.annotations(ctx, l.reviewer, l.who)
	if err != nil {
		return err
	}
	for key, value := range annotations {
		name, ok := strings.CutPrefix(key, annotationPrefix)
		if _, taken := about[name]; ok && name != "" && !taken {
			about[name] = value
		}
	}
	return nil
}

// Renew allows a renewal as long as the role exists, within its present
// settings.
func (m *method) Renew(ctx context.Context, _ *route.Call, payload []byte) (authn.TokenParams, error) {
	var g grant
	if json.Unmarshal(payload, &g) != nil {
		return authn.TokenParams{}, errors.New("decoding a login: malformed")
	}
	r, err := m.role(ctx, g.Role)
	if errors.Is(err, store.ErrNotFound) {
		return authn.TokenParams{}, fault.New(fault.Denied, "the role no longer exists: the token cannot be renewed")
	}
	return r.Token, err
}
