package policy

import (
	"context"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func (s *Store) capabilitiesSelf(ctx context.Context, c *route.Call, in selfPathsRequest) (capabilitiesAnswer, error) {
	acl, err := s.callerACL(ctx, c)
	if err != nil {
		return nil, err
	}
	return in.answer(acl, c.Caller.Prefix)
}

func (s *Store) capabilities(ctx context.Context, c *route.Call, in tokenPathsRequest) (capabilitiesAnswer, error) {
	if in.Token == "" {
		return nil, fault.New(fault.Invalid, `the parameter "token" is missing`)
	}
	holder, err := s.Tokens.HolderByToken(ctx, c, in.Token)
	return s.capabilitiesOf(ctx, in.pathsRequest, holder, err, "invalid token")
}

func (s *Store) capabilitiesAccessor(ctx context.Context, c *route.Call, in accessorPathsRequest) (capabilitiesAnswer, error) {
	if in.Accessor == "" {
		return nil, fault.New(fault.Invalid, `the parameter "accessor" is missing`)
	}
	holder, err := s.Tokens.HolderByAccessor(ctx, c, in.Accessor)
	return s.capabilitiesOf(ctx, in.pathsRequest, holder, err, "invalid accessor")
}

// capabilitiesOf answers for the token that was found, or says that there is
// none.
func (s *Store) capabilitiesOf(ctx context.Context, in pathsRequest, holder Holder, err error, refusal string) (capabilitiesAnswer, error) {
	if isNotFound(err) {
		return nil, fault.New(fault.Invalid, refusal)
	}
	if err != nil {
		return nil, err
	}
	acl, err := s.holderACL(ctx, holder)
	if err != nil {
		return nil, err
	}
	return in.answer(acl, holder.Prefix)
}

func (in *pathsRequest) answer(acl *ACL, prefix string) (capabilitiesAnswer, error) {
	if len(in.Paths) == 0 || slices.Contains(in.Paths, "") {
		return nil, fault.New(fault.Invalid, `the parameter "paths" must name at least one path, and none that is empty`)
	}
	out := make(capabilitiesAnswer, len(in.Paths)+1)
	for _, path := range in.Paths {
		out[path] = acl.Capabilities(prefix + path)
	}
	if len(in.Paths) == 1 {
		out["capabilities"] = out[in.Paths[0]]
	}
	return out, nil
}

func (s *Store) resultantACL(ctx context.Context, c *route.Call, _ noInput) (resultantAnswer, error) {
	acl, err := s.callerACL(ctx, c)
	if err != nil {
		return resultantAnswer{}, err
	}
	out := resultantAnswer{Root: acl.Root(), ExactPaths: map[string]resultantGranted{}, GlobPaths: map[string]resultantGranted{}}
	for _, g := range acl.Grants() {
		var ok bool
		if g.Path, ok = below(g.Path, g.Glob && strings.HasSuffix(g.Pattern, "*"), c.Caller.Prefix); !ok {
			continue // it grants elsewhere
		}
		paths := out.ExactPaths
		if g.Glob {
			paths = out.GlobPaths
		}
		paths[g.Path] = resultantGranted{Capabilities: g.Capabilities}
	}
	return out, nil
}
