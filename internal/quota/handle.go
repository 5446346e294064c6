package quota

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

type nameRequest struct {
	Name string `path:"name" doc:"Name of the quota."`
}

type placeRequest struct {
	nameRequest
	Type        string         `json:"type" doc:"Accepted if it is that of the endpoint."`
	Path        string         `json:"path" doc:"A namespace, a mount, or a path below one, which may end with *. Empty is the whole namespace."`
	Role        string         `json:"role" doc:"Of an auth method: only logins by this role."`
	Inheritable wire.Opt[bool] `json:"inheritable" doc:"Of a namespace: whether it is handed down to the namespaces below. The default is true for the empty path."`
}

type rateRequest struct {
	placeRequest
	Rate          float64       `json:"rate" doc:"Requests that a client may make in an interval."`
	Interval      wire.Duration `json:"interval" doc:"Length of the interval; one second if not given."`
	BlockInterval wire.Duration `json:"block_interval" doc:"How long a client that went beyond the rate stays out. Zero lets it in again as soon as the rate does."`
	GroupBy       string        `json:"group_by" default:"ip" doc:"What a client is: ip, none (all are one), entity_then_ip or entity_then_none."`
	SecondaryRate float64       `json:"secondary_rate" doc:"Rate of clients without an entity, if clients are grouped by entity; the same as rate if not given."`
}

type rateAnswer struct {
	BlockInterval int64   `json:"block_interval"`
	GroupBy       string  `json:"group_by,omitempty"`
	Inheritable   bool    `json:"inheritable"`
	Interval      int64   `json:"interval"`
	Name          string  `json:"name"`
	Path          string  `json:"path"`
	Rate          float64 `json:"rate"`
	Role          string  `json:"role"`
	SecondaryRate float64 `json:"secondary_rate,omitempty"`
	Type          string  `json:"type"`
}

func (s *Store) listRates(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	return s.list(ctx, c, rateLimit)
}

func (s *Store) readRate(ctx context.Context, c *route.Call, in nameRequest) (rateAnswer, error) {
	r, err := s.read(ctx, c, rateLimit, in.Name)
	if err != nil {
		return rateAnswer{}, err
	}
	a := rateAnswer{
		Name: in.Name, Type: rateLimit, Path: s.path(r), Role: r.Place.Role, Inheritable: r.Place.Inheritable,
		Rate: r.Rate, Interval: int64(r.Interval / time.Second), BlockInterval: int64(r.BlockInterval / time.Second), SecondaryRate: r.SecondaryRate,
	}
	if r.GroupBy != byIP { // clients that know only this kind do not expect the field
		a.GroupBy = r.GroupBy
	}
	return a, nil
}

func (s *Store) writeRate(ctx context.Context, c *route.Call, in rateRequest) (route.None, error) {
	r := rule{Rate: in.Rate, Interval: in.Interval.D(), BlockInterval: in.BlockInterval.D(), GroupBy: in.GroupBy, SecondaryRate: in.SecondaryRate}
	if r.Interval == 0 {
		r.Interval = time.Second
	}
	if err := r.checkRate(); err != nil {
		return route.None{}, err
	}
	return route.None{}, s.write(ctx, c, rateLimit, in.placeRequest, r)
}

func (r *rule) checkRate() error {
	if r.Interval < time.Second {
		return fault.New(fault.Invalid, "'interval' must be at least one second")
	}
	grouped := false
	switch r.GroupBy {
	case byIP, byNone:
	case byEntityThenIP, byEntityThenNone:
		grouped = true
	default:
		return fault.New(fault.Invalid, "'group_by' must be ip, none, entity_then_ip or entity_then_none")
	}
	if r.SecondaryRate != 0 && !grouped {
		return fault.New(fault.Invalid, "'secondary_rate' is of quotas grouped by entity")
	}
	if r.SecondaryRate != 0 && !fits(r.SecondaryRate, r.Interval) {
		return fault.New(fault.Invalid, "'secondary_rate' must be greater than 0, and not out of all proportion to the interval")
	}
	if !fits(r.Rate, r.Interval) {
		return fault.New(fault.Invalid, "'rate' must be greater than 0, and not out of all proportion to the interval")
	}
	return nil
}

// fits reports whether a rate's times can be reckoned with.
func fits(rate float64, interval time.Duration) bool {
	return rate > 0 && rate <= maxRate && float64(interval)/rate <= float64(maxPer)
}

func (s *Store) deleteRate(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, s.remove(ctx, c, rateLimit, in.Name)
}

type leaseCountRequest struct {
	placeRequest
	MaxLeases int `json:"max_leases" doc:"The most leases that there may be."`
}

type leaseCountAnswer struct {
	Counter     int    `json:"counter"`
	Inheritable bool   `json:"inheritable"`
	MaxLeases   int    `json:"max_leases"`
	Name        string `json:"name"`
	Path        string `json:"path"`
	Role        string `json:"role"`
	Type        string `json:"type"`
}

