package config

import "time"

// DefaultTTL is how long leases and tokens live at most, and by default, when
// the configuration does not say.
const DefaultTTL = 768 * time.Hour

// Config is everything a server is told before it starts. Zero durations and
// empty strings mean that the key was not given.
type Config struct {
	Listeners    []Listener
	Storage      Storage
	Seals        []Seal
	Audits       []AuditDevice
	UserLockouts []UserLockout
	Telemetry    Telemetry
	Log          Log

	// APIAddr is the URL at which clients reach this node, ClusterAddr that at
	// which other nodes do.
	APIAddr     string
	ClusterAddr string
	ClusterName string

	DefaultLeaseTTL           time.Duration
	MaxLeaseTTL               time.Duration
	DefaultMaxRequestDuration time.Duration
	// RevocationRate bounds how many tokens, leases and timers that have come to
	// their end are seen to per second; zero is no bound.
	RevocationRate int

	UI      bool
	PIDFile string
	Switches

	// Dev is set for a development server only.
	Dev *DevMode

	// Notes are remarks that the operator should see but that stop nothing.
	Notes []Note

	// places remembers where top-level values were set, for messages.
	places map[string]Pos
}

// Switches are the yes-or-no questions of the top level.
type Switches struct {
	// RawStorageEndpoint serves sys/raw, which reads the store unencrypted.
	RawStorageEndpoint bool
	// IntrospectionEndpoint serves sys/internal/inspect.
	IntrospectionEndpoint bool
	// AllowAPIAuditCreation lets sys/audit create devices. A device writes
	// where it is told with the server's rights, so it is off by default.
	AllowAPIAuditCreation bool
	// HostnameHeader and NodeIDHeader add the node's names to every answer.
	HostnameHeader bool
	NodeIDHeader   bool
	// DisableMlock is accepted for compatibility; see the note it leaves.
	DisableMlock bool
	// DisableCache is accepted for compatibility; see the note it leaves.
	DisableCache bool
}

// Log configures the server's own log.
type Log struct {
	Level          string // trace, debug, info, warn or error
	Format         string // standard or json
	File           string // empty for standard error
	RotateBytes    int64
	RotateDuration time.Duration
	RotateMaxFiles int
}

// Telemetry configures metrics.
type Telemetry struct {
	PrometheusRetentionTime time.Duration
	DisableHostname         bool
	MetricsPrefix           string
	UsageGaugePeriod        time.Duration
	MaximumGaugeCardinality int
}

// UserLockout says when repeated failed logins lock a user out. Type is an
// auth method type, or "all".
type UserLockout struct {
	Pos          Pos
	Type         string
	Threshold    int
	Duration     time.Duration
	CounterReset time.Duration
	Disabled     bool
}

// New returns the configuration that an empty file describes.
func New() *Config {
	return &Config{
		Log:            Log{Level: "info", Format: "standard"},
		RevocationRate: 10_000,
		Telemetry:      Telemetry{PrometheusRetentionTime: 24 * time.Hour, MaximumGaugeCardinality: 500, UsageGaugePeriod: 10 * time.Minute},
	}
}

// LeaseTTLs returns the default and the longest life of leases and tokens with
// the built-in values filled in.
func (c *Config) LeaseTTLs() (defaultTTL, maxTTL time.Duration) {
	defaultTTL, maxTTL = c.DefaultLeaseTTL, c.MaxLeaseTTL
	if maxTTL == 0 {
		maxTTL = DefaultTTL
	}
	if defaultTTL == 0 {
		defaultTTL = min(DefaultTTL, maxTTL)
	}
	return defaultTTL, maxTTL
}

// fill completes what depends on several keys, once all files are read.
func (c *Config) fill() {
	for i := range c.Listeners {
		c.Listeners[i].Limits.fill(c.DefaultMaxRequestDuration)
	}
}

// place returns where a top-level key was set, if a file set it.
func (c *Config) place(name string) Pos { return c.places[name] }

func (c *Config) setPlace(name string, at Pos) {
	if c.places == nil {
		c.places = map[string]Pos{}
	}
	c.places[name] = at
}
