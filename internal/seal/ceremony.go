package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// The refusals that clients look for.
var (
	errInitialized    = fault.New(fault.Invalid, "Vault is already initialized")
	errNotInitialized = fault.New(fault.Invalid, "Vault is not initialized")
	errInvited        = fault.New(fault.Invalid, "Vault is already initialized: this node is about to join a cluster; unseal it with that cluster's keys")
	errDenied         = fault.New(fault.Denied, "permission denied")
)

// checkInterval is how often [Ceremony.Run] looks whether the data key is due.
const checkInterval = 5 * time.Minute

// persistTimeout bounds how long sealing waits for the store.
const persistTimeout = 2 * time.Second

// settleTimeout bounds how long a rekey that failed looks whether it did.
const settleTimeout = 5 * time.Second

// Config is what a [Ceremony] works with.
type Config struct {
	// Store lies below the barrier.
	Store store.Store
	Clock clock.Clock  // nil is the machine's
	Rand  io.Reader    // nil is the machine's
	Log   *slog.Logger // nil discards

	// ClusterName is for a cluster that is initialised here; "" makes one up.
	ClusterName string
	// Version and StorageType are shown by the seal status.
	Version     string
	StorageType string
	// RootTokenLength is the length of what NewRootToken returns. Clients of
	// root generation get a one-time pad of it beforehand.
	RootTokenLength int

	// Found prepares Store to be initialised: a node of no cluster founds one.
	// Nil does nothing.
	Found func(ctx context.Context) error
	// NewRootToken makes a root token behind b. During init, b lies over the
	// transaction that initialises: everything is written or nothing. It must
	// not keep b, and may be called again when the transaction is retried.
	NewRootToken func(ctx context.Context, b *barrier.Barrier) (string, error)
	// Unsealed builds what serves requests over b and publishes it. An error
	// leaves the server sealed. ctx ends with the request that gave the last
	// share. It must not call the Ceremony, but for Status.
	Unsealed func(ctx context.Context, b *barrier.Barrier) error
	// Sealed takes back what Unsealed published. It must not call the Ceremony
	// nor wait for running requests: sealing is one of them. The barrier
	// answers [barrier.ErrSealed] once Sealed has returned.
	Sealed func(ctx context.Context)
}

// Authority is why a caller may start, feed or cancel a rekey or a root
// generation.
type Authority struct {
	// Sudo says that the caller's token has the sudo capability there.
	Sudo bool
	// Open says that the operator has opened the endpoint to everyone.
	Open bool
}

func (a Authority) check() error {
	if a.Sudo || a.Open {
		return nil
	}
	return errDenied
}

// Ceremony is the state of the seal on this node. All methods are safe for
// concurrent use; one at a time does its work.
type Ceremony struct {
	cfg  Config
	lost chan error // from the barrier to Run; holds one

	// current and shown are written under mu and read without it, so that the
	// seal status answers while a ceremony works or waits for the store.
	current atomic.Pointer[barrier.Barrier] // nil while sealed
	shown   atomic.Pointer[progress]
	// invitation is the cluster to join, nil if there is none.
	invitation atomic.Pointer[Invitation]

	mu       sync.Mutex
	failures int // attempts to unseal that failed since it last worked
	unseal   tally
	rekey    rekey
	newRoot  rootGeneration
}

// progress is what the seal status shows of the shares given to unseal.
type progress struct {
	shares int
	nonce  string
}

// show makes the progress of unsealing visible.
func (c *Ceremony) show() { c.shown.Store(&progress{len(c.unseal.shares), c.unseal.nonce}) }

// New returns the ceremony over a store, sealed.
func New(cfg Config) (*Ceremony, error) {
	if cfg.Store == nil || cfg.NewRootToken == nil || cfg.Unsealed == nil || cfg.Sealed == nil {
		return nil, errors.New("seal: store or callback missing")
	}
	if cfg.RootTokenLength <= 0 {
		return nil, errors.New("seal: length of root tokens missing")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Ceremony{cfg: cfg, lost: make(chan error, 1)}
	c.show()
	return c, nil
}

// Run rotates the data key when it is due and seals when the keyring was lost,
// until ctx ends; then it seals.
func (c *Ceremony) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			// Sealing writes down the count of encryptions and needs a live context.
			c.Seal(context.WithoutCancel(ctx))
			return nil
		case err := <-c.lost:
			c.cfg.Log.Error("sealing after the keyring was lost", "error", err)
			c.Seal(ctx)
		case <-c.cfg.Clock.After(checkInterval):
			c.checkRotation(ctx)
		}
	}
}

