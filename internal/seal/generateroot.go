package seal

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
)

// rootGeneration is the one generation of a root token that may be under way.
type rootGeneration struct {
	tally     tally
	pad       []byte     // the one-time pad, unless there is a recipient
	recipient *recipient // who the token is encrypted for
}

func (g *rootGeneration) end() {
	g.tally.end()
	clear(g.pad)
	*g = rootGeneration{}
}

// padAlphabet are the characters of a one-time pad; their number divides 256
// with a remainder, see newPad.
const padAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newPad draws n characters, each equally likely.
func newPad(n int, rand io.Reader) ([]byte, error) {
	const limit = 256 - 256%len(padAlphabet)
	pad := make([]byte, 0, n)
	var b [1]byte
	for len(pad) < n {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		if int(b[0]) < limit {
			pad = append(pad, padAlphabet[int(b[0])%len(padAlphabet)])
		}
	}
	return pad, nil
}

// RootTokenStatus returns the progress of the generation.
func (c *Ceremony) RootTokenStatus(ctx context.Context) (RootTokenStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.rootTokenStatus(ctx)
	s.OTPLength = c.cfg.RootTokenLength
	return s, err
}

func (c *Ceremony) rootTokenStatus(ctx context.Context) (RootTokenStatus, error) {
	if _, err := c.Barrier(); err != nil {
		return RootTokenStatus{}, err
	}
	config, _, err := c.config(ctx)
	if err != nil {
		return RootTokenStatus{}, err
	}
	g := &c.newRoot
	s := RootTokenStatus{
		Nonce: g.tally.nonce, Started: g.tally.nonce != "",
		Progress: len(g.tally.shares), Required: config.Threshold,
	}
	if g.recipient != nil {
		s.PGPFingerprint = g.recipient.fingerprint()
	}
	return s, nil
}

// StartRootToken starts the generation. Only its answer shows the one-time pad.
func (c *Ceremony) StartRootToken(ctx context.Context, who Authority, in RootTokenRequest) (RootTokenStatus, error) {
	if err := who.check(); err != nil {
		return RootTokenStatus{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.Barrier(); err != nil {
		return RootTokenStatus{}, err
	}
	if c.newRoot.tally.nonce != "" {
		return RootTokenStatus{}, fault.New(fault.Invalid, "root generation already in progress")
	}
	g, made, err := c.planRootToken(in)
	if err != nil {
		return RootTokenStatus{}, err
	}
	if g.tally.nonce, err = newUUID(c.cfg.Rand); err != nil {
		return RootTokenStatus{}, err
	}
	c.newRoot = g
	c.cfg.Log.Info("root token generation started")
	s, err := c.rootTokenStatus(ctx)
	s.OTPLength = c.cfg.RootTokenLength
	if made {
		s.OTP = string(g.pad)
	}
	return s, err
}

// planRootToken checks the request. It reports whether the pad was made here.
func (c *Ceremony) planRootToken(in RootTokenRequest) (g rootGeneration, made bool, err error) {
	switch {
	case in.PGPKey != "" && in.OTP != "":
		return g, false, fault.New(fault.Invalid, "otp and pgp_key exclude each other")
	case in.PGPKey != "":
		r, err := parseRecipient(in.PGPKey)
		return rootGeneration{recipient: &r}, false, err
	case in.OTP != "":
		if len(in.OTP) != c.cfg.RootTokenLength {
			return g, false, fault.Newf(fault.Invalid, "otp must have %d characters", c.cfg.RootTokenLength)
		}
		return rootGeneration{pad: []byte(in.OTP.Reveal())}, false, nil
	}
	g.pad, err = newPad(c.cfg.RootTokenLength, c.cfg.Rand)
	return g, true, err
}

// CancelRootToken ends the generation, under the rules of [Ceremony.CancelRekey].
func (c *Ceremony) CancelRootToken(_ context.Context, who Authority, in CancelRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mayCancel(who, &c.newRoot.tally, in); err != nil {
		return err
	}
	c.newRoot.end()
	c.cfg.Log.Info("root token generation cancelled")
	return nil
}

// UpdateRootToken takes one share. The last one needed brings the token.
func (c *Ceremony) UpdateRootToken(ctx context.Context, who Authority, in ShareRequest) (RootTokenStatus, error) {
	if err := who.check(); err != nil {
		return RootTokenStatus{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.Barrier()
	if err != nil {
		return RootTokenStatus{}, err
	}
	g := &c.newRoot
	if g.tally.nonce == "" {
		return RootTokenStatus{}, fault.New(fault.Invalid, "no root generation in progress")
	}
	config, info, done, err := c.contribute(ctx, &g.tally, in, "generate-root")
	if err != nil {
		return RootTokenStatus{}, err
	}
	s, err := c.rootTokenStatus(ctx)
	if err != nil || !done {
		return s, err
	}
	defer g.tally.clear()
	if err := c.proveShares(ctx, b, config, info); err != nil {
		c.cfg.Log.Warn("shares for a root token do not fit")
		return RootTokenStatus{}, err
	}
	if s.EncodedToken, err = c.encodedToken(ctx, b); err != nil {
		return RootTokenStatus{}, err
	}
	s.Complete, s.EncodedRootToken = true, s.EncodedToken
	g.end()
	c.cfg.Log.Info("root token generated")
	return s, nil
}

// proveShares checks that the shares open the root key in use.
func (c *Ceremony) proveShares(ctx context.Context, b *barrier.Barrier, config sealConfig, info clusterInfo) error {
	unseal, root, err := c.verifyShares(ctx, c.newRoot.tally.shares, config, info)
	if err != nil {
		return err
	}
	defer unseal.Zero()
	defer root.Zero()
	return b.VerifyRoot(root)
}

func (c *Ceremony) encodedToken(ctx context.Context, b *barrier.Barrier) (string, error) {
	token, err := c.cfg.NewRootToken(ctx, b)
	if err != nil {
		return "", fmt.Errorf("creating root token: %w", err)
	}
	g := &c.newRoot
	if g.recipient != nil {
		message, err := c.encrypt(*g.recipient, token)
		return base64.StdEncoding.EncodeToString(message), err
	}
	if len(token) != len(g.pad) {
		return "", fmt.Errorf("root token has %d characters, the pad %d", len(token), len(g.pad))
	}
	hidden := make([]byte, len(token))
	subtle.XORBytes(hidden, []byte(token), g.pad)
	return base64.RawStdEncoding.EncodeToString(hidden), nil
}
