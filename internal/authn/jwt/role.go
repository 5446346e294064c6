package jwt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// The kinds of roles, and how values of bound claims are compared.
const (
	roleJWT  = "jwt"
	roleOIDC = "oidc"

	compareString = "string"
	compareGlob   = "glob"

	callbackClient = "client"
	callbackDevice = "device"
)

// role is a row.
type role struct {
	Type             string               `json:"type"`
	BoundAudiences   []string             `json:"bound_audiences,omitempty"`
	BoundSubject     string               `json:"bound_subject,omitempty"`
	BoundClaims      map[string]wire.JSON `json:"bound_claims,omitempty"`
	BoundClaimsType  string               `json:"bound_claims_type"`
	UserClaim        string               `json:"user_claim"`
	UserClaimPointer bool                 `json:"user_claim_pointer,omitempty"`
	GroupsClaim      string               `json:"groups_claim,omitempty"`
	ClaimMappings    map[string]string    `json:"claim_mappings,omitempty"`
	ExpirationLeeway leeway               `json:"expiration_leeway,omitempty"`
	NotBeforeLeeway  leeway               `json:"not_before_leeway,omitempty"`
	ClockSkewLeeway  leeway               `json:"clock_skew_leeway,omitempty"`
	MaxAge           time.Duration        `json:"max_age,omitempty"`
	RedirectURIs     []string             `json:"redirect_uris,omitempty"`
	Scopes           []string             `json:"scopes,omitempty"`
	VerboseLogging   bool                 `json:"verbose_logging,omitempty"`
	CallbackMode     string               `json:"callback_mode"`
	Token            authn.TokenParams    `json:"token"`
	Older            authn.OlderNames     `json:"older"`
}

func (m *method) roleKey(name string) store.Key { return m.storage.Key(kindRole, name) }

// role reads a role; the error is [store.ErrNotFound] if there is none.
func (m *method) role(ctx context.Context, name string) (r role, err error) {
	err = m.storage.View(ctx, func(rd store.Reader) error {
		r, err = store.GetJSON[role](rd, m.roleKey(name))
		return err
	})
	return r, err
}

func (m *method) listRoles(ctx context.Context, _ *route.Call, _ listRequest) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kindRole), "", 0)
		return err
	})
	return keys, err
}

func (m *method) readRole(ctx context.Context, _ *route.Call, in nameRequest) (roleAnswer, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return roleAnswer{}, err
	}
	r, err := m.role(ctx, in.Name)
	if err != nil {
		return roleAnswer{}, err
	}
	return roleAnswer{
		TokenAnswer: authn.Answer(r.Token), OlderAnswer: r.Older.Answer(r.Token),
		RedirectURIs: r.RedirectURIs, BoundAudiences: r.BoundAudiences, BoundClaims: r.BoundClaims, BoundClaimsType: r.BoundClaimsType,
		BoundSubject: r.BoundSubject, CallbackMode: r.CallbackMode, ClaimMappings: r.ClaimMappings, ClockSkewLeeway: r.ClockSkewLeeway,
		ExpirationLeeway: r.ExpirationLeeway, GroupsClaim: r.GroupsClaim, MaxAge: wire.Duration(r.MaxAge), NotBeforeLeeway: r.NotBeforeLeeway,
		Scopes: r.Scopes, RoleType: r.Type, UserClaim: r.UserClaim, UserClaimPointer: r.UserClaimPointer, VerboseLogging: r.VerboseLogging,
	}, nil
}

func (m *method) roleExists(ctx context.Context, _ *route.Call, in roleRequest) (exists bool, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, m.roleKey(in.Name))
		return err
	})
	return exists, err
}

func (m *method) writeRole(ctx context.Context, _ *route.Call, in roleRequest) (route.None, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := store.GetJSON[role](tx, m.roleKey(in.Name))
		if errors.Is(err, store.ErrNotFound) {
			r, err = role{Type: roleOIDC, BoundClaimsType: compareString, CallbackMode: callbackClient}, nil
		}
		if err != nil {
			return err
		}
		if err := in.apply(&r); err != nil {
			return err
		}
		return store.PutJSON(tx, m.roleKey(in.Name), &r)
	})
}

func (m *method) deleteRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error { return tx.Delete(m.roleKey(in.Name)) })
}

