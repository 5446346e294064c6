package seal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Initialized reports whether the store was initialised.
func (c *Ceremony) Initialized(ctx context.Context) (bool, error) {
	_, _, err := c.config(ctx)
	if errors.Is(err, errNotInitialized) {
		return false, nil
	}
	return err == nil, err
}

// Init makes a cluster: keys, shares and a root token, in one transaction. The
// cluster is left sealed.
func (c *Ceremony) Init(ctx context.Context, in InitRequest) (InitResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch done, err := c.Initialized(ctx); {
	case err != nil:
		return InitResult{}, err
	case done: // said before anything about the request
		return InitResult{}, errInitialized
	}
	plan, err := planInit(in)
	if err != nil {
		return InitResult{}, err
	}
	if c.invitation.Load() != nil {
		return InitResult{}, errInvited
	}
	if c.cfg.Found != nil {
		if err := c.cfg.Found(ctx); err != nil {
			return InitResult{}, err
		}
	}
	var result InitResult
	_, err = c.cfg.Store.Update(ctx, func(t store.Txn) error {
		switch _, _, err := readConfig(t); {
		case err == nil:
			return errInitialized
		case !errors.Is(err, errNotInitialized):
			return err
		}
		result, err = c.initialize(ctx, t, plan)
		return err
	})
	if err != nil {
		return InitResult{}, err
	}
	c.cfg.Log.Info("initialised", "shares", in.Shares, "threshold", in.Threshold)
	return result, nil
}

// initPlan is a checked InitRequest.
type initPlan struct {
	shares, threshold int
	recipients        []recipient
	tokenRecipient    *recipient
}

func planInit(in InitRequest) (initPlan, error) {
	if in.RecoveryShares != 0 || in.RecoveryThreshold != 0 || len(in.RecoveryPGPKeys) != 0 {
		return initPlan{}, fault.New(fault.Invalid,
			"recovery_shares, recovery_threshold and recovery_pgp_keys do not apply to seal type shamir")
	}
	plan := initPlan{shares: in.Shares, threshold: in.Threshold}
	var err error
	if plan.recipients, err = planShares(in.Shares, in.Threshold, in.PGPKeys); err != nil {
		return initPlan{}, err
	}
	if in.RootTokenPGPKey != "" {
		r, err := parseRecipient(in.RootTokenPGPKey)
		if err != nil {
			return initPlan{}, err
		}
		plan.tokenRecipient = &r
	}
	return plan, nil
}

func planShares(shares, threshold int, pgpKeys []string) ([]recipient, error) {
	if err := checkCounts(shares, threshold); err != nil {
		return nil, err
	}
	if len(pgpKeys) != 0 && len(pgpKeys) != shares {
		return nil, fault.New(fault.Invalid, "pgp_keys must have one key for each share")
	}
	return parseRecipients(pgpKeys)
}

// initialize writes everything a new cluster has. All that can fail, encrypting
// the shares among it, happens before the commit.
func (c *Ceremony) initialize(ctx context.Context, t store.Txn, plan initPlan) (InitResult, error) {
	info, err := c.newCluster()
	if err != nil {
		return InitResult{}, err
	}
	root, err := barrier.GenerateKey(c.cfg.Rand)
	if err != nil {
		return InitResult{}, err
	}
	defer root.Zero()
	bcfg := c.barrierConfig(info.ID)
	if err := barrier.Create(t, root, bcfg); err != nil {
		return InitResult{}, err
	}
	if err := putJSON(t, clusterInfoKey(), info); err != nil {
		return InitResult{}, err
	}
	b, err := barrier.Open(ctx, within{t}, root, bcfg)
	if err != nil {
		return InitResult{}, err
	}
	defer b.Close()

	renewed, err := c.newShares(plan.shares, plan.threshold, plan.recipients)
	if err != nil {
		return InitResult{}, err
	}
	defer renewed.unseal.Zero()
	if _, err := b.Update(ctx, func(sealed store.Txn) error {
		return renewed.put(ctx, t, sealed, root, info.ID)
	}); err != nil {
		return InitResult{}, err
	}
	token, err := c.initialToken(ctx, b, plan.tokenRecipient)
	return InitResult{Keys: renewed.keys, RootToken: token}, err
}

func (c *Ceremony) newCluster() (clusterInfo, error) {
	id, err := newUUID(c.cfg.Rand)
	if err != nil {
		return clusterInfo{}, err
	}
	info := clusterInfo{ID: id, Name: c.cfg.ClusterName}
	if info.Name == "" {
		info.Name = "coffer-cluster-" + id[:8]
	}
	return info, nil
}

func (c *Ceremony) initialToken(ctx context.Context, b *barrier.Barrier, to *recipient) (string, error) {
	token, err := c.cfg.NewRootToken(ctx, b)
	if err != nil {
		return "", fmt.Errorf("creating root token: %w", err)
	}
	if to == nil {
		return token, nil
	}
	message, err := c.encrypt(*to, token)
	return base64.StdEncoding.EncodeToString(message), err
}

// newShares is a new unseal key in all its forms.
type newShares struct {
	unseal            barrier.Key
	shares, threshold int
	keys              Keys
	backup            *Backup // to be stored with them, or nil
}

func (c *Ceremony) newShares(shares, threshold int, to []recipient) (newShares, error) {
	unseal, err := barrier.GenerateKey(c.cfg.Rand)
	if err != nil {
		return newShares{}, err
	}
	parts, err := split(unseal, shares, threshold, c.cfg.Rand)
	if err != nil {
		unseal.Zero()
		return newShares{}, err
	}
	defer func() {
		for _, p := range parts {
			clear(p)
		}
	}()
	keys, err := c.present(parts, to)
	if err != nil {
		unseal.Zero()
		return newShares{}, err
	}
	return newShares{unseal: unseal, shares: shares, threshold: threshold, keys: keys}, nil
}

// put writes the seal's rows for root under the new unseal key.
func (n newShares) put(ctx context.Context, raw, sealed store.Txn, root barrier.Key, clusterID string) error {
	config := sealConfig{Shares: n.shares, Threshold: n.threshold}
	if err := config.wrapRoot(ctx, keyWrapper{n.unseal}, root, clusterID); err != nil {
		return err
	}
	if err := putJSON(raw, sealConfigKey(), config); err != nil {
		return err
	}
	if n.backup != nil {
		if err := putJSON(sealed, backupKey(), n.backup); err != nil {
			return err
		}
	}
	return sealed.Put(unsealKeyKey(), n.unseal.Expose())
}

// within is a store inside one transaction: its updates become part of that.
type within struct{ t store.Txn }

// View implements [store.Store].
func (w within) View(_ context.Context, fn func(store.Reader) error) error { return fn(w.t) }

// Update implements [store.Store].
func (w within) Update(_ context.Context, fn func(store.Txn) error) (store.Index, error) {
	return 0, fn(w.t)
}

// Watch implements [store.Store]. Nothing is committed while it lives.
func (within) Watch(store.Watcher) func() { return func() {} }

// Close implements [store.Store].
func (within) Close() error { return nil }
