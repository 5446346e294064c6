package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompletionOfWordsThatBashSplits(t *testing.T) {
	sh := newShell(t, nil)
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{[]string{"kv", "get", "-format", "="}, "json raw table yaml"},
		{[]string{"kv", "get", "-format", "=", "j"}, "json"},
		{[]string{"kv", "get", "-format", "=", "json", "-mou"}, "-mount="},
		{[]string{""}, ""},
		{nil, ""},
		{[]string{"no", "such", ""}, ""},
	} {
		got := sh.run(append([]string{"__complete"}, tc.words...)...)
		out := strings.Join(strings.Fields(got.out), " ")
		if got.code != 0 || tc.want != "" && out != tc.want {
			t.Errorf("%q: got %q, want %q", tc.words, out, tc.want)
		}
	}
}

func TestInstallingCompletion(t *testing.T) {
	sh := newShell(t, nil)
	home := sh.env["HOME"]
	if got := sh.run("-autocomplete-install"); got.code != 1 {
		t.Errorf("without configuration files: %+v", got)
	}
	bash, fish := filepath.Join(home, ".bashrc"), filepath.Join(home, ".config/fish/config.fish")
	dotfile := filepath.Join(home, "dotfiles-bashrc")
	write(t, dotfile, "alias a=b\n", 0o644)
	if err := os.Symlink(dotfile, bash); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(fish), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, fish, "", 0o600)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for range 2 {
		if got := sh.run("-autocomplete-install"); got.code != 0 {
			t.Fatalf("got %+v", got)
		}
	}
	if got, want := read(bash), "alias a=b\nsource <(coffer completion bash)\n"; got != want {
		t.Errorf("bash: got %q, want %q", got, want)
	}
	if got := read(fish); strings.Count(got, "coffer completion fish | source\n") != 1 {
		t.Errorf("fish: got %q", got)
	}
	if info, err := os.Lstat(bash); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if got := sh.run("-autocomplete-uninstall"); got.code != 0 || read(bash) != "alias a=b\n" {
		t.Errorf("got %+v and %q", got, read(bash))
	}
}
