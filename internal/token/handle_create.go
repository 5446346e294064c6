package token

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

func (s *Store) create(ctx context.Context, c *route.Call, in createRequest) (*route.Reply, error) {
	return s.createFrom(ctx, c, in, nil, false)
}

func (s *Store) createOrphan(ctx context.Context, c *route.Call, in createRequest) (*route.Reply, error) {
	return s.createFrom(ctx, c, in, nil, true)
}

func (s *Store) createWithRole(ctx context.Context, c *route.Call, in createRoleRequest) (*route.Reply, error) {
	role, err := s.role(ctx, c.Namespace.ID, in.Role)
	if err != nil {
		return nil, err
	}
	if role == nil {
		return nil, fault.Newf(fault.Invalid, "unknown role %s", in.Role)
	}
	return s.createFrom(ctx, c, in.createRequest, role, false)
}

func (s *Store) createFrom(ctx context.Context, c *route.Call, in createRequest, role *Role, orphan bool) (*route.Reply, error) {
	parent, err := s.parent(ctx, c)
	if err != nil {
		return nil, err
	}
	b := builder{s: s, c: c, in: in, role: role, parent: parent, orphan: orphan, privileged: c.Sudo || c.Caller.Root}
	e, err := b.build()
	if err != nil {
		return nil, err
	}
	also, err := s.tie(ctx, c, &e, in.EntityAlias)
	if err != nil {
		return nil, err
	}
	entry, text, err := s.Create(ctx, e, in.ID, also)
	if err != nil {
		return nil, err
	}
	auth, err := s.auth(ctx, entry, text, entry.Created)
	if err != nil {
		return nil, err
	}
	return &route.Reply{Auth: auth}, nil
}

// tie gives a new token the entity of an alias at this mount, which is made if
// there is none.
func (s *Store) tie(ctx context.Context, c *route.Call, e *Entry, alias string) (also func(store.Txn, *Entry) error, err error) {
	if alias == "" || s.Entity == nil {
		return nil, nil
	}
	var write func(store.Txn) (string, error)
	if e.EntityID, write, err = s.Entity(ctx, c.Mount, strings.ToLower(alias)); err != nil || write == nil {
		return nil, err
	}
	return func(tx store.Txn, e *Entry) (err error) {
		e.EntityID, err = write(tx)
		return err
	}, nil
}

// parent is the caller's own record, read for its limits.
func (s *Store) parent(ctx context.Context, c *route.Call) (*Entry, error) {
	if c.Caller.Batch {
		return nil, fault.New(fault.Invalid, "batch tokens cannot create more tokens")
	}
	e, err := s.load(ctx, c.Caller.Token)
	if err != nil {
		return nil, errBad
	}
	if e.NumUses != 0 {
		return nil, fault.New(fault.Invalid, "restricted use token cannot generate child tokens")
	}
	return e, nil
}

// builder makes the record of a new token from a request.
type builder struct {
	s          *Store
	c          *route.Call
	in         createRequest
	role       *Role
	parent     *Entry
	orphan     bool
	privileged bool
	e          Entry
}

func (b *builder) build() (Entry, error) {
	b.e = Entry{NS: b.c.Namespace.ID, Path: b.c.Full, NumUses: b.in.NumUses, NoDefaultPolicy: b.in.NoDefaultPolicy, Renewable: b.in.Renewable.Or(true)}
	b.e.DisplayName = "token"
	if b.in.DisplayName != "" {
		b.e.DisplayName += "-" + cleanName(b.in.DisplayName)
	}
	for _, step := range []func() error{b.kind, b.id, b.meta, b.uses, b.lineage, b.policies, b.cidrs, b.lifetime, b.limits} {
		if err := step(); err != nil {
			return Entry{}, err
		}
	}
	return b.e, nil
}

func cleanName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '-'
	}, strings.TrimSpace(name))
}

func (b *builder) kind() error {
	kind := b.in.Type
	if b.role != nil {
		switch b.role.TokenType {
		case Service, Batch:
			kind = b.role.TokenType
		case "default-batch":
			if kind == "" {
				kind = Batch
			}
		}
	}
	switch kind {
	case "", Service:
		b.e.Type = Service
	case Batch:
		b.e.Type = Batch
		return b.batch()
	default:
		return fault.New(fault.Invalid, `invalid 'type': use "service" or "batch"`)
	}
	return nil
}

