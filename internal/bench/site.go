package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cofferhq/coffer/api"
)

// Why a workload was left out.
var (
	errNoDatabase = errors.New("no PostgreSQL was given")
	errNoEngine   = errors.New("the server does not have it")
)

// site is what a workload has made on the server, and the means to make it.
type site struct {
	admin    *api.Client // as whom it prepares
	target   target      // with the headers of the load's token
	prefix   string      // of everything that it makes
	keys     int
	clients  int
	postgres string
	undo     []func(context.Context) error
}

// openSite makes a policy and a token for the load: one that is not root, so
// that policies count.
func openSite(ctx context.Context, admin *api.Client, to target, o Options) (*site, error) {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	s := &site{admin: admin, target: to, prefix: "bench-" + hex.EncodeToString(random[:]), keys: o.Keys, clients: o.Clients, postgres: o.Postgres}
	rules := fmt.Sprintf(`path "%s-*" { capabilities = ["create", "read", "update", "list"] }
path "auth/token/create" { capabilities = ["create", "update"] }`, s.prefix)
	if err := s.write(ctx, "sys/policies/acl/"+s.prefix, map[string]string{"policy": rules}); err != nil {
		return nil, err
	}
	s.later(func(ctx context.Context) error { return s.remove(ctx, "sys/policies/acl/"+s.prefix) })
	secret, err := admin.Write(ctx, "auth/token/create", map[string]any{"policies": []string{"default", s.prefix}, "ttl": "24h"})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	if secret == nil || secret.Auth == nil {
		return nil, errors.Join(errors.New("the server gave no token"), s.close(ctx))
	}
	token := secret.Auth.ClientToken
	// With it go the tokens that it has made.
	s.later(func(ctx context.Context) error {
		return s.write(ctx, "auth/token/revoke", map[string]string{"token": token})
	})
	s.target.header += "X-Vault-Token: " + token + "\r\n"
	if ns := admin.Namespace(); ns != "" {
		s.target.header += "X-Vault-Namespace: " + ns + "\r\n"
	}
	return s, nil
}

// later has something undone at the end; the last is undone first.
func (s *site) later(f func(context.Context) error) { s.undo = append(s.undo, f) }

// close removes what was made.
func (s *site) close(ctx context.Context) error {
	var errs []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = append(errs, s.undo[i](ctx))
	}
	s.undo = nil
	return errors.Join(errs...)
}

func (s *site) write(ctx context.Context, path string, body any) error {
	_, err := s.admin.Write(ctx, path, body)
	return naming(path, err)
}

func (s *site) remove(ctx context.Context, path string) error {
	_, err := s.admin.Delete(ctx, path, nil)
	return naming(path, err)
}

// read reads path and decodes the answer's data into v.
func (s *site) read(ctx context.Context, path string, v any) error {
	secret, err := s.admin.Read(ctx, path, nil)
	return decode(path, secret, err, v)
}

// ask writes to path and decodes the answer's data into v.
func (s *site) ask(ctx context.Context, path string, body, v any) error {
	secret, err := s.admin.Write(ctx, path, body)
	return decode(path, secret, err, v)
}

func decode(path string, secret *api.Secret, err error, v any) error {
	if err != nil {
		return naming(path, err)
	}
	if secret == nil {
		return fmt.Errorf("%s: the answer is empty", path)
	}
	b, err := json.Marshal(secret.Data)
	if err != nil {
		return err
	}
	return naming(path, json.Unmarshal(b, v))
}

func naming(path string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// mount mounts an engine and returns its path.
func (s *site) mount(ctx context.Context, name string, config any) (string, error) {
	name = s.prefix + "-" + name
	return name, s.enable(ctx, "sys/mounts/"+name, config)
}

// auth enables an auth method and returns its path.
func (s *site) auth(ctx context.Context, name, kind string) (string, error) {
	name = s.prefix + "-" + name
	return name, s.enable(ctx, "sys/auth/"+name, map[string]string{"type": kind})
}

func (s *site) enable(ctx context.Context, path string, config any) error {
	err := s.write(ctx, path, config)
	var refusal *api.Error
	if errors.As(err, &refusal) && refusal.Status/100 == 4 && refusal.Status != 403 {
		return errNoEngine
	}
	if err == nil {
		s.later(func(ctx context.Context) error { return s.remove(ctx, path) })
	}
	return err
}

// fillers is how many clients write the keys of a workload, fillTime how long a
// new mount may take until it takes them: some servers prepare it first.
const (
	fillers  = 8
	fillTime = 10 * time.Second
)

// fill writes every key.
func (s *site) fill(ctx context.Context, key func(i int) (path string, body any)) error {
	path, body := key(0)
	if err := s.writeSoon(ctx, path, body); err != nil {
		return err
	}
	errs := make([]error, fillers)
	var clients sync.WaitGroup
	for c := range fillers {
		clients.Go(func() {
			for i := 1 + c; i < s.keys && errs[c] == nil; i += fillers {
				path, body := key(i)
				errs[c] = s.write(ctx, path, body)
			}
		})
	}
	clients.Wait()
	return errors.Join(errs...)
}

// writeSoon writes to a mount that may not be ready yet.
func (s *site) writeSoon(ctx context.Context, path string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.write(ctx, path, body)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
