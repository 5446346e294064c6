package autopilot

import (
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what an operator sets.
type Config struct {
	// CleanupDeadServers lets nodes be removed that were not heard from for
	// DeadServerLastContactThreshold, as long as MinQuorum voters are left.
	CleanupDeadServers             bool          `json:"cleanup_dead_servers"`
	DeadServerLastContactThreshold time.Duration `json:"dead_server_last_contact_threshold"`
	MinQuorum                      int           `json:"min_quorum"`
	// A node that was not heard from for LastContactThreshold, or whose log is
	// more than MaxTrailingLogs entries behind, is unhealthy.
	LastContactThreshold time.Duration `json:"last_contact_threshold"`
	MaxTrailingLogs      uint64        `json:"max_trailing_logs"`
	// ServerStabilizationTime is how long a node must be healthy to get a vote.
	ServerStabilizationTime time.Duration `json:"server_stabilization_time"`
	DisableUpgradeMigration bool          `json:"disable_upgrade_migration"`
}

// DefaultConfig is in force where nothing is set.
func DefaultConfig() Config {
	return Config{
		DeadServerLastContactThreshold: 24 * time.Hour, LastContactThreshold: 10 * time.Second, MaxTrailingLogs: 1000,
		ServerStabilizationTime: 10 * time.Second,
	}
}

// shortest is the shortest time after which a node may be taken for dead.
const shortest = time.Minute

func (c Config) check() error {
	switch {
	case c.CleanupDeadServers && c.MinQuorum < 3:
		return fault.New(fault.Invalid, "min_quorum must be set when cleanup_dead_servers is set and it should at least be 3; cleanup_dead_servers: true needs to know how many voters must stay")
	case c.DeadServerLastContactThreshold < shortest:
		return fault.New(fault.Invalid, "dead_server_last_contact_threshold should not be set to less than a minute")
	case c.LastContactThreshold <= 0:
		return fault.New(fault.Invalid, "last_contact_threshold must be positive")
	case c.ServerStabilizationTime < 0 || c.MinQuorum < 0:
		return fault.New(fault.Invalid, "server_stabilization_time and min_quorum must not be negative")
	}
	return nil
}

var configKey = store.NewKey(store.RootNamespace, store.System, store.KindConfig, "autopilot")

// readConfig returns what is set, else the default.
func readConfig(r store.Reader) (Config, error) {
	c, err := store.GetJSON[Config](r, configKey)
	if errors.Is(err, store.ErrNotFound) {
		return DefaultConfig(), nil
	}
	return c, err
}
