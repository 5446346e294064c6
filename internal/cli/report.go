package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/cofferhq/coffer/api"
)

// usageError is a mistake in the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// opError says what the command was doing, as "reading secret/app".
type opError struct {
	op  string
	err error
}

func (e *opError) Error() string { return e.op + ": " + e.err.Error() }
func (e *opError) Unwrap() error { return e.err }

func failed(op string, err error) error { return &opError{op: op, err: err} }

// exitError ends a command with a code and a message, which may be empty.
type exitError struct {
	code int
	msg  string
}

func (e *exitError) Error() string { return e.msg }

// report prints err with what to do about it, and returns the exit code.
func (c *call) report(err error) int {
	var (
		usage   usageError
		exit    *exitError
		op      *opError
		refusal *api.Error
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.msg != "" {
			fmt.Fprintln(c.Err, exit.msg)
		}
		return exit.code
	case errors.As(err, &usage):
		line := strings.Join(append([]string{c.name}, c.path...), " ")
		fmt.Fprintf(c.Err, "%s\n\nUsage: %s\nRun \"%s -help\" for the flags.\n",
			usage, strings.TrimSpace(line+" [flags] "+c.cmd.args), line)
		return exitLocal
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(c.Err, "Interrupted")
		return exitLocal
	}
	doing := ""
	if errors.As(err, &op) {
		doing, err = " "+op.op, op.err
	}
	code := exitLocal
	if errors.As(err, &refusal) {
		fmt.Fprintf(c.Err, "Error%s:\n\n%s", doing, c.describe(refusal))
		code = exitServer
	} else {
		if fromConnection(err) {
			code = exitServer
		}
		fmt.Fprintf(c.Err, "Error%s: %s\n", doing, connectionText(err))
	}
	if hint := c.hint(err); hint != "" {
		fmt.Fprintf(c.Err, "\n%s\n", hint)
	}
	return code
}

// describe prints a refusal with the request, the code and the messages.
func (c *call) describe(e *api.Error) string {
	var b strings.Builder
	address := ""
	if c.connected != nil {
		address = strings.TrimSuffix(c.connected.Address(), "/")
	}
	fmt.Fprintf(&b, "URL: %s %s%s\nCode: %d.", e.Method, address, e.Path, e.Status)
	if len(e.Errors) == 0 {
		fmt.Fprintf(&b, " %s\n", http.StatusText(e.Status))
		return b.String()
	}
	b.WriteString(" Errors:\n\n")
	for _, m := range e.Errors {
		fmt.Fprintf(&b, "* %s\n", m)
	}
	return b.String()
}

// fromConnection reports whether err arose between us and the server.
func fromConnection(err error) bool {
	var u *url.Error
	return errors.As(err, &u) || errors.Is(err, context.DeadlineExceeded)
}

// connectionText drops the method and URL that net/http puts before its errors
// twice over.
func connectionText(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Sprintf("cannot reach the server: %s", u.Err)
	}
	return err.Error()
}

// hint says what the user can do about err; it is empty when nothing is known.
func (c *call) hint(err error) string {
	var (
		refusal  *api.Error
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		dns      *net.DNSError
	)
	address := "the address"
	if c.connected != nil {
		address = c.connected.Address()
	}
	switch {
	case errors.As(err, &refusal):
		return c.refusalHint(refusal)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT) && fromConnection(err):
		return fmt.Sprintf("Nothing listens at %s. Start a server with \"%s server -dev\", or say where yours is\nwith VAULT_ADDR or -address.", address, c.name)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("The server speaks plain HTTP: use http:// instead of https://, for instance\nexport VAULT_ADDR='%s'", strings.Replace(address, "https://", "http://", 1))
	case errors.As(err, &unknown):
		return "The server's certificate is signed by an authority this machine does not trust: name it with\nVAULT_CACERT or -ca-cert."
	case errors.As(err, &hostname):
		return "The server's certificate is for another name: correct the address, or name it with\nVAULT_TLS_SERVER_NAME or -tls-server-name."
	case errors.As(err, &dns):
		return "The host name does not resolve: check VAULT_ADDR or -address."
	case errors.Is(err, syscall.ETIMEDOUT), isTimeout(err):
		return fmt.Sprintf("The server at %s did not answer in time; VAULT_CLIENT_TIMEOUT sets how long to wait.", address)
	}
	return ""
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func (c *call) refusalHint(e *api.Error) string {
	said := strings.ToLower(strings.Join(e.Errors, "\n"))
	switch {
	case e.Status == http.StatusServiceUnavailable && strings.Contains(said, "sealed"):
		return fmt.Sprintf("Unseal the server with \"%s operator unseal\"; \"%s status\" shows the progress.", c.name, c.name)
	case e.Status == http.StatusServiceUnavailable:
		return fmt.Sprintf("See \"%s status\".", c.name)
	case e.Status == http.StatusForbidden && c.cmd.tokenless:
		return ""
	case e.Status == http.StatusForbidden && c.connected != nil && c.connected.Token() == "":
		return fmt.Sprintf("No token was sent: log in with \"%s login\", or set VAULT_TOKEN.", c.name)
	case e.Status == http.StatusForbidden:
		path := strings.TrimPrefix(strings.TrimPrefix(e.Path, "/v1/"), "sys/internal/ui/mounts/")
		return fmt.Sprintf("The token may be expired (\"%s token lookup\") or its policies may not allow this:\n\"%s token capabilities %s\" shows what they do allow, -output-policy what is needed.", c.name, c.name, path)
	case e.Status == http.StatusBadRequest && strings.Contains(said, "http request to an https server"):
		return "The server speaks HTTPS: use https:// instead of http:// in VAULT_ADDR or -address."
	case strings.Contains(said, "no handler for route"):
		return fmt.Sprintf("Nothing is mounted there: \"%s secrets list\" and \"%s auth list\" show what is.", c.name, c.name)
	case e.Status == http.StatusTooManyRequests:
		return "A rate limit was reached: try again later."
	}
	return ""
}
