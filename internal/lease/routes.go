package lease

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Routes are the endpoints of sys/leases.
var Routes = []route.Endpoint{
	route.Write("leases/lookup", (*Store).lookup, route.Pure(), route.Doc{Summary: "Show a lease."}),
	route.List("leases/lookup/{prefix...}", (*Store).list, route.Sudo(), route.Doc{Summary: "List the leases under a prefix."}),
	route.Full(route.VerbWrite, "leases/renew", (*Store).renew, route.Doc{Summary: "Renew a lease."}),
	route.Full(route.VerbWrite, "leases/renew/{url_lease_id...}", (*Store).renew, route.Hidden()),
	route.Write("leases/revoke", (*Store).revoke, route.Doc{Summary: "Revoke a lease."}),
	route.Write("leases/revoke/{url_lease_id...}", (*Store).revoke, route.Hidden()),
	route.Write("leases/revoke-prefix/{prefix...}", (*Store).revokePrefix, route.Sudo(), route.Doc{Summary: "Revoke all leases and tokens under a prefix."}),
	route.Write("leases/revoke-force/{prefix...}", (*Store).revokeForce, route.Sudo(), route.Doc{Summary: "Revoke under a prefix, and forget what cannot be undone."}),
	route.Read("leases", (*Store).stuck, route.Doc{Summary: "List leases whose grants could not be undone so far."}),
	route.Read("leases/count", (*Store).count, route.Doc{Summary: "Count leases."}),
	route.Full(route.VerbWrite, "leases/tidy", (*Store).tidy, route.Doc{Summary: "Check the lease store. Nothing needs tidying; the answer says so."}),
}

type leaseRequest struct {
	LeaseID    string `json:"lease_id" doc:"The lease."`
	URLLeaseID string `json:"url_lease_id" doc:"The lease, in the path."`
}

// id returns the lease that a request names: in the path or in the body, not
// two different ones.
func (in leaseRequest) id(c *route.Call) (string, error) {
	id := in.LeaseID
	if fromPath := c.Param("url_lease_id"); fromPath != "" {
		if id != "" && id != fromPath {
			return "", fault.New(fault.Invalid, "lease_id differs between path and body")
		}
		id = fromPath
	}
	if id == "" {
		id = in.URLLeaseID
	}
	if id == "" {
		return "", fault.New(fault.Invalid, "lease_id must be specified")
	}
	return id, nil
}

type leaseFacts struct {
	ExpireTime  *time.Time `json:"expire_time"`
	ID          string     `json:"id"`
	IssueTime   time.Time  `json:"issue_time"`
	LastRenewal *time.Time `json:"last_renewal"`
	Path        string     `json:"path,omitempty"`
	Renewable   bool       `json:"renewable"`
	TTL         int64      `json:"ttl"`
}

func (s *Store) lookup(ctx context.Context, c *route.Call, in leaseRequest) (leaseFacts, error) {
	id, err := in.id(c)
	if err != nil {
		return leaseFacts{}, err
	}
	e, err := s.read(ctx, c.Namespace.ID, trimSlash(id))
	if errors.Is(err, store.ErrNotFound) {
		return leaseFacts{}, fault.New(fault.Invalid, "invalid lease")
	}
	if err != nil {
		return leaseFacts{}, err
	}
	issued, renewed, expires, renewable := e.Issued, e.Renewed, e.Expires, e.Renewable && !e.Revoking
	if len(e.Token) > 0 {
		if issued, renewed, expires, renewable, err = s.Tokens.Times(ctx, string(e.Token)); err != nil {
			return leaseFacts{}, fault.New(fault.Invalid, "invalid lease")
		}
	}
	f := leaseFacts{ID: id, IssueTime: issued, Renewable: renewable}
	if at := strings.LastIndexByte(e.ID, '/'); at > 0 {
		f.Path = e.ID[:at]
	}
	if !expires.IsZero() {
		f.ExpireTime = &expires
		f.TTL = int64(max(expires.Sub(c.Now), 0) / time.Second)
	}
	if !renewed.IsZero() {
		f.LastRenewal = &renewed
	}
	return f, nil
}

type prefixRequest struct {
	Prefix string         `path:"prefix" doc:"Prefix of lease ids, in whole segments."`
	Sync   wire.Opt[bool] `json:"sync" doc:"Answer only when it is done, and with what went wrong."`
}

type listRequest struct {
	Prefix string `path:"prefix" doc:"Prefix of lease ids, in whole segments."`
}

