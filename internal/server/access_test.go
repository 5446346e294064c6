package server_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestListenersOpenOnlyWhatTheyAreToldTo(t *testing.T) {
	paths := []string{"sys/metrics", "sys/pprof/cmdline", "sys/in-flight-req", "sys/generate-root/attempt", "sys/rekey/init"}
	for name, tt := range map[string]struct {
		change func(*config.Access)
		open   string // the only path that a stranger may read
	}{
		"nothing":       {func(*config.Access) {}, ""},
		"metrics":       {func(a *config.Access) { a.UnauthenticatedMetrics = true }, "sys/metrics"},
		"profiles":      {func(a *config.Access) { a.UnauthenticatedPprof = true }, "sys/pprof/cmdline"},
		"flights":       {func(a *config.Access) { a.UnauthenticatedInFlight = true }, "sys/in-flight-req"},
		"generate root": {func(a *config.Access) { a.DisableUnauthedGenerateRoot = false }, "sys/generate-root/attempt"},
		"rekey":         {func(a *config.Access) { a.DisableUnauthedRekey = false }, "sys/rekey/init"},
	} {
		t.Run(name, func(t *testing.T) {
			s := servertest.New(t, servertest.Options{Change: func(c *config.Config) { tt.change(&c.Listeners[0].Access) }})
			for _, path := range paths {
				want := http.StatusForbidden
				if path == tt.open {
					want = http.StatusOK
				}
				for _, token := range []string{"", "wrong"} {
					if a := s.Do("GET", path, token, nil); a.Status != want {
						t.Errorf("%s with token %q: got %d", path, token, a.Status)
					}
				}
				if a := s.Do("GET", path, servertest.RootToken, nil); a.Status != http.StatusOK {
					t.Errorf("%s as root: got %s", path, a)
				}
			}
			for _, path := range []string{"sys/metrics/", "sys/rekey/backup", "sys/mounts", "secret/sys/metrics", "sys/rekey/", "sys/pprofx"} {
				if a := s.Do("GET", path, "", nil); a.Status/100 != 4 || a.Status == 400 && path != "sys/rekey/" {
					t.Errorf("%s: got %s", path, a)
				}
			}
		})
	}
}
