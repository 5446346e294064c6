package settings

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// versionRow is a version that this cluster has run, at rest by its name.
type versionRow struct {
	Installed time.Time `json:"installed"`
	// Previous is the one that ran before it, "" for the first.
	Previous string `json:"previous,omitempty"`
}

type installed struct {
	name string
	versionRow
}

func versionKey(parts ...string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindVersion, parts...)
}

// Record notes that the cluster runs a version from now on, if it has never
// run it before. The node that may write calls it once it is unsealed.
func (s *Store) Record(ctx context.Context, version string) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		if known, err := store.Exists(tx, versionKey(version)); err != nil || known {
			return err
		}
		all, err := readVersions(tx)
		if err != nil {
			return err
		}
		row := versionRow{Installed: s.Clock.Now()}
		if len(all) > 0 {
			last := all[len(all)-1]
			row.Previous = last.name
			if !row.Installed.After(last.Installed) { // the order is kept if the clock was set back
				row.Installed = last.Installed.Add(time.Nanosecond)
			}
		}
		return store.PutJSON(tx, versionKey(version), row)
	})
	if err != nil {
		return fmt.Errorf("recording the version: %w", err)
	}
	return nil
}

// readVersions returns the versions by when they were installed.
func readVersions(r store.Reader) ([]installed, error) {
	names, err := store.Children(r, versionKey(), "", 0)
	if err != nil {
		return nil, err
	}
	all := make([]installed, 0, len(names))
	for _, name := range names {
		row, err := store.GetJSON[versionRow](r, versionKey(name))
		if err != nil {
			return nil, err
		}
		all = append(all, installed{name, row})
	}
	slices.SortFunc(all, func(a, b installed) int {
		return cmp.Or(a.Installed.Compare(b.Installed), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

type versionFacts struct {
	BuildDate string    `json:"build_date"`
	Previous  *string   `json:"previous_version"`
	Installed time.Time `json:"timestamp_installed"`
}

func (s *Store) versions(ctx context.Context, _ *route.Call, _ noInput) (route.Keys, error) {
	keys := route.Keys{Info: map[string]any{}}
	err := s.Store.View(ctx, func(r store.Reader) error {
		all, err := readVersions(r)
		for _, v := range all {
			facts := versionFacts{Installed: v.Installed}
			if v.Previous != "" {
				facts.Previous = &v.Previous
			}
			keys.Keys = append(keys.Keys, v.name)
			keys.Info[v.name] = facts
		}
		return err
	})
	return keys, err
}

func (s *Store) sanitized(context.Context, *route.Call, noInput) (map[string]any, error) {
	return s.Sanitized(), nil
}

type reloadRequest struct {
	Subsystem string `path:"subsystem" doc:"What to read anew."`
}

func (s *Store) reload(ctx context.Context, _ *route.Call, in reloadRequest) (route.None, error) {
	reload, ok := s.Reload[in.Subsystem]
	if !ok {
		return route.None{}, fault.New(fault.NotFound, "unsupported path")
	}
	return route.None{}, reload(ctx)
}

func (s *Store) featureFlags(context.Context, *route.Call, noInput) (route.Bytes, error) {
	return route.Bytes{ContentType: "application/json", Body: []byte(`{"feature_flags":[]}` + "\n")}, nil
}
