package api

import (
	"context"
	"net/http"
	"time"
)

// Lease describes a lease.
type Lease struct {
	ID          string     `json:"id"`
	IssueTime   time.Time  `json:"issue_time"`
	ExpireTime  *time.Time `json:"expire_time"`
	LastRenewal *time.Time `json:"last_renewal"`
	Renewable   bool       `json:"renewable"`
	TTL         int        `json:"ttl"` // seconds left
}

// LookupLease describes a lease.
func (c *Client) LookupLease(ctx context.Context, id string) (*Secret, error) {
	return c.Write(ctx, "sys/leases/lookup", map[string]string{"lease_id": id})
}

// Lease describes a lease.
func (c *Client) Lease(ctx context.Context, id string) (*Lease, error) {
	s, err := c.LookupLease(ctx, id)
	if err != nil {
		return nil, err
	}
	var l Lease
	return &l, s.Decode(&l)
}

// RenewLease extends a lease. With an increment of zero the server chooses.
func (c *Client) RenewLease(ctx context.Context, id string, increment time.Duration) (*Secret, error) {
	in := map[string]any{"lease_id": id}
	if increment != 0 {
		in["increment"] = int64(increment / time.Second)
	}
	return c.Write(ctx, "sys/leases/renew", in)
}

// RevokeLease revokes a lease. With sync the answer waits for the credential to be gone.
func (c *Client) RevokeLease(ctx context.Context, id string, sync bool) error {
	_, err := c.writeBody(ctx, http.MethodPut, "sys/leases/revoke", map[string]any{"lease_id": id, "sync": sync})
	return err
}

// RevokePrefix revokes all leases below a prefix.
func (c *Client) RevokePrefix(ctx context.Context, prefix string, sync bool) error {
	_, err := c.writeBody(ctx, http.MethodPut, "sys/leases/revoke-prefix/"+prefix, map[string]bool{"sync": sync})
	return err
}

// RevokeForce forgets all leases below a prefix even where the credentials
// cannot be revoked. Those may go on working; it is for backends that are gone.
func (c *Client) RevokeForce(ctx context.Context, prefix string) error {
	_, err := c.Secret(ctx, &Request{Method: http.MethodPut, Path: "sys/leases/revoke-force/" + prefix})
	return err
}
