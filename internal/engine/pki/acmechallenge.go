package pki

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/store"
)

type authorizationJSON struct {
	Identifier identifier      `json:"identifier"`
	Status     string          `json:"status"`
	Expires    string          `json:"expires"`
	Wildcard   bool            `json:"wildcard,omitempty"`
	Challenges []challengeJSON `json:"challenges"`
}

type challengeJSON struct {
	Type      string        `json:"type"`
	URL       string        `json:"url"`
	Token     string        `json:"token"`
	Status    string        `json:"status"`
	Validated string        `json:"validated,omitempty"`
	Error     *acme.Problem `json:"error,omitempty"`
}

// current is the state by now.
func (a *authorization) current(now time.Time) string {
	if (a.Status == statusPending || a.Status == statusValid) && !now.Before(a.Expires) {
		return statusExpired
	}
	return a.Status
}

func (s *signed) authorizationJSON(a *authorization) authorizationJSON {
	out := authorizationJSON{Identifier: a.Identifier, Status: a.Status, Expires: acmeTime(a.Expires), Wildcard: a.Wildcard}
	for i := range a.Challenges {
		if c := &a.Challenges[i]; a.Status == statusPending || c.Status != statusPending {
			out.Challenges = append(out.Challenges, s.challengeJSON(a, c))
		}
	}
	return out
}

func (s *signed) challengeJSON(a *authorization, c *challenge) challengeJSON {
	out := challengeJSON{Type: c.Type, URL: s.base + "/challenge/" + a.ID + "/" + c.Type, Token: c.Token, Status: c.Status, Error: c.Error}
	if !c.Validated.IsZero() {
		out.Validated = acmeTime(c.Validated)
	}
	return out
}

// authorization reads one of the caller's authorisations, in the state that it
// has by now.
func (e *Engine) authorization(r store.Reader, s *signed, id string) (*authorization, error) {
	a, err := store.GetJSON[authorization](r, e.key(kindACME, "auth", s.account.ID, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, acme.Errorf(acme.Malformed, "there is no such authorization")
	}
	a.Status = a.current(s.call.Now)
	return &a, err
}

// acmeAuthorization reads or deactivates an authorisation.
func (e *Engine) acmeAuthorization(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	var p struct {
		Status string `json:"status"`
	}
	if err := s.decode(&p); err != nil {
		return nil, err
	}
	if p.Status != "" && p.Status != statusDeactivated {
		return nil, acme.Errorf(acme.Malformed, "an authorization's status can only be changed to deactivated")
	}
	var a *authorization
	read := func(r store.Reader) (err error) {
		a, err = e.authorization(r, s, s.call.Param("auth_id"))
		return err
	}
	var err error
	if p.Status == "" {
		err = e.view(ctx, read)
	} else {
		err = e.update(ctx, func(tx store.Txn) error {
			if err := read(tx); err != nil {
				return err
			}
			a.Status = statusDeactivated
			return store.PutJSON(tx, e.key(kindACME, "auth", a.Account, a.ID), a)
		})
	}
	if err != nil {
		return nil, err
	}
	return &acmeAnswer{body: s.authorizationJSON(a)}, nil
}

// acmeChallenge has a challenge validated, and answers when it has been: the
// client need not ask again. A validation that fails ends the authorisation, as
// RFC 8555, section 7.1.6, has it.
func (e *Engine) acmeChallenge(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	var a *authorization
	if err := e.view(ctx, func(r store.Reader) (err error) {
		a, err = e.authorization(r, s, s.call.Param("auth_id"))
		return err
	}); err != nil {
		return nil, err
	}
	kind := s.call.Param("challenge_type")
	at := slices.IndexFunc(a.Challenges, func(c challenge) bool { return c.Type == kind })
	if at < 0 {
		return nil, acme.Errorf(acme.Malformed, "there is no such challenge")
	}
	// An empty payload only reads (RFC 8555, section 7.5.1).
	if a.Status != statusPending || len(s.payload) == 0 {
		return s.challengeAnswer(a, &a.Challenges[at]), nil
	}
	problem, err := e.validate(ctx, s, a, &a.Challenges[at])
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, func(tx store.Txn) error {
		now, err := e.authorization(tx, s, a.ID)
		if err != nil {
			return err
		}
		if a = now; a.Status != statusPending {
			return nil
		}
		c := &a.Challenges[at]
		c.Status, c.Validated, a.Status = statusValid, e.host.Clock.Now(), statusValid
		if problem != nil {
			c.Status, c.Validated, c.Error, a.Status = statusInvalid, time.Time{}, problem, statusInvalid
		}
		return store.PutJSON(tx, e.key(kindACME, "auth", a.Account, a.ID), a)
	})
	if err != nil {
		return nil, err
	}
	return s.challengeAnswer(a, &a.Challenges[at]), nil
}

func (s *signed) challengeAnswer(a *authorization, c *challenge) *acmeAnswer {
	return &acmeAnswer{body: s.challengeJSON(a, c), up: s.base + "/authorization/" + a.ID}
}

// attempts is how often a validation is tried, with a rest between: records and
// servers are often set up a moment too late.
const (
	attempts = 3
	rest     = time.Second
)

// validate reports what is wrong with the answer to a challenge, nil if nothing
// is.
func (e *Engine) validate(ctx context.Context, s *signed, a *authorization, c *challenge) (*acme.Problem, error) {
	select {
	case e.acme.room <- struct{}{}:
		defer func() { <-e.acme.room }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	permitted, excluded, err := s.config.networks()
	if err != nil {
		return nil, err
	}
	thumb, err := acme.Thumbprint(&s.account.Key)
	if err != nil {
		return nil, err
	}
	v := acme.Validator{Network: e.acme.network, Resolver: s.config.DNSResolver, Permitted: permitted, Excluded: excluded}
	what := acme.Challenge{Type: c.Type, Kind: a.Identifier.Type, Value: a.Identifier.Value, Token: c.Token, Authorization: acme.KeyAuthorization(c.Token, thumb)}
	var problem *acme.Problem
	for n := range attempts {
		if n > 0 {
			select {
			case <-e.host.Clock.After(rest):
			case <-ctx.Done():
				return problem, nil
			}
		}
		if problem = v.Validate(ctx, what); problem == nil {
			return nil, nil
		}
	}
	return problem, nil
}
