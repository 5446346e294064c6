package policy

import (
	"context"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func (s *Store) capabilitiesSelf(ctx context.Context, c *route.Call, in selfPathsRequest) (capabilitiesAnswer, error) {
	rights, err := s.callerRights(ctx, c)
	if err != nil {
		return nil, err
	}
	return in.answer(rights)
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
	rights, err := s.Rights(ctx, holder)
	if err != nil {
		return nil, err
	}
	return in.answer(rights)
}

func (in *pathsRequest) answer(rights Rights) (capabilitiesAnswer, error) {
	if len(in.Paths) == 0 || slices.Contains(in.Paths, "") {
		return nil, fault.New(fault.Invalid, `the parameter "paths" must name at least one path, and none that is empty`)
	}
	out := make(capabilitiesAnswer, len(in.Paths)+1)
	for _, path := range in.Paths {
		out[path] = rights.Capabilities(path)
	}
	if len(in.Paths) == 1 {
		out["capabilities"] = out[in.Paths[0]]
	}
	return out, nil
}

func (s *Store) resultantACL(ctx context.Context, c *route.Call, _ noInput) (resultantAnswer, error) {
	rights, err := s.callerRights(ctx, c)
	if err != nil {
		return resultantAnswer{}, err
	}
	out := resultantAnswer{Root: rights.Root(), ExactPaths: map[string]resultantGranted{}, GlobPaths: map[string]resultantGranted{}}
	out.add(rights)
	for _, m := range rights.more {
		out.add(m)
	}
	return out, nil
}

// add notes what rights grant in the request's namespace.
func (out *resultantAnswer) add(r Rights) {
	for _, g := range r.acl.Grants() {
		path, ok := below(g.Path, g.Glob && strings.HasSuffix(g.Pattern, "*"), r.at.Prefix)
		if !ok || !r.at.foresees(g.Pattern, g.Seen) {
			continue // it grants elsewhere
		}
		paths := out.ExactPaths
		if g.Glob {
			paths = out.GlobPaths
		}
		paths[path] = resultantGranted{Capabilities: g.Capabilities}
	}
}
