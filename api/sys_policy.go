package api

import (
	"context"
	"net/http"
)

// Policies lists the names of the ACL policies.
func (c *Client) Policies(ctx context.Context) ([]string, error) {
	s, err := c.Secret(ctx, &Request{Method: "LIST", Path: "sys/policies/acl"})
	if err != nil {
		return nil, err
	}
	return s.Keys()
}

// Policy returns the rules of an ACL policy.
func (c *Client) Policy(ctx context.Context, name string) (string, error) {
	s, err := c.Read(ctx, "sys/policies/acl/"+name, nil)
	if err != nil {
		return "", err
	}
	return Field[string](s, "policy")
}

// PutPolicy writes an ACL policy. The answer may hold warnings about it.
func (c *Client) PutPolicy(ctx context.Context, name, rules string) (*Secret, error) {
	return c.Write(ctx, "sys/policies/acl/"+name, map[string]string{"policy": rules})
}

// DeletePolicy deletes an ACL policy.
func (c *Client) DeletePolicy(ctx context.Context, name string) error {
	_, err := c.Delete(ctx, "sys/policies/acl/"+name, nil)
	return err
}

// Capabilities returns what the client's own token may do at each path.
func (c *Client) Capabilities(ctx context.Context, paths ...string) (map[string][]string, error) {
	return c.capabilities(ctx, "sys/capabilities-self", "", "", paths)
}

// CapabilitiesOf returns what another token may do at each path.
func (c *Client) CapabilitiesOf(ctx context.Context, token string, paths ...string) (map[string][]string, error) {
	return c.capabilities(ctx, "sys/capabilities", "token", token, paths)
}

// CapabilitiesOfAccessor returns what the token with an accessor may do at each path.
func (c *Client) CapabilitiesOfAccessor(ctx context.Context, accessor string, paths ...string) (map[string][]string, error) {
	return c.capabilities(ctx, "sys/capabilities-accessor", "accessor", accessor, paths)
}

func (c *Client) capabilities(ctx context.Context, endpoint, key, value string, paths []string) (map[string][]string, error) {
	in := map[string]any{"paths": paths}
	if key != "" {
		in[key] = value
	}
	s, err := c.writeBody(ctx, http.MethodPost, endpoint, in)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(paths))
	for _, p := range paths {
		if out[p], err = Field[[]string](s, p); err != nil {
			return nil, err
		}
	}
	return out, nil
}
