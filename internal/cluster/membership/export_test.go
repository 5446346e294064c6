package membership

import (
	"context"
	"encoding/base64"
)

// Application is what a node says when it answers a challenge.
type Application struct{ application }

// NewApplication returns one.
func NewApplication(id, address string, nonVoter bool, request []byte) Application {
	return Application{application{ID: id, Address: address, NonVoter: nonVoter, Request: request}}
}

// Answer is the answer with a secret.
func (a Application) Answer(secret []byte) []byte { return a.mac(secret) }

// Challenge returns a challenge's ticket and its secret as it is encrypted.
func (s *Service) Challenge(ctx context.Context, id string) (ticket, wrapped []byte, err error) {
	c, err := s.challenge(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if ticket, err = base64.StdEncoding.DecodeString(c.Ticket); err != nil {
		return nil, nil, err
	}
	wrapped, err = base64.StdEncoding.DecodeString(c.Challenge)
	return ticket, wrapped, err
}

// Admission adds a node that has answered.
func (s *Service) Admission(ctx context.Context, a Application, ticket, answer []byte) error {
	_, err := s.admit(ctx, a.application, ticket, answer)
	return err
}

// Step has the leader do what is due.
func (s *Service) Step(ctx context.Context) { s.step(ctx) }

// Ask asks a target for a challenge.
func (s *Service) Ask(ctx context.Context, t Target) error {
	_, err := s.takeChallenge(ctx, t)
	return err
}
