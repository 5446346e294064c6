package jwt_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/authn/jwt"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/store"
)

// usedStates counts the marks of used states.
func usedStates(t *testing.T, m *enginetest.Mount) int {
	t.Helper()
	return count(t, m, jwt.KindUsed) + count(t, m, jwt.KindUsedUntil)
}

// rows counts all rows of a mount.
func rows(t *testing.T, m *enginetest.Mount) int {
	t.Helper()
	n := 0
	for kind := range store.Kind(10) {
		n += count(t, m, kind)
	}
	return n
}

func count(t *testing.T, m *enginetest.Mount, kind store.Kind) (n int) {
	t.Helper()
	err := m.Storage.View(t.Context(), func(r store.Reader) error {
		for _, err := range r.Scan(store.Under(m.Storage.Key(kind))) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
