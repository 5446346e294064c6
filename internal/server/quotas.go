package server

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// openQuotas opens the quotas over the mounts.
func (h *house) openQuotas(ctx context.Context) (err error) {
	h.quotas, err = quota.New(ctx, quota.Config{
		Store: h.barrier, Clock: h.s.clock, Log: h.log, Place: h.quotaPlace, Leases: lease.Under,
		Mount: func(id store.MountID) (route.Mount, bool) {
			m, err := h.mounts.ByID(context.Background(), id) // quotas are put into force by the change feed, which no request stands behind
			if err != nil {
				return route.Mount{}, false
			}
			return *m.Mount(), true
		},
		TellsRole: h.tellsRole,
	})
	return err
}

// quotaPlace finds the namespace that a quota's path is, or the mount that it is
// in.
func (h *house) quotaPlace(ctx context.Context, ns route.Namespace, path string) (quota.Place, error) {
	if err := h.mounts.Open(ctx, ns.ID); err != nil {
		return quota.Place{}, err
	}
	m, rest, ok := h.mounts.Resolve(ns.ID, path)
	if m == nil {
		name, below, _ := strings.Cut(path, "/")
		switch next, err := h.namespaces.Child(ctx, ns.ID, name); {
		case err == nil && below == "":
			return quota.Place{Namespace: next.Path, NS: next.ID}, nil
		case err == nil:
			return h.quotaPlace(ctx, next.Namespace, below)
		case !errors.Is(err, namespace.ErrMissing):
			return quota.Place{}, err
		}
	}
	if !ok {
		return quota.Place{}, fault.Newf(fault.Invalid, "no mount at %q, nor above it", strings.TrimSuffix(path, "/"))
	}
	return quota.Place{Namespace: ns.Path, NS: ns.ID, Mount: m.Mount().ID, Rest: rest}, nil
}

// tellsRole reports whether the gate learns the role of a login at a mount.
func (h *house) tellsRole(id store.MountID) bool {
	m, err := h.mounts.ByID(context.Background(), id) // as above
	if err != nil || m.Routes() == nil {
		return false
	}
	if instance, err := m.Instance(); err != nil {
		return false
	} else if _, ok := instance.(gate.RoleOf); ok {
		return true
	}
	endpoints := m.Routes().Endpoints()
	return slices.ContainsFunc(endpoints, func(e route.Endpoint) bool {
		return e.Login && slices.ContainsFunc(e.Input(), func(p route.Parameter) bool { return p.In == "body" && p.Name == "role" })
	})
}
