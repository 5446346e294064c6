package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

// Renewer keeps a token or a lease alive. Run blocks, so a program starts it in
// a goroutine and ends it with the context:
//
//	go renewer.Run(ctx)
//
// It renews after two thirds of the lifetime, tries again with a growing delay
// when the server cannot be reached, and ends when the secret can live no
// longer: then the program logs in, or reads the credential, anew.
type Renewer struct {
	// Client makes the requests; to renew a token it is one that has that token.
	Client *Client
	// Secret is the answer to keep alive: that of a login, or one with a lease.
	Secret *Secret
	// Increment is the lifetime to ask for; zero lets the server choose.
	Increment time.Duration
	// Renewed, when set, is called with the answer of each renewal.
	Renewed func(*Secret)
	// Failed, when set, is called with the error of each renewal that will be
	// tried again.
	Failed func(error)
}

// ErrExpiring is returned by [Renewer.Run] when the secret cannot be renewed
// any further, and before it expires where that is possible.
var ErrExpiring = errors.New("secret is about to expire and cannot be renewed")

// ErrNotLeased is returned by [Renewer.Run] for a secret that has no lifetime.
var ErrNotLeased = errors.New("secret has no lease and no token to renew")

const (
	minRenewDelay = time.Second
	maxRenewDelay = 30 * time.Second
)

// Run renews until the context ends or the secret cannot be renewed any
// further, and returns the context's error or [ErrExpiring] with the reason.
func (r *Renewer) Run(ctx context.Context) error {
	life, renewable, err := lifetime(r.Secret)
	if err != nil {
		return err
	}
	if life == 0 {
		// A root token, say: nothing to do until the program ends.
		<-ctx.Done()
		return ctx.Err()
	}
	granted := life
	for {
		if !renewable {
			return r.lastThird(ctx, life, nil)
		}
		if err := sleep(ctx, renewAfter(life)); err != nil {
			return err
		}
		s, err := r.renewWithin(ctx, life/3)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errors.Join(ErrExpiring, err)
		}
		if r.Renewed != nil {
			r.Renewed(s)
		}
		if life, renewable, err = lifetime(s); err != nil {
			return err
		}
		// Close to its maximum lifetime every renewal grants less. Below a
		// third of the usual the end is near, and more requests buy nothing.
		if granted = max(granted, life); life < granted/3 {
			return r.lastThird(ctx, life, nil)
		}
	}
}

// lastThird waits until a third of life is left and ends the run, so that the
// program has time to replace the secret.
func (r *Renewer) lastThird(ctx context.Context, life time.Duration, cause error) error {
	if err := sleep(ctx, life*2/3); err != nil {
		return err
	}
	return errors.Join(ErrExpiring, cause)
}

// renewWithin tries to renew until limit has passed.
func (r *Renewer) renewWithin(ctx context.Context, limit time.Duration) (*Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for delay := minRenewDelay; ; delay = min(delay*2, maxRenewDelay) {
		s, err := r.renew(ctx)
		if err == nil || final(err) {
			return s, err
		}
		if r.Failed != nil {
			r.Failed(err)
		}
		if sleep(ctx, delay) != nil {
			return nil, err
		}
	}
}

// final reports whether the server refused for good: a 4xx other than the
// passing ones.
func final(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Status < 500 && e.Status != http.StatusTooManyRequests && e.Status != http.StatusPreconditionFailed
}

func (r *Renewer) renew(ctx context.Context) (*Secret, error) {
	if r.Secret.Auth != nil {
		return r.Client.WithWrapTTL("").Tokens().RenewSelf(ctx, r.Increment)
	}
	return r.Client.WithWrapTTL("").RenewLease(ctx, r.Secret.LeaseID, r.Increment)
}

func lifetime(s *Secret) (life time.Duration, renewable bool, err error) {
	switch {
	case s == nil:
		return 0, false, ErrNotLeased
	case s.Auth != nil:
		return time.Duration(s.Auth.LeaseDuration) * time.Second, s.Auth.Renewable, nil
	case s.LeaseID != "":
		return time.Duration(s.LeaseDuration) * time.Second, s.Renewable, nil
	}
	return 0, false, ErrNotLeased
}

// renewAfter is two thirds of a lifetime, a little earlier at random so that
// programs that started together do not renew together.
func renewAfter(life time.Duration) time.Duration {
	d := life * 2 / 3
	return d - rand.N(d/10+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