// batch refuses what a token without a record cannot have.
func (b *builder) batch() error {
	for _, has := range []struct {
		set  bool
		what string
	}{
		{b.in.ID != "", "an id of its own"}, {b.in.NumUses != 0, "a use limit"}, {b.in.Period > 0, "a period"},
		{b.in.ExplicitMaxTTL > 0, "an explicit maximum lifetime"}, {b.in.Renewable.Set && b.in.Renewable.Value, "renewal"},
	} {
		if has.set {
			return fault.Newf(fault.Invalid, "batch tokens cannot have %s", has.what)
		}
	}
	b.e.Renewable = false
	return nil
}

func (b *builder) id() error {
	id := b.in.ID
	switch {
	case id == "":
		return nil
	case !b.privileged:
		return fault.New(fault.Invalid, "root or sudo privileges required to specify token id")
	case strings.ContainsAny(id, ".") || strings.HasPrefix(id, "s."):
		return fault.New(fault.Invalid, "custom token ids cannot contain a '.'")
	case len(id) > 512:
		return fault.New(fault.Invalid, "custom token ids can have at most 512 characters")
	}
	for _, r := range id {
		if r <= ' ' || r > '~' {
			return fault.New(fault.Invalid, "custom token ids can have printable ASCII characters only")
		}
	}
	b.c.Warn("Supplying a custom ID for the token uses the weaker secrecy of the text you chose; use a generated one where you can")
	return nil
}

func (b *builder) meta() error {
	if len(b.in.Meta) == 0 || wire.IsNull(b.in.Meta) {
		return nil
	}
	if b.in.Meta[0] != '{' {
		return fault.New(fault.Invalid, `field "meta": must be an object of strings`)
	}
	m, err := wire.ParseMap(b.in.Meta)
	if err != nil {
		return fault.Newf(fault.Invalid, `field "meta": %s`, err)
	}
	b.e.Meta = m
	return nil
}

func (b *builder) uses() error {
	if b.in.NumUses < 0 {
		return fault.New(fault.Invalid, "number of uses cannot be negative")
	}
	if b.role != nil && b.role.NumUses > 0 && (b.e.NumUses == 0 || b.role.NumUses < b.e.NumUses) {
		b.e.NumUses = b.role.NumUses
	}
	return nil
}

func (b *builder) lineage() error {
	if b.in.NoParent && !b.orphan && !b.privileged {
		return fault.New(fault.Invalid, "root or sudo privileges required to create orphan token")
	}
	b.orphan = b.orphan || b.in.NoParent || b.role != nil && b.role.Orphan
	if !b.orphan {
		b.e.Parent = []byte(b.parent.Handle)
		if b.parent.NS == b.e.NS {
			b.e.EntityID = b.parent.EntityID
		}
	}
	if b.in.EntityAlias != "" && (b.role == nil || !b.role.allowsAlias(b.in.EntityAlias)) {
		return fault.New(fault.Invalid, "invalid 'entity_alias': the token's role does not list it in 'allowed_entity_aliases'")
	}
	if b.role != nil {
		b.e.Role = b.role.Name
		b.e.Renewable = b.e.Renewable && b.role.Renewable
		if b.role.PathSuffix != "" {
			b.e.Path += "/" + b.role.PathSuffix
		}
	}
	return nil
}

func (b *builder) policies() error {
	asked, err := b.askedPolicies()
	if err != nil {
		return err
	}
	if b.role != nil && b.role.restricts() {
		if asked, err = b.role.choose(asked, b.inherited()); err != nil {
			return err
		}
	} else if len(asked) == 0 {
		asked = b.inherited()
	} else if !b.privileged {
		for _, name := range asked {
			if name != policy.DefaultName && !slices.Contains(b.inherited(), name) {
				if name == policy.RootName {
					return errBad
				}
				return fault.New(fault.Invalid, "child policies must be subset of parent")
			}
		}
	}
	if slices.Contains(asked, policy.RootName) {
		return b.rootPolicies(asked)
	}
	noDefault := b.in.NoDefaultPolicy || b.role != nil && b.role.NoDefaultPolicy
	if !noDefault && !slices.Contains(asked, policy.DefaultName) && (b.role == nil || !b.role.forbids(policy.DefaultName)) {
		asked = append(asked, policy.DefaultName)
	}
	if noDefault && len(b.in.Policies) == 0 {
		asked = slices.DeleteFunc(asked, func(n string) bool { return n == policy.DefaultName })
	}
	slices.Sort(asked)
	b.e.Policies = slices.Compact(asked)
	for _, name := range b.e.Policies {
		if !b.s.PolicyExists(b.c.Namespace.ID, name) {
			b.c.Warn("Policy \"" + name + "\" does not exist")
		}
	}
	return nil
}