func (c *Ceremony) checkRotation(ctx context.Context) {
	b, err := c.Barrier()
	if err != nil {
		return
	}
	switch _, err := b.CheckRotation(ctx); {
	case err == nil, errors.Is(err, fault.Standby), errors.Is(err, fault.Sealed):
		// A standby leaves it to the leader.
	default:
		c.cfg.Log.Warn("checking the data key", "error", err)
	}
}

// Barrier returns the barrier, or [barrier.ErrSealed].
func (c *Ceremony) Barrier() (*barrier.Barrier, error) {
	b := c.current.Load()
	if b == nil {
		return nil, barrier.ErrSealed
	}
	return b, nil
}

// config reads the stored configuration.
func (c *Ceremony) config(ctx context.Context) (config sealConfig, info clusterInfo, err error) {
	err = c.cfg.Store.View(ctx, func(r store.Reader) error {
		config, info, err = readConfig(r)
		return err
	})
	return config, info, err
}

func (c *Ceremony) barrierConfig(clusterID string) barrier.Config {
	return barrier.Config{
		ClusterID: clusterID, Clock: c.cfg.Clock, Rand: c.cfg.Rand, Logger: c.cfg.Log,
		Lost: func(err error) {
			select {
			case c.lost <- err:
			default: // one is waiting already
			}
		},
	}
}

// Seal closes the barrier and forgets every ceremony under way. Sealing what is
// sealed does nothing. The barrier closes at once, also when a ceremony holds
// on to a store that does not answer; then the ceremony is waited for.
func (c *Ceremony) Seal(ctx context.Context) {
	c.close(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close(ctx) // what an unseal under way has opened meanwhile
	c.forget()
	if c.rekey.uncertain() {
		c.cfg.Log.Error("sealed while the outcome of a rekey was open: if the old shares do not unseal, it took place")
	}
	c.rekey.end()
	c.newRoot.end()
}

func (c *Ceremony) close(ctx context.Context) {
	b := c.current.Swap(nil)
	if b == nil {
		return
	}
	c.cfg.Sealed(ctx)
	// Sealing must not wait for a store that has come to a standstill: the
	// count of encryptions matters less.
	brief, cancel := context.WithTimeout(ctx, persistTimeout)
	defer cancel()
	if err := b.Persist(brief); err != nil && !errors.Is(err, fault.Standby) {
		c.cfg.Log.Warn("storing the count of encryptions", "error", err)
	}
	_ = b.Close()
	c.cfg.Log.Info("sealed")
}

// Status describes the seal. It does not wait for a ceremony at work.
func (c *Ceremony) Status(ctx context.Context) (Status, error) {
	s := Status{Type: TypeShamir, Sealed: c.current.Load() == nil, Version: c.cfg.Version, StorageType: c.cfg.StorageType}
	config, info, err := c.config(ctx)
	if err != nil {
		config, _, err = c.invited(err)
	}
	if errors.Is(err, errNotInitialized) {
		return s, nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("reading seal status: %w", err)
	}
	s.Type, s.Initialized, s.Shares, s.Threshold = config.Type, true, config.Shares, config.Threshold
	if !s.Sealed {
		s.ClusterID, s.ClusterName = info.ID, info.Name
		return s, nil
	}
	given := c.shown.Load()
	s.Progress, s.Nonce = given.shares, given.nonce
	return s, nil
}

// verifyShares combines shares and returns the unseal key they make and the
// root key it opens, or errWrongShares.
func (c *Ceremony) verifyShares(ctx context.Context, shares [][]byte, config sealConfig, info clusterInfo) (unseal, root barrier.Key, err error) {
	unseal, err = combine(shares, config.Threshold)
	if err != nil {
		return barrier.Key{}, barrier.Key{}, errWrongShares
	}
	root, err = config.unwrapRoot(ctx, keyWrapper{unseal}, info.ID)
	if err != nil {
		unseal.Zero()
		if errors.Is(err, ErrUnwrap) {
			err = errWrongShares
		}
		return barrier.Key{}, barrier.Key{}, err
	}
	return unseal, root, nil
}
