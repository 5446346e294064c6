package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
)

// secretVersion is what a read of a secret of KV version 2 gives.
type secretVersion struct {
	Data     struct{ N int }
	Metadata struct{ Version int }
}

func readVersion(n *node, path string) (v secretVersion, err error) {
	a := n.call(http.MethodGet, path, n.Root, nil)
	switch {
	case a.Status == http.StatusNotFound:
		return v, nil
	case a.Status != http.StatusOK:
		return v, unexpected(a)
	}
	return data[secretVersion](a)
}

func writeVersion(ctx context.Context, n *node, path string, cas, value int) answer {
	return n.callWith(ctx, http.MethodPost, path, n.Root, object{"options": object{"cas": cas}, "data": object{"n": value}})
}

// secretWorker alone writes one secret, always the next version.
type secretWorker struct {
	n       *node
	path    string
	version int // the last that is known to be there; its value is the same number
	open    bool
}

func (w *secretWorker) work(ctx context.Context) (bool, error) {
	a := writeVersion(ctx, w.n, w.path, w.version, w.version+1)
	switch {
	case a.acknowledged():
		w.version++
		return true, nil
	case a.Err != nil:
		w.open = true
		return false, nil
	}
	return false, unexpected(a)
}

func (w *secretWorker) settle() error {
	v, err := readVersion(w.n, w.path)
	if err != nil {
		return err
	}
	have := v.Metadata.Version
	if have != w.version && !(w.open && have == w.version+1) || v.Data.N != have {
		return fmt.Errorf("%s: version %d with value %d is there, version %d was acknowledged", w.path, have, v.Data.N, w.version)
	}
	w.version, w.open = have, false
	return nil
}

func (w *secretWorker) verify() error { return w.settle() }

// String tells what the worker has done.
func (w *secretWorker) String() string { return fmt.Sprintf("%s: %d versions", w.path, w.version) }

// counter is a secret that several workers count up with check-and-set: its
// value is its version.
type counter struct {
	mu     sync.Mutex
	acked  map[int]int // guarded by mu: version to value
	newest int         // guarded by mu: highest acknowledged version
	lost   int         // guarded by mu: races lost
}

func (c *counter) note(version, value int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, twice := c.acked[version]; twice {
		return fmt.Errorf("version %d was acknowledged twice, with %d and %d", version, before, value)
	}
	c.acked[version] = value
	c.newest = max(c.newest, version)
	return nil
}

type counterWorker struct {
	n      *node
	shared *counter
}

const counterPath = "secret/data/counter"

func (w *counterWorker) work(ctx context.Context) (bool, error) {
	a := w.n.callWith(ctx, http.MethodGet, counterPath, w.n.Root, nil)
	if a.Err != nil {
		return false, nil
	}
	var at secretVersion
	if a.Status != http.StatusNotFound {
		var err error
		if at, err = data[secretVersion](a); err != nil {
			return false, unexpected(a)
		}
	}
	if at.Data.N != at.Metadata.Version {
		return false, fmt.Errorf("version %d has value %d", at.Metadata.Version, at.Data.N)
	}
	a = writeVersion(ctx, w.n, counterPath, at.Metadata.Version, at.Data.N+1)
	switch {
	case a.Err != nil:
		return false, nil
	case a.Status == http.StatusBadRequest: // another was first
		w.shared.mu.Lock()
		w.shared.lost++
		w.shared.mu.Unlock()
		return true, nil
	case !a.acknowledged():
		return false, unexpected(a)
	}
	made, err := data[struct{ Version int }](a)
	if err != nil {
		return false, err
	}
	return true, w.shared.note(made.Version, at.Data.N+1)
}

func (w *counterWorker) settle() error {
	at, err := readVersion(w.n, counterPath)
	if err != nil {
		return err
	}
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	if at.Data.N != at.Metadata.Version || at.Metadata.Version < w.shared.newest {
		return fmt.Errorf("version %d with value %d is there, version %d was acknowledged", at.Metadata.Version, at.Data.N, w.shared.newest)
	}
	return nil
}

func (w *counterWorker) verify() error { return w.settle() }

// String tells what the workers have done together.
func (w *counterWorker) String() string {
	return fmt.Sprintf("counter: %d versions acknowledged, %d races lost", len(w.shared.acked), w.shared.lost)
}