// inherited are the policies of the parent that the token may have. Those of
// another namespace only share their names with those of this one.
func (b *builder) inherited() []string {
	switch {
	case b.parent.NS != b.e.NS:
		return nil
	case b.parent.Root():
		return []string{policy.RootName}
	}
	return slices.Clone(b.parent.Policies)
}

func (b *builder) rootPolicies(asked []string) error {
	if b.e.NS != store.RootNamespace {
		return fault.New(fault.Invalid, "root tokens are of the root namespace only: name policies of this namespace")
	}
	if !b.parent.Root() {
		return errBad
	}
	if len(asked) > 1 {
		return fault.New(fault.Invalid, "root tokens may not have other policies")
	}
	if b.e.Type == Batch {
		return fault.New(fault.Invalid, "batch tokens cannot be root tokens")
	}
	b.e.Policies = asked
	return nil
}

// askedPolicies reads the field: an array of names, or one name, which unlike
// elsewhere is not split at commas.
func (b *builder) askedPolicies() ([]string, error) {
	raw := b.in.Policies
	if len(raw) == 0 || wire.IsNull(raw) {
		return nil, nil
	}
	var list []string
	if raw[0] == '"' {
		if text := wire.Unquote(raw); text != "" {
			list = []string{text}
		}
	} else {
		var err error
		if list, err = wire.ParseStrings(raw); err != nil {
			return nil, fault.Newf(fault.Invalid, `field "policies": %s`, err)
		}
	}
	return authn.CleanPolicies(list)
}

func (b *builder) cidrs() error {
	b.e.BoundCIDRs = b.parent.BoundCIDRs
	if b.role != nil && len(b.role.BoundCIDRs) > 0 {
		b.e.BoundCIDRs = b.role.BoundCIDRs
	}
	if b.in.BoundCIDRs.Set {
		if len(b.e.BoundCIDRs) > 0 {
			return fault.New(fault.Invalid, "the token is bound to address blocks already, by its parent or its role")
		}
		list, err := authn.CleanCIDRs(b.in.BoundCIDRs.Value)
		if err != nil {
			return err
		}
		b.e.BoundCIDRs = list
	}
	return nil
}

func (b *builder) lifetime() error {
	b.e.ExplicitMaxTTL, b.e.Period = b.in.ExplicitMaxTTL.D(), b.in.Period.D()
	if b.e.Period > 0 && !b.privileged && (b.role == nil || b.role.Period == 0) {
		return fault.New(fault.Invalid, "root or sudo privileges required to create periodic token")
	}
	// The record holds what the request asked for; the role's own period and
	// limit count as they are when the token is renewed.
	explicit, period := b.e.ExplicitMaxTTL, b.e.Period
	if b.role != nil {
		explicit = minSet(explicit, b.role.ExplicitMaxTTL)
		period = cmp.Or(b.role.Period, period)
	}
	if b.e.Type == Batch {
		b.e.Period, b.e.ExplicitMaxTTL, period = 0, 0, 0
	}
	ttl := b.in.TTL.D()
	if slices.Contains(b.e.Policies, policy.RootName) && ttl == 0 && period == 0 && explicit == 0 && b.parent.Expires.IsZero() {
		b.e.Renewable = false
		return nil // a root token that does not end, made by one that does not
	}
	want := ttl
	switch {
	case period > 0:
		want = period
	case want == 0:
		want = b.c.Mount.DefaultTTL
	}
	limits := []time.Duration{explicit}
	if period == 0 {
		limits = append(limits, b.c.Mount.MaxTTL)
	}
	b.e.TTL = seconds(capBy(want, limits...))
	if seconds(ttl) > b.e.TTL && period == 0 {
		b.c.Warn("TTL of \"" + ttl.String() + "\" exceeded the effective maximum of \"" + b.e.TTL.String() + "\"; TTL value is capped accordingly")
	}
	return nil
}

func (b *builder) limits() error {
	if b.e.TTL == 0 && !slices.Contains(b.e.Policies, policy.RootName) {
		return fault.New(fault.Invalid, "the lifetime must be at least one second")
	}
	// A root token with an end must not make one without.
	if b.e.TTL == 0 && !b.parent.Expires.IsZero() {
		return errors.New("creating a root token: no lifetime")
	}
	if b.e.NumUses > 0 && b.e.Type == Batch {
		return fault.New(fault.Invalid, "batch tokens cannot have a use limit")
	}
	return nil
}
