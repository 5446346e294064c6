package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// startDev initialises and unseals a development server, mounts secret/, and
// tells how to use it.
func (s *Server) startDev(ctx context.Context, ports []*port) error {
	s.rootToken = s.config.Dev.RootTokenID
	keys, err := s.ceremony.Init(ctx, seal.InitRequest{Shares: 1, Threshold: 1})
	if err != nil {
		return fmt.Errorf("initialising: %w", err)
	}
	s.rootToken = ""
	if _, err := s.ceremony.Unseal(ctx, seal.UnsealRequest{Key: wire.Secret(keys.KeysBase64[0])}); err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	if v := s.config.Dev.KVVersion; v > 0 {
		_, err := s.house.Load().mounts.Enable(ctx, mount.Entry{
			NS: store.RootNamespace, Path: "secret/", Type: "kv", Description: "key/value secret storage", Options: map[string]string{"version": strconv.Itoa(v)},
		})
		if err != nil {
			return fmt.Errorf("mounting secret/: %w", err)
		}
	}
	s.storeToken(keys.RootToken)
	if s.initialised != nil {
		s.initialised(keys.KeysBase64[0])
	}
	return s.greet(ports[0], keys)
}

// storeToken puts the root token where the command line looks for it.
func (s *Server) storeToken(token string) {
	if s.config.Dev.NoStoreToken {
		return
	}
	home, err := os.UserHomeDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(home, ".vault-token"), []byte(token), 0o600)
	}
	if err != nil {
		s.log.Warn("the root token could not be stored for the command line", "error", err)
	}
}

func (s *Server) greet(p *port, keys seal.InitResult) error {
	kept := "in memory"
	if s.raft != nil {
		kept = "in a folder"
	}
	_, err := fmt.Fprintf(s.out, `
Coffer is running in development mode: everything is kept %s and gone
when it stops, it is unsealed, and it speaks plain HTTP unless told otherwise.
Do not use it for real secrets.

    export VAULT_ADDR=%q

Unseal Key: %s
Root Token: %s

The root token is stored for the command line, so this works at once:

    coffer kv put secret/hello who=world
    coffer kv get secret/hello

`, kept, p.url(), keys.KeysBase64[0], keys.RootToken)
	return err
}
