package e2e_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cofferhq/coffer/internal/pgtest"
)

// TestStories runs testdata/stories/*.txtar. Their own commands are in
// commands_test.go.
func TestStories(t *testing.T) {
	pg := pgtest.Start(t)
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "stories"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("TESTDATA", testdata) // what users gave us, as it stands
			return os.Mkdir(home, 0o700)
		},
		Cmds: commands(pg),
	})
}
