package ssh

import (
	"context"
	"crypto/sha256"
	"net/netip"
	"slices"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// otpRow is whom and where a password is for: one address, never a network.
type otpRow struct {
	IP       string `json:"ip"`
	Role     string `json:"role_name"`
	Username string `json:"username"`
}

// zeroRow are the roles that are not bound to addresses.
type zeroRow struct {
	Roles []string `json:"roles"`
}

// otpKey is where a password's row is.
func (e *Engine) otpKey(hash []byte) store.Key { return e.key(kindOTP, string(hash)) }

type credsRequest struct {
	Role     string `path:"role" doc:"Name of the role."`
	IP       string `json:"ip" doc:"Address of the host to log in to."`
	Username string `json:"username" doc:"User to log in as; the role's default without it."`
}

type credsAnswer struct {
	IP       string `json:"ip"`
	Key      string `json:"key"`
	KeyType  string `json:"key_type"`
	Port     int    `json:"port"`
	Username string `json:"username"`
}

func (e *Engine) creds(ctx context.Context, _ *route.Call, in credsRequest) (credsAnswer, engine.Lease, error) {
	row, err := e.role(ctx, in.Role, errNoRole)
	if err == nil && row.Type != typeOTP {
		err = fault.New(fault.Invalid, "the role signs certificates; use sign or issue")
	}
	if err != nil {
		return credsAnswer{}, engine.Lease{}, err
	}
	addr, err := parseAddr(in.IP)
	if err != nil {
		return credsAnswer{}, engine.Lease{}, err
	}
	zero, err := e.zeroAddress(ctx)
	if err != nil {
		return credsAnswer{}, engine.Lease{}, err
	}
	ok, err := row.serves(addr, slices.Contains(zero.Roles, in.Role))
	if err == nil && !ok {
		err = fault.New(fault.Invalid, "the role makes no passwords for this address")
	}
	if err != nil {
		return credsAnswer{}, engine.Lease{}, err
	}
	user := in.Username
	if user == "" {
		user = row.DefaultUser
	}
	if user != row.DefaultUser && !listed(row.AllowedUsers, user) {
		return credsAnswer{}, engine.Lease{}, fault.New(fault.Invalid, "the role does not allow this user")
	}
	password, err := wire.NewUUID(e.host.Rand)
	if err != nil {
		return credsAnswer{}, engine.Lease{}, err
	}
	hash := sha256.Sum256([]byte(password))
	otp := otpRow{addr.String(), in.Role, user}
	return credsAnswer{otp.IP, password, typeOTP, row.Port, user}, engine.Lease{
		Payload: hash[:],
		Commit:  func(tx store.Txn) error { return store.PutJSON(tx, e.otpKey(hash[:]), otp) },
	}, nil
}

func parseAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fault.New(fault.Invalid, "give the ip of the host: an address, without port")
	}
	return addr.Unmap(), nil
}

// serves reports whether a role makes passwords for an address.
func (r *roleRow) serves(addr netip.Addr, anywhere bool) (bool, error) {
	excluded, err := parseCIDRs(r.ExcludedCIDRs)
	if err != nil {
		return false, err
	}
	within := func(p netip.Prefix) bool { return p.Contains(addr) }
	if slices.ContainsFunc(excluded, within) {
		return false, nil
	}
	included, err := parseCIDRs(r.CIDRs)
	return err == nil && (anywhere || slices.ContainsFunc(included, within)), err
}

// Revoke makes a password worthless. One that was used is gone already.
func (e *Engine) Revoke(ctx context.Context, payload []byte) error {
	return e.update(ctx, func(tx store.Txn) error { return tx.Delete(e.otpKey(payload)) })
}

type verifyRequest struct {
	OTP wire.Secret `json:"otp" sensitive:"true" doc:"The password."`
}

type verifyAnswer struct {
	IP       string `json:"ip,omitempty"`
	Role     string `json:"role_name,omitempty"`
	Username string `json:"username,omitempty"`
	Message  string `json:"message,omitempty"`
}

// Hosts ask with this whether they reach the server.
const (
	echoRequest  = "verify-echo-request"
	echoResponse = "verify-echo-response"
)

func (e *Engine) verify(ctx context.Context, _ *route.Call, in verifyRequest) (verifyAnswer, error) {
	text := in.OTP.Reveal()
	if text == echoRequest { // no secret
		return verifyAnswer{Message: echoResponse}, nil
	}
	hash := sha256.Sum256([]byte(text))
	var row otpRow
	err := e.update(ctx, func(tx store.Txn) (err error) {
		row, err = store.GetJSON[otpRow](tx, e.otpKey(hash[:]))
		if isAbsent(err) {
			return fault.New(fault.Invalid, "the password is wrong, was used, or has expired")
		}
		if err != nil {
			return err
		}
		return tx.Delete(e.otpKey(hash[:]))
	})
	return verifyAnswer{IP: row.IP, Role: row.Role, Username: row.Username}, err
}

type lookupRequest struct {
	IP string `json:"ip" doc:"Address of the host."`
}

func (e *Engine) lookup(ctx context.Context, _ *route.Call, in lookupRequest) (a zeroRow, err error) {
	addr, err := parseAddr(in.IP)
	if err != nil {
		return a, err
	}
	zero, err := e.zeroAddress(ctx)
	if err != nil {
		return a, err
	}
	err = e.view(ctx, func(r store.Reader) error {
		a.Roles = nil
		return e.eachRole(r, func(name string, row *roleRow) error {
			if row.Type != typeOTP {
				return nil
			}
			ok, err := row.serves(addr, slices.Contains(zero.Roles, name))
			if ok {
				a.Roles = append(a.Roles, name)
			}
			return err
		})
	})
	return a, err
}

// zeroAddress reads the roles that are not bound to addresses.
func (e *Engine) zeroAddress(ctx context.Context) (row zeroRow, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		row, err = store.GetJSON[zeroRow](r, e.key(kindZero))
		if isAbsent(err) {
			return nil
		}
		return err
	})
	return row, err
}

func (e *Engine) readZeroAddress(ctx context.Context, _ *route.Call, _ nothing) (zeroRow, error) {
	row, err := e.zeroAddress(ctx)
	if err == nil && row.Roles == nil {
		err = errAbsent
	}
	return row, err
}

type zeroRequest struct {
	Roles []string `json:"roles" doc:"Names of otp roles."`
}

func (e *Engine) writeZeroAddress(ctx context.Context, _ *route.Call, in zeroRequest) (route.None, error) {
	if len(in.Roles) == 0 {
		return route.None{}, fault.New(fault.Invalid, "give the names of otp roles")
	}
	return route.None{}, e.update(ctx, func(tx store.Txn) error {
		for _, name := range in.Roles {
			row, err := store.GetJSON[roleRow](tx, e.key(kindRole, name))
			if isAbsent(err) || err == nil && row.Type != typeOTP {
				return fault.Newf(fault.Invalid, "no otp role is called %q", name)
			}
			if err != nil {
				return err
			}
		}
		return store.PutJSON(tx, e.key(kindZero), zeroRow(in))
	})
}

func (e *Engine) deleteZeroAddress(ctx context.Context, _ *route.Call, _ nothing) (route.None, error) {
	return route.None{}, e.update(ctx, func(tx store.Txn) error { return tx.Delete(e.key(kindZero)) })
}
