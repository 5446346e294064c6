package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// AppRoleLogin logs in to an approle method.
type AppRoleLogin struct {
	Mount    string // without "auth/"; empty means approle
	RoleID   string
	SecretID string
	// SecretIDWrapped says that SecretID is a wrapping token that holds the
	// secret id, as a trusted orchestrator hands it over.
	SecretIDWrapped bool
}

// UserpassLogin logs in with a name and a password, to a userpass method or
// another with the same login path.
type UserpassLogin struct {
	Mount    string // without "auth/"; empty means userpass
	Username string
	Password string
}

// LoginAppRole logs in and returns the answer, whose Auth holds the token.
func (c *Client) LoginAppRole(ctx context.Context, l AppRoleLogin) (*Secret, error) {
	if l.SecretIDWrapped {
		wrapped, err := c.WithToken("").Unwrap(ctx, l.SecretID)
		if err != nil {
			return nil, fmt.Errorf("unwrapping the secret id: %w", err)
		}
		if l.SecretID, err = Field[string](wrapped, "secret_id"); err != nil {
			return nil, fmt.Errorf("unwrapping the secret id: %w", err)
		}
	}
	in := map[string]string{"role_id": l.RoleID}
	if l.SecretID != "" {
		in["secret_id"] = l.SecretID
	}
	return c.Login(ctx, mountOr(l.Mount, "approle")+"/login", in)
}

// LoginUserpass logs in and returns the answer, whose Auth holds the token.
func (c *Client) LoginUserpass(ctx context.Context, l UserpassLogin) (*Secret, error) {
	if l.Username == "" || strings.Contains(l.Username, "/") {
		return nil, fmt.Errorf("the user name is empty or has a slash")
	}
	return c.Login(ctx, mountOr(l.Mount, "userpass")+"/login/"+l.Username, map[string]string{"password": l.Password})
}

// Login writes data to a login path below auth, as "approle/login", without
// the client's token. The answer's Auth holds the token, unless it was wrapped.
func (c *Client) Login(ctx context.Context, path string, data any) (*Secret, error) {
	body, err := encodeBody(data)
	if err != nil {
		return nil, err
	}
	s, err := c.Secret(ctx, &Request{Method: http.MethodPut, Path: "auth/" + path, Body: body, Unauthenticated: true})
	if err != nil {
		return nil, err
	}
	if s.Auth == nil && s.WrapInfo == nil {
		return nil, fmt.Errorf("the login at auth/%s answered without a token", path)
	}
	return s, nil
}

func mountOr(mount, usual string) string {
	if mount = strings.Trim(mount, "/"); mount == "" {
		return usual
	}
	return mount
}