func (s *Store) listLeaseCounts(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	return s.list(ctx, c, leaseCount)
}

func (s *Store) readLeaseCount(ctx context.Context, c *route.Call, in nameRequest) (leaseCountAnswer, error) {
	r, err := s.read(ctx, c, leaseCount, in.Name)
	if err != nil {
		return leaseCountAnswer{}, err
	}
	n, err := count(ctx, s.Store, s.scope(r), r.MaxLeases+1)
	return leaseCountAnswer{Counter: n, MaxLeases: r.MaxLeases, Name: in.Name, Path: s.path(r), Type: leaseCount}, err
}

// maxCounted bounds what a scan may cost.
const maxCounted = 10_000_000

func (s *Store) writeLeaseCount(ctx context.Context, c *route.Call, in leaseCountRequest) (route.None, error) {
	switch {
	case in.MaxLeases <= 0 || in.MaxLeases > maxCounted:
		return route.None{}, fault.Newf(fault.Invalid, "'max_leases' must be from 1 to %d", maxCounted)
	case in.Role != "":
		return route.None{}, fault.New(fault.Invalid, "leases are not counted by role: use a rate limit for the role, or a lease-count quota for the path")
	case in.Inheritable.Or(false):
		return route.None{}, fault.New(fault.Invalid, "a lease-count quota is not handed down: write one for each namespace")
	}
	in.Inheritable = wire.Some(false)
	return route.None{}, s.write(ctx, c, leaseCount, in.placeRequest, rule{MaxLeases: in.MaxLeases})
}

func (s *Store) deleteLeaseCount(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, s.remove(ctx, c, leaseCount, in.Name)
}

func (s *Store) list(ctx context.Context, c *route.Call, kind string) (route.Keys, error) {
	var keys route.Keys
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		keys.Keys, err = store.Children(r, typeKey(kind, c.Namespace.ID), "", 0)
		return err
	})
	return keys, err
}

func (s *Store) read(ctx context.Context, c *route.Call, kind, name string) (*rule, error) {
	var found rule
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		found, err = store.GetJSON[rule](r, ruleKey(kind, c.Namespace.ID, name))
		return err
	})
	return &found, err
}

func (s *Store) remove(ctx context.Context, c *route.Call, kind, name string) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(ruleKey(kind, c.Namespace.ID, name)) })
	return err
}

// write stores a quota, unless another one binds the same.
func (s *Store) write(ctx context.Context, c *route.Call, kind string, in placeRequest, r rule) error {
	if in.Type != "" && in.Type != kind {
		return fault.Newf(fault.Invalid, "'type' must be %q here", kind)
	}
	var err error
	if r.Place, err = s.place(ctx, c, in); err != nil {
		return err
	}
	r.Owner = c.Namespace.Path
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		for e, err := range tx.Scan(store.Under(typeKey(kind, c.Namespace.ID))) {
			if err != nil {
				return err
			}
			var have rule
			if err := json.Unmarshal(e.Value, &have); err != nil {
				return errors.New("decoding a quota: malformed")
			}
			if name := e.Key.Last(); name != in.Name && have.Place.same(r.Place) {
				return fault.Newf(fault.Invalid, "quota rule with similar properties exists under the name %q", name)
			}
		}
		return store.PutJSON(tx, ruleKey(kind, c.Namespace.ID, in.Name), r)
	})
	return err
}

// place finds what a request's path and role mean.
func (s *Store) place(ctx context.Context, c *route.Call, in placeRequest) (Place, error) {
	path, glob := strings.CutSuffix(strings.TrimPrefix(in.Path, "/"), "*")
	switch {
	case strings.Contains(path, "*"):
		return Place{}, fault.New(fault.Invalid, "'path' may have a * only at its end")
	case strings.Contains(path, "//") || strings.Contains("/"+path+"/", "/../") || strings.Contains("/"+path+"/", "/./"):
		return Place{}, fault.New(fault.Invalid, "'path' is not a canonical path")
	}
	p := Place{NS: c.Namespace.ID, Namespace: c.Namespace.Path}
	if path != "" {
		var err error
		if p, err = s.Place(ctx, c.Namespace, path); err != nil {
			return Place{}, err
		}
	}
	if p.Glob = glob && p.Rest != ""; !p.Glob {
		p.Rest = strings.TrimSuffix(p.Rest, "/")
	}
	p.Inheritable = in.Inheritable.Or(path == "")
	if p.Inheritable && p.Mount != 0 {
		return Place{}, fault.New(fault.Invalid, "'inheritable' is of quotas for whole namespaces")
	}
	if p.Role = in.Role; p.Role != "" {
		m, ok := s.Mount(p.Mount)
		if !ok || !m.Auth || p.Rest != "" {
			return Place{}, fault.New(fault.Invalid, "'role' needs the path of an auth method")
		}
		if !s.TellsRole(p.Mount) {
			return Place{}, fault.New(fault.Invalid, "logins of this auth method do not tell a role")
		}
	}
	return p, nil
}
