package server_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// TestStartCostsTheSameWithManyNamespaces makes namespaces with five mounts each
// and starts another server on the same disk: unsealing must read none of them.
// COFFER_NAMESPACES=10000 is the size that is promised.
func TestStartCostsTheSameWithManyNamespaces(t *testing.T) {
	n := 100
	if text := os.Getenv("COFFER_NAMESPACES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	one, oneHeap := startAfter(t, func(s *servertest.Server, root string) { tenants(t, s, root, 1) }, probeTenant)
	many, manyHeap := startAfter(t, func(s *servertest.Server, root string) { tenants(t, s, root, n) }, probeTenant)
	t.Logf("start: %v and %.1f MB with 1 namespace, %v and %.1f MB with %d", one, oneHeap, many, manyHeap, n)
	if many > one+500*time.Millisecond {
		t.Errorf("unseal to first answer takes %v with %d namespaces, %v with one", many, n, one)
	}
	if manyHeap > oneHeap+100 { // the store's own caches fill with what is on disk
		t.Errorf("%.1f MB of heap with %d namespaces, %.1f MB with one", manyHeap, n, oneHeap)
	}
}

// probeTenant reads a secret in a namespace.
func probeTenant(t *testing.T, s *servertest.Server, root string) {
	s.MustAs(root, http.StatusOK, http.MethodGet, "tenant0/kv4/x", nil)
}

// tenants makes n namespaces with five mounts each, with 32 clients.
func tenants(t *testing.T, s *servertest.Server, root string, n int) {
	const clients = 32
	began := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < n; i += clients {
				name := fmt.Sprintf("tenant%d", i)
				if a := s.Do(http.MethodPost, "sys/namespaces/"+name, root, nil); a.Status != http.StatusOK {
					t.Errorf("creating a namespace: %s", a)
					return
				}
				for m := range 5 {
					if a := s.Do(http.MethodPost, fmt.Sprintf("%s/sys/mounts/kv%d", name, m), root, map[string]any{"type": "kv"}); a.Status != http.StatusNoContent {
						t.Errorf("mounting: %s", a)
						return
					}
				}
				if a := s.Do(http.MethodPost, name+"/kv4/x", root, map[string]any{"a": "b"}); a.Status != http.StatusNoContent {
					t.Errorf("writing: %s", a)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d namespaces with five mounts each were made in %v", n, time.Since(began).Round(time.Millisecond))
}
