package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Invitation is a cluster that this node is about to join. Its data is not here
// yet, but whoever unseals this node must hold its keys.
type Invitation struct {
	// Type, Shares and Threshold describe the cluster's seal.
	Type              string
	Shares, Threshold int
	// Answer proves to the cluster that this node holds the unseal key: open
	// decrypts what [Ceremony.Wrap] has encrypted there, and gives
	// [ErrUnwrap] with other keys. When Answer returns without error, the
	// cluster's seal configuration is in this node's store.
	Answer func(ctx context.Context, open func(wrapped, ad []byte) ([]byte, error)) error
}

// Expect has shares that are given to this node be taken for those of a cluster
// to join. The store must not be initialised.
func (c *Ceremony) Expect(i Invitation) error {
	if i.Type != TypeShamir {
		return fault.Newf(fault.Invalid, "the cluster has a seal of type %q, which this node cannot open", i.Type)
	}
	if err := checkCounts(i.Shares, i.Threshold); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	c.invitation.Store(&i)
	return nil
}

// invited returns the description of the seal to join with, if there is one.
func (c *Ceremony) invited(err error) (sealConfig, *Invitation, error) {
	i := c.invitation.Load()
	if i == nil || !errors.Is(err, errNotInitialized) {
		return sealConfig{}, nil, err
	}
	return sealConfig{Type: i.Type, Shares: i.Shares, Threshold: i.Threshold}, i, nil
}

// accept joins the cluster with the shares given.
func (c *Ceremony) accept(ctx context.Context, i *Invitation) (sealConfig, clusterInfo, error) {
	key, err := combine(c.unseal.shares, i.Threshold)
	if err != nil {
		return sealConfig{}, clusterInfo{}, errWrongShares
	}
	defer key.Zero()
	err = i.Answer(ctx, func(wrapped, ad []byte) ([]byte, error) { return keyWrapper{key}.Unwrap(ctx, wrapped, ad) })
	if errors.Is(err, ErrUnwrap) {
		return sealConfig{}, clusterInfo{}, errWrongShares
	}
	if err != nil {
		return sealConfig{}, clusterInfo{}, fmt.Errorf("joining the cluster: %w", err)
	}
	c.invitation.Store(nil)
	return c.config(ctx)
}

// Wrap encrypts plain with the unseal key of this cluster, which must be
// unsealed. Whoever can unseal it can decrypt that, with the same ad.
func (c *Ceremony) Wrap(ctx context.Context, plain, ad []byte) ([]byte, error) {
	key, err := c.unsealKey(ctx)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	return keyWrapper{key}.Wrap(ctx, plain, ad)
}

// Unwrap reverses Wrap; what was encrypted with another key gives [ErrUnwrap].
func (c *Ceremony) Unwrap(ctx context.Context, wrapped, ad []byte) ([]byte, error) {
	key, err := c.unsealKey(ctx)
	if err != nil {
		return nil, err
	}
	defer key.Zero()
	return keyWrapper{key}.Unwrap(ctx, wrapped, ad)
}

// unsealKey reads the unseal key, which the caller must zero.
func (c *Ceremony) unsealKey(ctx context.Context) (key barrier.Key, err error) {
	b, err := c.Barrier()
	if err != nil {
		return barrier.Key{}, err
	}
	err = b.View(ctx, func(r store.Reader) (err error) { key, err = readUnsealKey(r); return err })
	return key, err
}

// Description returns what a node that wants to join must know of the seal.
func (c *Ceremony) Description(ctx context.Context) (Invitation, error) {
	config, _, err := c.config(ctx)
	return Invitation{Type: config.Type, Shares: config.Shares, Threshold: config.Threshold}, err
}

// ClusterID returns the id of the cluster, "" if the store is not initialised.
// It is known while sealed, too.
func (c *Ceremony) ClusterID(ctx context.Context) (string, error) {
	_, info, err := c.config(ctx)
	if errors.Is(err, errNotInitialized) {
		return "", nil
	}
	return info.ID, err
}
