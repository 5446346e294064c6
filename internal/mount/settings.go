package mount

import (
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// check refuses settings that contradict each other.
func (s *Settings) check(system Limits) error {
	maxTTL := s.MaxTTL
	if maxTTL == 0 {
		maxTTL = system.MaxTTL
	}
	if maxTTL > 0 && s.DefaultTTL > maxTTL {
		return fault.Newf(fault.Invalid, "given default lease TTL of %d greater than backend max lease TTL of %d", int(s.DefaultTTL.Seconds()), int(maxTTL.Seconds()))
	}
	switch s.ListingVisibility {
	case "", "hidden", "unauth":
	default:
		return fault.New(fault.Invalid, `invalid listing_visibility: use "hidden" or "unauth"`)
	}
	switch s.TokenType {
	case "", "default-service", "default-batch", "service", "batch":
	default:
		return fault.New(fault.Invalid, "invalid token_type: use default-service, default-batch, service or batch")
	}
	return nil
}

// settingsRequest are the settings as requests give them.
type settingsRequest struct {
	DefaultTTL         wire.Opt[string]   `json:"default_lease_ttl" doc:"Lease time if none is asked for; \"system\" or -1 for the server's."`
	MaxTTL             wire.Opt[string]   `json:"max_lease_ttl" doc:"Longest lease time; \"system\" or -1 for the server's."`
	ForceNoCache       wire.Opt[bool]     `json:"force_no_cache" doc:"Kept and shown; has no effect."`
	ListingVisibility  wire.Opt[string]   `json:"listing_visibility" doc:"hidden, or unauth to list the mount to everyone."`
	AuditRequestKeys   wire.Opt[[]string] `json:"audit_non_hmac_request_keys" doc:"Members of request bodies that audit logs show in clear."`
	AuditResponseKeys  wire.Opt[[]string] `json:"audit_non_hmac_response_keys" doc:"Members of answers that audit logs show in clear."`
	PassthroughHeaders wire.Opt[[]string] `json:"passthrough_request_headers" doc:"Request headers that the engine may see."`
	ResponseHeaders    wire.Opt[[]string] `json:"allowed_response_headers" doc:"Response headers that the engine may set."`
	TokenType          wire.Opt[string]   `json:"token_type" doc:"Kind of tokens that the method grants."`
	PluginVersion      wire.Opt[string]   `json:"plugin_version" doc:"Must be empty or the built-in version."`
	IdentityTokenKey   wire.Opt[string]   `json:"identity_token_key" doc:"Kept and shown."`
	Lockout            wire.JSON          `json:"user_lockout_config" doc:"When failed logins lock a user out: lockout_threshold, lockout_duration, lockout_counter_reset_duration, lockout_disable."`
}

// apply lays the given fields over s.
func (in *settingsRequest) apply(s *Settings, system Limits) error {
	next := *s
	for _, f := range []struct {
		name string
		from wire.Opt[string]
		to   *time.Duration
	}{{"default_lease_ttl", in.DefaultTTL, &next.DefaultTTL}, {"max_lease_ttl", in.MaxTTL, &next.MaxTTL}} {
		if !f.from.Set || f.from.Value == "" { // clients send "" for what they leave alone
			continue
		}
		if v := f.from.Value; v == "system" || v == "-1" {
			*f.to = 0
			continue
		}
		d, err := wire.ParseDurationText(f.from.Value)
		if err != nil {
			return fault.Newf(fault.Invalid, "field %q: %s", f.name, err)
		}
		*f.to = d
	}
	in.ForceNoCache.Into(&next.ForceNoCache)
	in.ListingVisibility.Into(&next.ListingVisibility)
	in.AuditRequestKeys.Into(&next.AuditRequestKeys)
	in.AuditResponseKeys.Into(&next.AuditResponseKeys)
	in.ResponseHeaders.Into(&next.ResponseHeaders)
	in.TokenType.Into(&next.TokenType)
	in.PluginVersion.Into(&next.PluginVersion)
	in.IdentityTokenKey.Into(&next.IdentityTokenKey)
	if in.PassthroughHeaders.Set {
		next.PassthroughHeaders = in.PassthroughHeaders.Value
		if slices.ContainsFunc(next.PassthroughHeaders, func(h string) bool { return strings.EqualFold(h, "X-Vault-Token") }) {
			return fault.New(fault.Invalid, "the token header cannot be passed to an engine")
		}
	}
	if err := in.lockout(&next); err != nil {
		return err
	}
	if err := next.check(system); err != nil {
		return err
	}
	*s = next
	return nil
}

func (in *settingsRequest) lockout(s *Settings) error {
	if len(in.Lockout) == 0 || wire.IsNull(in.Lockout) {
		return nil
	}
	o, err := wire.ParseObject(in.Lockout, wire.DefaultLimits)
	if err != nil || !o.Present() {
		return fault.New(fault.Invalid, `field "user_lockout_config": must be an object`)
	}
	next := Lockout{} // what is not given is zero, and means the default
	if s.Lockout != nil {
		next = *s.Lockout
	}
	for _, m := range o.Members {
		var err error
		switch m.Name {
		case "lockout_threshold":
			var n int64
			n, err = wire.ParseInt(m.Value)
			next.Threshold = int(n)
			if n < 1 || n > 1<<20 {
				err = fault.New(fault.Invalid, "must be 1 or more")
			}
		case "lockout_duration":
			next.Duration, err = wire.ParseDuration(m.Value)
		case "lockout_counter_reset_duration":
			next.CounterReset, err = wire.ParseDuration(m.Value)
		case "lockout_disable":
			next.Disable, err = wire.ParseBool(m.Value)
		}
		if err != nil {
			return fault.Newf(fault.Invalid, "field \"user_lockout_config\": member %q: %s", m.Name, err)
		}
	}
	s.Lockout = &next
	return nil
}

// settingsAnswer are the settings as answers show them.
type settingsAnswer struct {
	ResponseHeaders    []string       `json:"allowed_response_headers,omitempty"`
	AuditRequestKeys   []string       `json:"audit_non_hmac_request_keys,omitempty"`
	AuditResponseKeys  []string       `json:"audit_non_hmac_response_keys,omitempty"`
	DefaultTTL         wire.Duration  `json:"default_lease_ttl"`
	ForceNoCache       bool           `json:"force_no_cache"`
	IdentityTokenKey   string         `json:"identity_token_key,omitempty"`
	ListingVisibility  string         `json:"listing_visibility,omitempty"`
	MaxTTL             wire.Duration  `json:"max_lease_ttl"`
	PassthroughHeaders []string       `json:"passthrough_request_headers,omitempty"`
	TokenType          string         `json:"token_type,omitempty"`
	Lockout            *lockoutAnswer `json:"user_lockout_config,omitempty"`
}

// lockoutAnswer are the lockout settings as answers show them; zero is the
// default.
type lockoutAnswer struct {
	CounterReset wire.Duration `json:"user_lockout_counter_reset_duration"`
	Disable      bool          `json:"user_lockout_disable"`
	Duration     wire.Duration `json:"user_lockout_duration"`
	Threshold    int           `json:"user_lockout_threshold"`
}

func (s *Settings) answer(auth bool) settingsAnswer {
	a := settingsAnswer{
		ResponseHeaders: s.ResponseHeaders, AuditRequestKeys: s.AuditRequestKeys, AuditResponseKeys: s.AuditResponseKeys,
		DefaultTTL: wire.Duration(s.DefaultTTL), ForceNoCache: s.ForceNoCache, IdentityTokenKey: s.IdentityTokenKey,
		ListingVisibility: s.ListingVisibility, MaxTTL: wire.Duration(s.MaxTTL), PassthroughHeaders: s.PassthroughHeaders,
	}
	if auth {
		if a.TokenType = s.TokenType; a.TokenType == "" {
			a.TokenType = "default-service"
		}
	}
	if l := s.Lockout; l != nil {
		a.Lockout = &lockoutAnswer{wire.Duration(l.CounterReset), l.Disable, wire.Duration(l.Duration), l.Threshold}
	}
	return a
}
