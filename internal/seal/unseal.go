package seal

import (
	"context"
	"fmt"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
)

// Unseal takes one share. With the last one needed the barrier is opened and
// handed to the server. A share that was given before changes nothing. Shares
// that do not fit together reset the progress.
func (c *Ceremony) Unseal(ctx context.Context, in UnsealRequest) (Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.Key == "" && !in.Reset {
		_, err := parseShare("", 0)
		return Status{}, err
	}
	if c.current.Load() != nil {
		if in.Reset {
			return Status{}, fault.New(fault.Invalid, "Vault is already unsealed")
		}
		return c.Status(ctx)
	}
	if in.Reset {
		c.forget()
		return c.Status(ctx)
	}
	config, info, err := c.config(ctx)
	var invitation *Invitation
	if err != nil {
		if config, invitation, err = c.invited(err); err != nil {
			return Status{}, err
		}
	}
	share, err := parseShare(in.Key, config.Shares)
	if err != nil {
		return Status{}, err
	}
	if c.unseal.nonce == "" {
		if c.unseal.nonce, err = newUUID(c.cfg.Rand); err != nil {
			return Status{}, err
		}
	}
	c.unseal.add(share)
	c.show()
	c.cfg.Log.Info("share given to unseal", "progress", len(c.unseal.shares), "threshold", config.Threshold)
	if len(c.unseal.shares) < config.Threshold {
		return c.Status(ctx)
	}
	defer c.forget()
	if invitation != nil {
		config, info, err = c.accept(ctx, invitation)
	}
	if err == nil {
		err = c.open(ctx, config, info)
	}
	if err != nil {
		c.failures++
		c.cfg.Log.Warn("unsealing", "failures", c.failures, "error", err)
		return Status{}, err
	}
	c.failures = 0
	c.cfg.Log.Info("unsealed")
	return c.Status(ctx)
}

// forget drops the shares given to unseal.
func (c *Ceremony) forget() {
	c.unseal.end()
	c.show()
}

// open opens the barrier with the shares collected and has the server built.
func (c *Ceremony) open(ctx context.Context, config sealConfig, info clusterInfo) error {
	unseal, root, err := c.verifyShares(ctx, c.unseal.shares, config, info)
	if err != nil {
		return err
	}
	defer unseal.Zero()
	defer root.Zero()
	select {
	case <-c.lost: // of a barrier before this one
	default:
	}
	b, err := barrier.Open(ctx, c.cfg.Store, root, c.barrierConfig(info.ID))
	if err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	if err := c.cfg.Unsealed(ctx, b); err != nil {
		_ = b.Close()
		return fmt.Errorf("starting after unseal: %w", err)
	}
	c.current.Store(b)
	return nil
}
