package cli_test

import (
	"strings"
	"testing"
)

func TestBenchRefusesWhatItCannotDo(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
		code int
	}{
		"another machine":     {[]string{"-address=https://vault.example.com:8200", "health"}, "-allow-remote", 1},
		"an unknown workload": {[]string{"everything"}, `There is no workload "everything"`, 1},
		"an unknown format":   {[]string{"-format=xml", "health"}, "-format must be table, json or go", 1},
		"no clients":          {[]string{"-clients=0", "health"}, "between 1 and 10000", 1},
	} {
		t.Run(name, func(t *testing.T) {
			sh := newShell(t, answers{})
			got := sh.run(append([]string{"bench"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.err, c.says) {
				t.Errorf("code %d, %q; want %d and %q", got.code, got.err, c.code, c.says)
			}
		})
	}
}
