package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/fault"
)

// SQLSTATE codes that mean something here.
const (
	stateInvalidAuthorization = "28000"
	stateInvalidPassword      = "28P01"
	classOperator             = "57P" // the server is stopping or starting
)

// connectError words a failure before anything was sent. pgx's own error is not
// kept: it names hosts, users and databases, and may repeat a connection string.
func (c *conn) connectError(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		fact := database.ErrUnreachable
		if refused.Code == stateInvalidPassword || refused.Code == stateInvalidAuthorization {
			fact = database.ErrCredentials
		}
		return fault.Wrap(fault.Upstream, fact, "the database refused the connection: "+c.describe(refused, values{}))
	}
	return fault.Wrap(fault.Upstream, database.ErrUnreachable, "the database cannot be reached: "+reason(err))
}

// reason words a failure to connect without addresses.
func reason(err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		network   net.Error
	)
	switch {
	case errors.As(err, &authority):
		return "its certificate is signed by an unknown authority"
	case errors.As(err, &hostname):
		return "its certificate is not valid for this host name"
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "its certificate is not valid"
	case errors.As(err, &alert):
		return "it refused the TLS connection"
	case errors.As(err, &dns):
		return "its host name cannot be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, os.ErrNotExist):
		return "there is no such socket"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), pgconn.Timeout(err), errors.As(err, &network) && network.Timeout():
		return "it did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the request was cancelled"
	case strings.Contains(err.Error(), "server refused TLS"):
		return "it does not offer TLS"
	}
	return "the connection failed"
}

// statementError words a failure of statements that were sent. What pgx calls
// safe to retry is not asked: it says so of connections that break while the
// answer is awaited.
func (c *conn) statementError(err error, v values) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !strings.HasPrefix(refused.Code, classOperator) {
		return fault.Wrap(fault.Upstream, stateError(refused.Code), "the database refused the statements: "+c.describe(refused, v))
	}
	return fault.Wrap(fault.Upstream, database.ErrUncertain, "the connection to the database broke while it was at work: "+reason(err))
}

// stateError is the SQLSTATE code of a refusal, kept in the chain.
type stateError string

func (s stateError) Error() string { return "SQLSTATE " + string(s) }

// describe gives PostgreSQL's message and code. The message is left out if it
// repeats part of a password, as syntax errors can.
func (c *conn) describe(e *pgconn.PgError, v values) string {
	own := c.password.Reveal()
	if repeats(e.Message, v.secret.Reveal()) || repeats(e.Message, v.password) || own != "" && strings.Contains(e.Message, own) {
		return fmt.Sprintf("%s (SQLSTATE %s)", "its message would repeat a password", e.Code)
	}
	return fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code)
}

// repeats reports whether text holds four characters of the secret in a row,
// or all of a shorter one.
func repeats(text, secret string) bool {
	const enough = 4
	if len(secret) <= enough {
		return secret != "" && strings.Contains(text, secret)
	}
	for i := 0; i+enough <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+enough]) {
			return true
		}
	}
	return false
}
