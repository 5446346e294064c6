package lockout

import (
	"io"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Limits say when an alias is locked out.
type Limits struct {
	// Threshold is how many failures lock.
	Threshold int
	// Duration is how long a lock lasts.
	Duration time.Duration
	// CounterReset is how long after the last failure the count begins anew.
	CounterReset time.Duration
	// Disable turns the lockout off.
	Disable bool
}

// DefaultLimits are in force where neither the configuration nor the mount says
// otherwise.
var DefaultLimits = Limits{Threshold: 5, Duration: 15 * time.Minute, CounterReset: 15 * time.Minute}

// limits returns those in force at a mount. A length of time that is not set is
// the default, not none: a lock that ends at once would be no lock.
func (s *Store) limits(ns store.NamespaceID, mountType, accessor string) Limits {
	l := s.Limits(ns, mountType, accessor)
	if l.Duration <= 0 {
		l.Duration = DefaultLimits.Duration
	}
	if l.CounterReset <= 0 {
		l.CounterReset = DefaultLimits.CounterReset
	}
	return l
}

func (l Limits) off() bool { return l.Disable || l.Threshold <= 0 }

// Config is what a [Store] is built of.
type Config struct {
	Store store.Store
	Clock clock.Clock
	// Rand is the source of randomness.
	Rand io.Reader
	// Limits returns those in force at a mount. Nil is [DefaultLimits]
	// everywhere.
	Limits func(ns store.NamespaceID, mountType, accessor string) Limits
}

// Store counts failed logins. Its methods are safe for concurrent use.
type Store struct {
	Config
	mu    sync.Mutex
	slots map[place]*slot // guarded by mu: the aliases with tries under way
}

// New returns a store. It does no I/O.
func New(c Config) *Store {
	if c.Limits == nil {
		c.Limits = func(store.NamespaceID, string, string) Limits { return DefaultLimits }
	}
	return &Store{Config: c, slots: map[place]*slot{}}
}

// place is an alias at a mount.
type place struct {
	ns              store.NamespaceID
	accessor, alias string
}

// errLocked is what a login of a locked alias gets. Clients know the text.
var errLocked = fault.New(fault.Denied, "permission denied")
