package server

import (
	"crypto/rand"
	"slices"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/authn/approle"
	"github.com/cofferhq/coffer/internal/authn/cert"
	"github.com/cofferhq/coffer/internal/authn/jwt"
	"github.com/cofferhq/coffer/internal/authn/kubernetes"
	"github.com/cofferhq/coffer/internal/authn/ldap"
	"github.com/cofferhq/coffer/internal/authn/userpass"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/cubbyhole"
	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/engine/database/postgres"
	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/engine/pki"
	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/engine/ssh"
	"github.com/cofferhq/coffer/internal/engine/totp"
	"github.com/cofferhq/coffer/internal/engine/transit"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/tools"
)

func (s *Server) allEngines() []engine.Type { return slices.Concat(engines(), s.engines) }

func (s *Server) allMethods() []authn.Type { return slices.Concat(methods(), s.methods) }

// engines are the secrets engines that can be mounted. A new one is its own
// folder and one line here.
func engines() []engine.Type {
	return []engine.Type{
		kv.Type,
		cubbyhole.Type,
		database.Type(postgres.Driver()),
		ssh.Type,
		totp.Type,
		transit.Type(route.Bind(tools.New(rand.Reader), tools.Routes(""))),
		pki.Type(acme.Internet()),
	}
}

// methods are the auth methods that can be mounted.
func methods() []authn.Type {
	return []authn.Type{
		userpass.Type,
		approle.Type,
		jwt.Type,
		jwt.OIDCType,
		kubernetes.Type,
		cert.Type,
		ldap.Type,
	}
}
