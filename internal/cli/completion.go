package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// completeVerb is the hidden command that the shells' completion calls with the
// words of the line so far, the last of which is to be completed.
const completeVerb = "__complete"

func (a *App) completionCommand() *command {
	return &command{
		name: "completion", args: "bash | zsh | fish", max: 1,
		short: "Print a script that makes a shell complete commands and flags",
		long:  "  source <({name} completion bash)\n  {name} completion fish > ~/.config/fish/completions/{name}.fish",
		define: func(fs *flag.FlagSet) action {
			install := fs.Bool("autocomplete-install", false, "add it to the configuration of the shells that have one")
			uninstall := fs.Bool("autocomplete-uninstall", false, "take it out again")
			return func(_ context.Context, c *call) error {
				switch {
				case *install:
					return c.installCompletion(true)
				case *uninstall:
					return c.installCompletion(false)
				case len(c.args) == 0:
					return usageError("Not enough arguments (expected 1, got 0)")
				}
				script, ok := completionScripts[c.args[0]]
				if !ok {
					return usageError(fmt.Sprintf("Unknown shell %q: use bash, zsh or fish", c.args[0]))
				}
				function := "_" + strings.Map(identifier, c.name)
				fmt.Fprint(c.Out, strings.NewReplacer("{name}", c.name, "{function}", function, "{verb}", completeVerb).Replace(script))
				return nil
			}
		},
	}
}

// identifier keeps what may stand in the name of a shell function.
func identifier(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

var completionScripts = map[string]string{
	"bash": `{function}_complete() {
	local IFS=$'\n'
	COMPREPLY=($({name} {verb} "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace
}
complete -o default -F {function}_complete {name}
`,
	"zsh": `#compdef {name}
{function}_complete() {
	local -a candidates
	candidates=("${(@f)$({name} {verb} "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${candidates[1]}" ]]; then compadd -Q -- "${candidates[@]}"; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef {function}_complete {name}
`,
	"fish": `function {function}_complete
	set -l words (commandline -opc) (commandline -ct)
	{name} {verb} $words[2..-1] 2>/dev/null
end
complete -c {name} -a '({function}_complete)'
`,
}

// complete prints the candidates for the last of words.
func (a *App) complete(words []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	words, typed := joinAssignment(words)
	done, last := words[:len(words)-1], words[len(words)-1]
	_, cmd, rest := a.commands().find(done)
	for _, candidate := range a.candidates(cmd, rest, last) {
		if strings.HasPrefix(candidate, last) {
			fmt.Fprintln(a.Out, strings.TrimPrefix(candidate, typed))
		}
	}
}

// joinAssignment undoes what bash does to -flag=value, which is to hand over
// three words; it wants to hear the value without what comes before it.
func joinAssignment(words []string) (joined []string, typed string) {
	n := len(words)
	switch {
	case n >= 2 && words[n-1] == "=":
		typed = words[n-2] + "="
		return append(words[:n-2:n-2], typed), typed
	case n >= 3 && words[n-2] == "=":
		typed = words[n-3] + "="
		return append(words[:n-3:n-3], typed+words[n-1]), typed
	}
	return words, ""
}

func (a *App) candidates(cmd *command, rest []string, last string) []string {
	var out []string
	if cmd.define == nil {
		if len(rest) == 0 {
			for _, s := range cmd.subs {
				out = append(out, s.name)
			}
		}
		return out
	}
	flags := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	cmd.define(flags)
	new(options).define(flags, cmd.groups, a.Env)
	switch {
	case strings.HasPrefix(last, "-"):
		dashes := "-"
		if strings.HasPrefix(last, "--") {
			dashes = "--"
		}
		if name, _, ok := strings.Cut(strings.TrimLeft(last, "-"), "="); ok {
			for _, v := range flagValues[name] {
				out = append(out, dashes+name+"="+v)
			}
			return out
		}
		flags.VisitAll(func(f *flag.Flag) {
			if f.Usage == "" {
				return
			}
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
				out = append(out, dashes+f.Name)
			} else {
				out = append(out, dashes+f.Name+"=")
			}
		})
	case cmd.name == "completion" && len(rest) == 0:
		out = []string{"bash", "fish", "zsh"}
	}
	return out
}

// flagValues are the values of the flags that have few.
var flagValues = map[string][]string{
	"format":             {"json", "raw", "table", "yaml"},
	"method":             {"approle", "ldap", "token", "userpass"},
	"log-level":          {"debug", "error", "info", "trace", "warn"},
	"log-format":         {"json", "standard"},
	"mode":               {"orphan", "path"},
	"type":               {"batch", "service"},
	"target":             {"barrier", "recovery"},
	"listing-visibility": {"hidden", "unauth"},
}

// installCompletion adds the line that loads the completion to the
// configuration files that exist, or takes it out.
func (c *call) installCompletion(install bool) error {
	home := c.home()
	if home == "" {
		return errors.New("HOME is not set")
	}
	found := false
	for _, f := range []struct{ path, shell string }{
		{".bashrc", "bash"}, {".zshrc", "zsh"}, {".config/fish/config.fish", "fish"},
	} {
		path := filepath.Join(home, f.path)
		text, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		if err := replaceCompletionLine(path, string(text), c.name, f.shell, install); err != nil {
			return failed("writing "+path, err)
		}
		if install {
			fmt.Fprintf(c.Out, "Completion for %s is in %s; it works in new shells.\n", f.shell, path)
		} else {
			fmt.Fprintf(c.Out, "Completion for %s is not in %s any more.\n", f.shell, path)
		}
	}
	if !found {
		return errors.New("no .bashrc, .zshrc or config.fish in the home directory: use the completion command")
	}
	return nil
}

func replaceCompletionLine(path, text, name, shell string, install bool) error {
	line := fmt.Sprintf("source <(%s completion %s)", name, shell)
	if shell == "fish" {
		line = fmt.Sprintf("%s completion fish | source", name)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == line })
	if install {
		lines = append(lines, line)
	}
	// A link, as dotfile managers make, stays one.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	return replaceFile(path, []byte(strings.Join(lines, "\n")+"\n"))
}
