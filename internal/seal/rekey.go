package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

var errNoRekey = fault.New(fault.Invalid, "no rekey in progress")

// rekey is the one rekey that may be under way: first it collects old shares
// (old), then, if it was asked to, new ones (verify).
type rekey struct {
	old        tally
	request    RekeyRequest
	recipients []recipient
	// pending are the new shares, from when they are made until they are known
	// to be in force; result is the answer that shows them.
	pending *newShares
	result  *RekeyResult
	verify  tally
}

// awaitsVerification reports whether new shares are to be shown to work.
func (r *rekey) awaitsVerification() bool { return r.pending != nil && r.request.RequireVerification }

// uncertain reports whether the store has not said if the new shares, which
// nobody has seen, are in force.
func (r *rekey) uncertain() bool { return r.pending != nil && !r.request.RequireVerification }

func (r *rekey) end() {
	r.old.end()
	r.verify.end()
	if r.pending != nil {
		r.pending.unseal.Zero()
	}
	*r = rekey{}
}

// RekeyStatus returns the progress of the rekey.
func (c *Ceremony) RekeyStatus(ctx context.Context) (RekeyStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rekeyStatus(ctx)
}

func (c *Ceremony) rekeyStatus(ctx context.Context) (RekeyStatus, error) {
	if _, err := c.Barrier(); err != nil {
		return RekeyStatus{}, err
	}
	config, _, err := c.config(ctx)
	if err != nil {
		return RekeyStatus{}, err
	}
	s := RekeyStatus{Required: config.Threshold}
	r := &c.rekey
	if r.old.nonce == "" {
		return s, nil
	}
	s.Started, s.Nonce, s.Progress = true, r.old.nonce, len(r.old.shares)
	s.Shares, s.Threshold = r.request.Shares, r.request.Threshold
	s.PGPFingerprints, s.Backup = fingerprints(r.recipients), r.request.Backup
	s.VerificationRequired, s.VerificationNonce = r.request.RequireVerification, r.verify.nonce
	return s, nil
}