func (s *Store) list(ctx context.Context, c *route.Call, in listRequest) (route.Keys, error) {
	root := store.NewKey(c.Namespace.ID, store.System, store.KindLease)
	if p := trimSlash(in.Prefix); p != "" {
		root = leaseKey(c.Namespace.ID, p)
	}
	var keys route.Keys
	err := s.Store.View(ctx, func(r store.Reader) error {
		names, err := store.Children(r, root, "", 0)
		if err != nil {
			return err
		}
		for _, name := range names {
			leaf, err := store.Exists(r, root.Append(name))
			if err != nil {
				return err
			}
			if !leaf {
				name += "/"
			}
			keys.Keys = append(keys.Keys, name)
		}
		return nil
	})
	return keys, err
}

type renewRequest struct {
	leaseRequest
	Increment wire.Duration `json:"increment" doc:"Lifetime to ask for, from now."`
}

var errNoLease = fault.New(fault.Invalid, "lease not found")

func (s *Store) renew(ctx context.Context, c *route.Call, in renewRequest) (*route.Reply, error) {
	id, err := in.id(c)
	if err != nil {
		return nil, err
	}
	e, err := s.Renew(ctx, c, trimSlash(id), in.Increment.D())
	if err != nil {
		return nil, err
	}
	return &route.Reply{Lease: &route.LeaseInfo{ID: e.ID, Duration: e.Expires.Sub(c.Now).Round(time.Second), Renewable: e.Renewable}}, nil
}

// Renew prolongs a lease from now, within its limits.
func (s *Store) Renew(ctx context.Context, c *route.Call, id string, increment time.Duration) (*Entry, error) {
	e, err := s.read(ctx, c.Namespace.ID, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoLease
	}
	if err != nil {
		return nil, err
	}
	switch {
	case len(e.Token) > 0:
		return nil, fault.New(fault.Invalid, "this lease is a token: renew it with auth/token/renew")
	case e.Revoking || !e.Expires.After(c.Now):
		return nil, errNoLease
	case !e.Renewable:
		return nil, fault.New(fault.Invalid, "lease is not renewable")
	}
	instance, mount, err := s.Engine(ctx, e.Mount)
	if err != nil {
		return nil, err
	}
	renewer, ok := instance.(engine.Renewer)
	if !ok {
		return nil, fault.New(fault.Invalid, "lease is not renewable")
	}
	until, _, err := prolong(c.Now, e, mount, increment, engine.RenewLimits{TTL: e.TTL, MaxTTL: e.MaxTTL})
	if err != nil {
		return nil, err
	}
	limits, err := renewer.Renew(ctx, e.Payload, until)
	if err != nil {
		return nil, err
	}
	again, capped, err := prolong(c.Now, e, mount, increment, limits)
	if err != nil {
		return nil, err
	}
	if !again.Equal(until) {
		if _, err := renewer.Renew(ctx, e.Payload, again); err != nil {
			return nil, err
		}
		until = again
	}
	if capped {
		c.Warn("TTL of \"" + increment.String() + "\" exceeded the effective maximum; TTL value is capped accordingly")
	}
	return s.moved(ctx, e, until, c.Now)
}

// prolong computes a lease's new end, and whether a limit cut what was asked
// for.
func prolong(now time.Time, e *Entry, m route.Mount, increment time.Duration, l engine.RenewLimits) (until time.Time, capped bool, err error) {
	want := increment
	if want <= 0 {
		if want = l.TTL; want <= 0 {
			want = m.DefaultTTL
		}
	}
	until = now.Add(want)
	if end := e.Issued.Add(shorter(l.MaxTTL, m.MaxTTL)); until.After(end) {
		until, capped = end, increment > 0
	}
	if !e.OwnerEnds.IsZero() && until.After(e.OwnerEnds) {
		until = e.OwnerEnds
	}
	if !until.After(now) {
		return until, false, fault.New(fault.Invalid, "the lease has reached its maximum lifetime and cannot be renewed")
	}
	return until, capped, nil
}

// moved stores a lease's new end, unless it has ended meanwhile.
func (s *Store) moved(ctx context.Context, e *Entry, until, now time.Time) (*Entry, error) {
	var after *Entry
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		cur, err := get(tx, e.NS, e.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && cur.Revoking {
			return errNoLease
		}
		if err != nil {
			return err
		}
		if err := expiry.Remove(tx, cur.item()); err != nil {
			return err
		}
		cur.Expires, cur.Renewed = until, now
		after = cur
		if err := expiry.Put(tx, cur.item()); err != nil {
			return err
		}
		return put(tx, cur)
	})
	return after, err
}

