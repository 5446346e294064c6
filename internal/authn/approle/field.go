package approle

import (
	"context"
	"errors"
	"slices"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// setting is a request that sets one field of a role.
type setting interface {
	name() string
	apply(*role) error
}

// field declares the endpoints of one field of a role at role/{role_name}/path:
// show answers it, In sets it, reset gives it its value in a new role.
func field[In setting, Out any](path, what string, show func(*role) Out, reset func(*role)) []route.Endpoint {
	pattern := "role/{role_name}/" + path
	return []route.Endpoint{
		showField(path, what, show),
		route.Write(pattern, func(m *method, ctx context.Context, _ *route.Call, in In) (route.None, error) {
			return route.None{}, m.change(ctx, in.name(), in.apply)
		}, route.Doc{Summary: "Set " + what + "."}),
		route.Delete(pattern, func(m *method, ctx context.Context, _ *route.Call, in roleName) (route.None, error) {
			err := m.change(ctx, in.Role, func(r *role) error {
				reset(r)
				return nil
			})
			if errors.Is(err, fault.NotFound) {
				err = nil // without the role there is nothing to reset
			}
			return route.None{}, err
		}, route.Doc{Summary: "Reset " + what + "."}),
	}
}

func showField[Out any](path, what string, show func(*role) Out) route.Endpoint {
	return route.Read("role/{role_name}/"+path, func(m *method, ctx context.Context, _ *route.Call, in roleName) (out Out, err error) {
		r, err := m.view(ctx, in.Role)
		if err == nil {
			out = show(&r)
		}
		return out, err
	}, route.Doc{Summary: "Read " + what + "."})
}

func fieldRoutes() []route.Endpoint {
	return slices.Concat(
		field[policiesSetting]("policies", "the policies of a role's tokens",
			func(r *role) policiesAnswer {
				return policiesAnswer{authn.Answer(r.Token).Policies, r.olderPolicies()}
			},
			func(r *role) { r.Token.Policies, r.ByPolicies = nil, false }),
		field[periodSetting]("period", "the period of a role's tokens",
			func(r *role) periodAnswer { return periodAnswer{wire.Duration(r.Token.Period), r.olderPeriod()} },
			func(r *role) { r.Token.Period, r.ByPeriod = 0, false }),
		field[tokenTTLSetting]("token-ttl", "the first lifetime of a role's tokens",
			func(r *role) tokenTTLAnswer { return tokenTTLAnswer{wire.Duration(r.Token.TTL)} },
			func(r *role) { r.Token.TTL = 0 }),
		field[tokenMaxTTLSetting]("token-max-ttl", "the longest lifetime of a role's tokens",
			func(r *role) tokenMaxTTLAnswer { return tokenMaxTTLAnswer{wire.Duration(r.Token.MaxTTL)} },
			func(r *role) { r.Token.MaxTTL = 0 }),
		field[tokenNumUsesSetting]("token-num-uses", "the use limit of a role's tokens",
			func(r *role) tokenNumUsesAnswer { return tokenNumUsesAnswer{r.Token.NumUses} },
			func(r *role) { r.Token.NumUses = 0 }),
		field[tokenBoundCIDRsSetting]("token-bound-cidrs", "the address blocks of a role's tokens",
			func(r *role) tokenBoundCIDRsAnswer { return tokenBoundCIDRsAnswer{orNull(r.Token.BoundCIDRs)} },
			func(r *role) { r.Token.BoundCIDRs = nil }),
		field[bindSecretIDSetting]("bind-secret-id", "whether a role demands a secret id",
			func(r *role) bindSecretIDAnswer { return bindSecretIDAnswer{r.BindSecretID} },
			func(r *role) { r.BindSecretID = true }),
		field[secretIDNumUsesSetting]("secret-id-num-uses", "the use limit of a role's secret ids",
			func(r *role) secretIDNumUsesAnswer { return secretIDNumUsesAnswer{r.SecretIDNumUses} },
			func(r *role) { r.SecretIDNumUses = 0 }),
		field[secretIDTTLSetting]("secret-id-ttl", "the lifetime of a role's secret ids",
			func(r *role) secretIDTTLAnswer { return secretIDTTLAnswer{wire.Duration(r.SecretIDTTL)} },
			func(r *role) { r.SecretIDTTL = 0 }),
		field[secretIDBoundCIDRsSetting]("secret-id-bound-cidrs", "the address blocks that a role's logins may come from",
			func(r *role) secretIDBoundCIDRsAnswer { return secretIDBoundCIDRsAnswer{r.BoundCIDRs} },
			func(r *role) { r.BoundCIDRs = nil }),
		field[boundCIDRListSetting]("bound-cidr-list", "the address blocks that a role's logins may come from",
			func(r *role) boundCIDRListAnswer { return boundCIDRListAnswer{r.BoundCIDRs} },
			func(r *role) { r.BoundCIDRs = nil }),
		[]route.Endpoint{showField("local-secret-ids", "whether a role's secret ids stay in this cluster",
			func(r *role) localSecretIDsAnswer { return localSecretIDsAnswer{r.LocalSecretIDs} })},
	)
}

// orNull shows an empty list as null.
func orNull(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func missing(field string) error { return fault.Newf(fault.Invalid, "missing %s", field) }