// apply lays the settings that were given over the role's and checks the whole.
func (in *roleRequest) apply(r *role) error {
	fields := in.OlderFields.Merge(in.TokenFields, &r.Older)
	if err := fields.Apply(&r.Token); err != nil {
		return err
	}
	if in.RoleType.Or("x") == "" {
		in.RoleType.Value = roleOIDC
	}
	in.RoleType.Into(&r.Type)
	in.BoundAudiences.Into(&r.BoundAudiences)
	in.BoundSubject.Into(&r.BoundSubject)
	in.BoundClaims.Into(&r.BoundClaims)
	in.BoundClaimsType.Into(&r.BoundClaimsType)
	in.UserClaim.Into(&r.UserClaim)
	in.UserClaimPointer.Into(&r.UserClaimPointer)
	in.GroupsClaim.Into(&r.GroupsClaim)
	in.ClaimMappings.Into(&r.ClaimMappings)
	in.ExpirationLeeway.Into(&r.ExpirationLeeway)
	in.NotBeforeLeeway.Into(&r.NotBeforeLeeway)
	in.ClockSkewLeeway.Into(&r.ClockSkewLeeway)
	in.RedirectURIs.Into(&r.RedirectURIs)
	in.Scopes.Into(&r.Scopes)
	in.VerboseLogging.Into(&r.VerboseLogging)
	in.CallbackMode.Into(&r.CallbackMode)
	if in.MaxAge.Set {
		r.MaxAge = in.MaxAge.Value.D()
	}
	if len(in.OAuth2Metadata.Value) > 0 || in.PolicyTemplates.Value || in.NoConfirmation.Value {
		return fault.New(fault.Invalid, "oauth2_metadata, token_policies_template_claims and oidc_disable_confirmation are not offered")
	}
	return r.validate()
}

func (r *role) validate() error {
	if r.BoundClaimsType == "" {
		r.BoundClaimsType = compareString
	}
	switch {
	case r.UserClaim == "":
		return fault.New(fault.Invalid, "a role needs a user_claim")
	case r.BoundClaimsType != compareString && r.BoundClaimsType != compareGlob:
		return fault.New(fault.Invalid, "bound_claims_type may be string or glob")
	case r.CallbackMode != callbackClient && r.CallbackMode != callbackDevice:
		return fault.New(fault.Invalid, "callback_mode may be client or device")
	}
	if err := r.checkClaims(); err != nil {
		return err
	}
	switch r.Type {
	case roleJWT:
		if len(r.BoundAudiences) == 0 && r.BoundSubject == "" && len(r.BoundClaims) == 0 && len(r.Token.BoundCIDRs) == 0 {
			return fault.New(fault.Invalid, "must have at least one bound constraint when creating/updating a role: bound_audiences, bound_subject, bound_claims or token_bound_cidrs")
		}
	case roleOIDC:
		if len(r.RedirectURIs) == 0 && r.CallbackMode == callbackClient {
			return fault.New(fault.Invalid, "allowed_redirect_uris must be set if role_type is oidc, unless callback_mode is device")
		}
	default:
		return fault.New(fault.Invalid, "role_type may be jwt or oidc")
	}
	return nil
}

// checkClaims refuses bound claims that no token could satisfy, and mappings that
// would hide each other.
func (r *role) checkClaims() error {
	for name, raw := range r.BoundClaims {
		values, err := scalars(raw)
		if err != nil || len(values) == 0 {
			return fault.Newf(fault.Invalid, "the bound claim %q needs a string, a number, a boolean or a list of them", name)
		}
		text := func(v scalar) bool { return v.kind == kindString }
		if r.BoundClaimsType == compareGlob && !slices.ContainsFunc(values, text) {
			return fault.Newf(fault.Invalid, "the bound claim %q must be a string or a list of strings with bound_claims_type=glob", name)
		}
	}
	taken := map[string]bool{"role": true}
	for claim, name := range r.ClaimMappings {
		if claim == "" || strings.TrimSpace(name) == "" {
			return fault.New(fault.Invalid, "claim_mappings may not have an empty name")
		}
		if taken[name] {
			return fault.Newf(fault.Invalid, "claim_mappings may not fill %q: it is filled already", name)
		}
		taken[name] = true
	}
	return nil
}