type revokeRequest struct {
	leaseRequest
	Sync bool `json:"sync" doc:"Answer only when it is done, and with what went wrong."`
}

func (s *Store) revoke(ctx context.Context, c *route.Call, in revokeRequest) (route.None, error) {
	id, err := in.id(c)
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, s.tolerate(c, s.Revoke(ctx, c.Namespace.ID, trimSlash(id), false), in.Sync)
}

// tolerate hides a failed attempt from a caller who did not ask for the
// outcome, if the lease is marked and will be tried again.
func (s *Store) tolerate(c *route.Call, err error, sync bool) error {
	if sync || !queued(err) {
		return err
	}
	s.Log.Warn("revocation queued", "request", c.ID, "error", err)
	return nil
}

func (s *Store) revokePrefix(ctx context.Context, c *route.Call, in prefixRequest) (route.None, error) {
	return route.None{}, s.tolerate(c, s.RevokePrefix(ctx, c.Namespace.ID, in.Prefix, false), in.Sync.Or(false))
}

func (s *Store) revokeForce(ctx context.Context, c *route.Call, in listRequest) (route.None, error) {
	return route.None{}, s.RevokePrefix(ctx, c.Namespace.ID, in.Prefix, true)
}

type typeRequest struct {
	Type            string `query:"type" doc:"irrevocable lists leases whose grants could not be undone so far; all counts every lease."`
	IncludeChildren bool   `query:"include_child_namespaces" doc:"Accepted; leases of child namespaces are listed in them."`
	Limit           string `query:"limit" doc:"The most leases to list, or none."`
}

type stuckLease struct {
	LeaseID  string `json:"lease_id"`
	Error    string `json:"error"`
	Attempts int    `json:"attempts"`
	MountID  string `json:"mount_id"`
}

type stuckAnswer struct {
	Count  int          `json:"lease_count"`
	Leases []stuckLease `json:"leases"`
}

// maxStuck bounds a listing without a limit of its own.
const maxStuck = 10_000

func (s *Store) stuckLeases(ctx context.Context, c *route.Call) ([]stuckLease, error) {
	items, err := expiry.ListStuck(ctx, s.Store, maxStuck)
	if err != nil {
		return nil, err
	}
	list := []stuckLease{}
	for _, it := range items {
		ns, id, ok := splitOwned(it.ID)
		if it.Class != expiry.Lease || !ok || ns != c.Namespace.ID {
			continue
		}
		// One that was removed by force leaves its item until it comes due.
		if _, err := s.read(ctx, ns, id); errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		text := it.Error
		if text == "" {
			text = "the engine could not undo the grant; see the server's log"
		}
		l := stuckLease{LeaseID: id, Error: text, Attempts: it.Attempts}
		if _, m, err := s.Engine(ctx, it.Queue); err == nil {
			l.MountID = m.UUID
		}
		list = append(list, l)
	}
	return list, nil
}

func (s *Store) stuck(ctx context.Context, c *route.Call, in typeRequest) (*stuckAnswer, error) {
	if in.Type != "irrevocable" {
		return nil, fault.New(fault.NotFound, "")
	}
	list, err := s.stuckLeases(ctx, c)
	return &stuckAnswer{len(list), list}, err
}

type countAnswer struct {
	Counts map[string]int `json:"counts"`
	Count  int            `json:"lease_count"`
}

func (s *Store) count(ctx context.Context, c *route.Call, in typeRequest) (*countAnswer, error) {
	switch in.Type {
	case "all":
		n, err := s.Count(ctx, c.Namespace.ID)
		return &countAnswer{Counts: map[string]int{}, Count: n}, err
	case "irrevocable":
	default:
		return nil, fault.New(fault.NotFound, "")
	}
	list, err := s.stuckLeases(ctx, c)
	a := &countAnswer{Counts: map[string]int{}, Count: len(list)}
	for _, l := range list {
		a.Counts[l.MountID]++
	}
	return a, err
}

type noInput struct{}

func (s *Store) tidy(context.Context, *route.Call, noInput) (*route.Reply, error) {
	return &route.Reply{Accepted: true, Warn: "Every row of a lease is written and removed in one transaction, so there is nothing to tidy."}, nil
}

func trimSlash(s string) string { return strings.Trim(s, "/") }

func idOf(k store.Key) (string, error) {
	parts, err := k.Parts()
	return strings.Join(parts, "/"), err
}
