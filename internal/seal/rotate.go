package seal

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// RotateRootKey makes a new root key. The shares stay as they are: it is
// wrapped with the same unseal key.
func (c *Ceremony) RotateRootKey(ctx context.Context) error {
	b, err := c.Barrier()
	if err != nil {
		return err
	}
	root, err := barrier.GenerateKey(c.cfg.Rand)
	if err != nil {
		return err
	}
	defer root.Zero()
	return b.RotateRoot(ctx, root, func(raw, sealed store.Txn) error {
		config, info, err := readConfig(raw)
		if err != nil {
			return err
		}
		unseal, err := readUnsealKey(sealed)
		if err != nil {
			return err
		}
		defer unseal.Zero()
		if err := config.wrapRoot(ctx, keyWrapper{unseal}, root, info.ID); err != nil {
			return err
		}
		return putJSON(raw, sealConfigKey(), config)
	})
}

// RotateDataKey makes a new data key for everything written from now on.
func (c *Ceremony) RotateDataKey(ctx context.Context) error {
	b, err := c.Barrier()
	if err != nil {
		return err
	}
	return b.Rotate(ctx)
}

// KeyStatus describes the data key that encrypts now.
func (c *Ceremony) KeyStatus(context.Context) (KeyStatus, error) {
	b, err := c.Barrier()
	if err != nil {
		return KeyStatus{}, err
	}
	s, err := b.KeyStatus()
	return KeyStatus(s), err
}

// Rotation returns when the data key rotates by itself.
func (c *Ceremony) Rotation(context.Context) (RotationSettings, error) {
	b, err := c.Barrier()
	if err != nil {
		return RotationSettings{}, err
	}
	s, err := b.RotationConfig()
	return RotationSettings{s.Enabled, s.MaxOperations, interval(s.Interval)}, err
}

// ConfigureRotation changes what the request mentions.
func (c *Ceremony) ConfigureRotation(ctx context.Context, in RotationRequest) error {
	b, err := c.Barrier()
	if err != nil {
		return err
	}
	s, err := b.RotationConfig()
	if err != nil {
		return err
	}
	in.Enabled.Into(&s.Enabled)
	if in.MaxOperations.Set {
		if in.MaxOperations.Value < 0 {
			return fault.New(fault.Invalid, "max_operations must not be negative")
		}
		s.MaxOperations = uint64(in.MaxOperations.Value)
	}
	if in.Interval.Set {
		s.Interval = in.Interval.Value.D()
	}
	return b.ConfigureRotation(ctx, s)
}

// interval is a duration that clients see as text such as "48h0m0s", but for
// none, which is the number 0.
type interval time.Duration

// MarshalJSON writes the text or 0.
func (i interval) MarshalJSON() ([]byte, error) {
	if i == 0 {
		return []byte("0"), nil
	}
	return json.Marshal(time.Duration(i).String())
}