// StartRekey starts the rekey.
func (c *Ceremony) StartRekey(ctx context.Context, who Authority, in RekeyRequest) (RekeyStatus, error) {
	if err := who.check(); err != nil {
		return RekeyStatus{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.Barrier(); err != nil {
		return RekeyStatus{}, err
	}
	if c.rekey.old.nonce != "" {
		return RekeyStatus{}, fault.New(fault.Invalid, "rekey already in progress")
	}
	to, err := planShares(in.Shares, in.Threshold, in.PGPKeys)
	if err != nil {
		return RekeyStatus{}, err
	}
	if in.Backup && len(to) == 0 {
		return RekeyStatus{}, fault.New(fault.Invalid, "backup needs pgp_keys: shares are never stored readable")
	}
	nonce, err := newUUID(c.cfg.Rand)
	if err != nil {
		return RekeyStatus{}, err
	}
	c.rekey = rekey{old: tally{nonce: nonce}, request: in, recipients: to}
	c.cfg.Log.Info("rekey started", "shares", in.Shares, "threshold", in.Threshold, "verification", in.RequireVerification)
	return c.rekeyStatus(ctx)
}

// CancelRekey ends the rekey. Old shares stay in force. Without a token the
// nonce is needed; given, it must be right in any case.
func (c *Ceremony) CancelRekey(ctx context.Context, who Authority, in CancelRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mayCancel(who, &c.rekey.old, in); err != nil {
		return err
	}
	if c.rekey.uncertain() {
		switch done, err := c.inForce(ctx, c.rekey.pending.unseal); {
		case err != nil:
			return err
		case done:
			return fault.New(fault.Invalid, "the new shares are in force; give an old share again to get them")
		}
	}
	c.rekey.end()
	c.cfg.Log.Info("rekey cancelled")
	return nil
}

func (c *Ceremony) mayCancel(who Authority, t *tally, in CancelRequest) error {
	if err := who.check(); err != nil {
		return err
	}
	if _, err := c.Barrier(); err != nil {
		return err
	}
	if t.nonce == "" || who.Sudo && in.Nonce == "" {
		return nil
	}
	return t.checkNonce(in.Nonce)
}

// UpdateRekey takes one old share. Until it is the last one needed it returns
// the status; then the new shares.
func (c *Ceremony) UpdateRekey(ctx context.Context, who Authority, in ShareRequest) (*RekeyStatus, *RekeyResult, error) {
	if err := who.check(); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.Barrier()
	if err != nil {
		return nil, nil, err
	}
	if c.rekey.old.nonce == "" || c.rekey.awaitsVerification() {
		return nil, nil, errNoRekey
	}
	if c.rekey.uncertain() {
		result, err := c.resumeRekey(ctx, b, in)
		return nil, result, err
	}
	config, info, done, err := c.contribute(ctx, &c.rekey.old, in, "rekey")
	if err != nil {
		return nil, nil, err
	}
	if !done {
		s, err := c.rekeyStatus(ctx)
		return &s, nil, err
	}
	unseal, root, err := c.verifyShares(ctx, c.rekey.old.shares, config, info)
	if err != nil {
		c.rekey.old.clear()
		c.cfg.Log.Warn("shares for a rekey do not fit")
		return nil, nil, err
	}
	unseal.Zero()
	root.Zero()
	result, err := c.renew(ctx, b)
	return nil, result, err
}

// contribute adds a share to a ceremony that needs the seal's threshold.
func (c *Ceremony) contribute(ctx context.Context, t *tally, in ShareRequest, what string) (sealConfig, clusterInfo, bool, error) {
	config, info, err := c.config(ctx)
	if err != nil {
		return config, info, false, err
	}
	if err := t.checkNonce(in.Nonce); err != nil {
		return config, info, false, err
	}
	share, err := parseShare(in.Key, config.Shares)
	if err != nil {
		return config, info, false, err
	}
	t.add(share)
	c.cfg.Log.Info("share given", "to", what, "progress", len(t.shares), "threshold", config.Threshold)
	return config, info, len(t.shares) >= config.Threshold, nil
}

// renew makes the new shares and puts them in force, or holds them until they
// are verified.
func (c *Ceremony) renew(ctx context.Context, b *barrier.Barrier) (*RekeyResult, error) {
	r := &c.rekey
	renewed, err := c.newShares(r.request.Shares, r.request.Threshold, r.recipients)
	if err != nil {
		r.old.clear()
		return nil, err
	}
	result := &RekeyResult{
		Complete: true, Nonce: r.old.nonce, Keys: renewed.keys,
		PGPFingerprints: fingerprints(r.recipients), Backup: r.request.Backup,
		VerificationRequired: r.request.RequireVerification,
	}
	renewed.backup = c.backupOf(renewed.keys)
	renewed.keys = Keys{} // the result has them
	if !r.request.RequireVerification {
		r.pending, r.result = &renewed, result
		return c.finishRekey(ctx, b)
	}
	r.old.clear()
	if result.VerificationNonce, err = newUUID(c.cfg.Rand); err != nil {
		renewed.unseal.Zero()
		return nil, err
	}
	r.pending, r.verify = &renewed, tally{nonce: result.VerificationNonce}
	return result, nil
}

// finishRekey commits the pending shares and returns them. If the store cannot
// say whether they are in force, they are kept for [Ceremony.resumeRekey]: to
// drop them might be to drop the only ones that work.
func (c *Ceremony) finishRekey(ctx context.Context, b *barrier.Barrier) (*RekeyResult, error) {
	certain, err := c.commitRekey(ctx, b, *c.rekey.pending)
	if err != nil {
		if certain {
			c.rekey.pending.unseal.Zero()
			c.rekey.pending, c.rekey.result = nil, nil
			c.rekey.old.clear()
		}
		return nil, err
	}
	result := c.rekey.result
	c.rekey.end()
	return result, nil
}

// resumeRekey goes on after an uncertain commit, for who brings one of the
// shares that led to it.
func (c *Ceremony) resumeRekey(ctx context.Context, b *barrier.Barrier, in ShareRequest) (*RekeyResult, error) {
	old := &c.rekey.old
	if err := old.checkNonce(in.Nonce); err != nil {
		return nil, err
	}
	share, err := parseShare(in.Key, len(old.shares)) // of one or of several, as then
	if err != nil {
		return nil, err
	}
	defer clear(share)
	if !old.has(share) {
		return nil, fault.New(fault.Invalid, "the outcome of this rekey is open; give one of the same shares again")
	}
	done, err := c.inForce(ctx, c.rekey.pending.unseal)
	if err != nil {
		return nil, err
	}
	if !done {
		return c.finishRekey(ctx, b)
	}
	result := c.rekey.result
	c.rekey.end()
	return result, nil
}

// inForce reports whether the stored seal opens with unseal. The answer is
// final: that no is written down, so a commit that nobody acknowledged cannot
// come after it.
func (c *Ceremony) inForce(ctx context.Context, unseal barrier.Key) (done bool, err error) {
	_, err = c.cfg.Store.Update(ctx, func(t store.Txn) error {
		done = false
		config, info, err := readConfig(t)
		if err != nil {
			return err
		}
		root, err := config.unwrapRoot(ctx, keyWrapper{unseal}, info.ID)
		switch {
		case err == nil:
			root.Zero()
			done = true
			return nil
		case errors.Is(err, ErrUnwrap):
			return putJSON(t, sealConfigKey(), config)
		}
		return err
	})
	return done, err
}

// commitRekey puts the new shares in force: new unseal key, new root key and
// the keyring under it, in one transaction. When it fails, certain says whether
// nothing has changed for sure.
func (c *Ceremony) commitRekey(ctx context.Context, b *barrier.Barrier, n newShares) (certain bool, err error) {
	root, err := barrier.GenerateKey(c.cfg.Rand)
	if err != nil {
		return true, err
	}
	defer root.Zero()
	err = b.RotateRoot(ctx, root, func(raw, sealed store.Txn) error {
		_, info, err := readConfig(raw)
		if err != nil {
			return err
		}
		return n.put(ctx, raw, sealed, root, info.ID)
	})
	if err != nil {
		// The store may have committed all the same, and the client may be gone.
		settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		defer cancel()
		done, unknown := c.inForce(settle, n.unseal)
		if unknown != nil || !done {
			return unknown == nil, fmt.Errorf("putting new shares in force: %w", err)
		}
	}
	c.cfg.Log.Info("rekeyed", "shares", n.shares, "threshold", n.threshold)
	return true, nil
}
