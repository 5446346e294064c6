package seal

import (
	"context"

	"github.com/cofferhq/coffer/internal/fault"
)

// VerifyRekeyStatus returns the progress of the verification.
func (c *Ceremony) VerifyRekeyStatus(context.Context) (VerifyStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verifyStatus()
}

func (c *Ceremony) verifyStatus() (VerifyStatus, error) {
	if _, err := c.Barrier(); err != nil {
		return VerifyStatus{}, err
	}
	r := &c.rekey
	if !r.awaitsVerification() {
		return VerifyStatus{}, errNoRekey
	}
	return VerifyStatus{
		Nonce: r.verify.nonce, Started: true, Progress: len(r.verify.shares),
		Threshold: r.pending.threshold, Shares: r.pending.shares,
	}, nil
}

// RestartVerification forgets the new shares given so far and makes a new nonce.
func (c *Ceremony) RestartVerification(_ context.Context, who Authority, in CancelRequest) (VerifyStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mayCancel(who, &c.rekey.verify, in); err != nil {
		return VerifyStatus{}, err
	}
	if !c.rekey.awaitsVerification() {
		return VerifyStatus{}, errNoRekey
	}
	nonce, err := newUUID(c.cfg.Rand)
	if err != nil {
		return VerifyStatus{}, err
	}
	c.rekey.verify.end()
	c.rekey.verify.nonce = nonce
	return c.verifyStatus()
}

// VerifyRekey takes one new share. With the last one needed the new shares come
// into force; before it returns the status.
func (c *Ceremony) VerifyRekey(ctx context.Context, who Authority, in ShareRequest) (*VerifyStatus, *VerifyResult, error) {
	if err := who.check(); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.Barrier()
	if err != nil {
		return nil, nil, err
	}
	r := &c.rekey
	if !r.awaitsVerification() {
		return nil, nil, errNoRekey
	}
	if err := r.verify.checkNonce(in.Nonce); err != nil {
		return nil, nil, err
	}
	share, err := parseShare(in.Key, r.pending.shares)
	if err != nil {
		return nil, nil, err
	}
	r.verify.add(share)
	if len(r.verify.shares) < r.pending.threshold {
		s, err := c.verifyStatus()
		return &s, nil, err
	}
	defer r.verify.clear()
	key, err := combine(r.verify.shares, r.pending.threshold)
	if err != nil || !key.Equal(r.pending.unseal) {
		key.Zero()
		c.cfg.Log.Warn("new shares of a rekey do not fit")
		return nil, nil, fault.New(fault.Invalid, "these are not the new shares; verification starts over")
	}
	key.Zero()
	nonce := r.verify.nonce
	if _, err := c.commitRekey(ctx, b, *r.pending); err != nil {
		return nil, nil, err // the client has the shares and tries again
	}
	r.end()
	return nil, &VerifyResult{Complete: true, Nonce: nonce}, nil
}
