package config

import (
	"reflect"
	"slices"
)

// Reloadable compares a running configuration with a new one. It returns the
// settings that differ and can be applied at once, and those that need a
// restart, each by a name that an operator recognises, sorted. Contents of certificate
// and audit files are not compared: a reload reads them again in any case.
func Reloadable(old, new *Config) (changed, needRestart []string) {
	for _, s := range comparedSettings() {
		switch {
		case !s.differs(old, new):
		case s.reloads:
			changed = append(changed, s.name)
		default:
			needRestart = append(needRestart, s.name)
		}
	}
	slices.Sort(changed)
	slices.Sort(needRestart)
	return changed, needRestart
}

// setting is one thing that a reload compares.
type setting struct {
	name    string
	reloads bool
	differs func(old, new *Config) bool
}

func comparedSettings() []setting {
	return []setting{
		{"audit", false, by(func(c *Config) any { return withoutPlaces(c.Audits, func(a *AuditDevice) *Pos { return &a.Pos }) })},
		{"custom_response_headers", false, inBoth(func(l Listener) any { return l.Headers })},
		{"listener certificates", true, inBoth(func(l Listener) any {
			return []string{l.TLS.CertFile, l.TLS.KeyFile, l.TLS.ClientCAFile}
		})},
		{"listener limits", false, inBoth(func(l Listener) any { return l.Limits })},
		{"log_level", true, by(func(c *Config) any { return c.Log.Level })},
		{"user_lockout", false, by(func(c *Config) any {
			return withoutPlaces(c.UserLockouts, func(u *UserLockout) *Pos { return &u.Pos })
		})},

		{"api_addr", false, by(func(c *Config) any { return c.APIAddr })},
		{"cluster_addr", false, by(func(c *Config) any { return c.ClusterAddr })},
		{"cluster_name", false, by(func(c *Config) any { return c.ClusterName })},
		{"default_lease_ttl", false, by(func(c *Config) any { return c.DefaultLeaseTTL })},
		{"default_max_request_duration", false, by(func(c *Config) any { return c.DefaultMaxRequestDuration })},
		{"revocation_rate", false, by(func(c *Config) any { return c.RevocationRate })},
		{"listener", false, by(func(c *Config) any { return listenerParts(c, restartPart) })},
		{"log file and format", false, by(func(c *Config) any {
			l := c.Log
			l.Level = ""
			return l
		})},
		{"max_lease_ttl", false, by(func(c *Config) any { return c.MaxLeaseTTL })},
		{"pid_file", false, by(func(c *Config) any { return c.PIDFile })},
		{"seal", false, by(func(c *Config) any { return withoutPlaces(c.Seals, func(s *Seal) *Pos { return &s.Pos }) })},
		{"storage", false, by(storagePart)},
		{"switches", false, by(func(c *Config) any { return c.Switches })},
		{"telemetry", false, by(func(c *Config) any { return c.Telemetry })},
		{"ui", false, by(func(c *Config) any { return c.UI })},
	}
}

// by compares what a function selects.
func by(value func(*Config) any) func(old, new *Config) bool {
	return func(old, new *Config) bool { return !reflect.DeepEqual(value(old), value(new)) }
}

// inBoth compares a part of the listeners that both configurations have; one
// that only one of them has is a difference of "listener" alone.
func inBoth(part func(Listener) any) func(old, new *Config) bool {
	return func(old, new *Config) bool {
		before := listenerParts(old, part)
		for address, value := range listenerParts(new, part) {
			if known, ok := before[address]; ok && !reflect.DeepEqual(known, value) {
				return true
			}
		}
		return false
	}
}

// listenerParts maps by address, so that the order of listeners is no matter.
func listenerParts(c *Config, part func(Listener) any) map[string]any {
	out := make(map[string]any, len(c.Listeners))
	for _, l := range c.Listeners {
		out[l.Type+" "+l.Address] = part(l)
	}
	return out
}

// restartPart is what of a listener cannot change while it is open.
func restartPart(l Listener) any {
	l.Pos = Pos{}
	l.Headers, l.Limits = nil, Limits{}
	l.TLS.CertFile, l.TLS.KeyFile, l.TLS.ClientCAFile = "", "", ""
	return l
}

func storagePart(c *Config) any {
	s := c.Storage
	s.Pos = Pos{}
	if s.Raft != nil {
		r := *s.Raft
		r.Joins = withoutPlaces(r.Joins, func(j *RetryJoin) *Pos { return &j.Pos })
		s.Raft = &r
	}
	return s
}

// withoutPlaces copies blocks without their positions, so that moving a block
// in its file is no change.
func withoutPlaces[T any](blocks []T, pos func(*T) *Pos) []T {
	out := slices.Clone(blocks)
	for i := range out {
		*pos(&out[i]) = Pos{}
	}
	return out
}
