package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// errHelp is returned by parseFlags when help was asked for.
var errHelp = flag.ErrHelp

// action runs a command whose flags were parsed.
type action func(ctx context.Context, c *call) error

// groups says which of the common flags a command takes.
type groups uint8

const (
	connects groups = 1 << iota // flags of the connection
	formats                     // -format
	selects                     // -field
)

// command is a node of the tree: either a family with subs, or a verb with define.
type command struct {
	name   string
	args   string // of the usage line, as "PATH [K=V...]"
	short  string // one line for the list of commands
	long   string // paragraphs for its help
	groups groups
	min    int // fewest and most arguments; most < 0 is no limit
	max    int
	hidden bool
	// tokenless commands do without a stored token, which may be stale.
	tokenless bool
	// define declares the flags of the command and returns what runs it.
	define func(fs *flag.FlagSet) action
	hook   Hook
	subs   []*command
}

// find walks down the tree along args and returns the path to the command, the
// command and the arguments left.
func (cmd *command) find(args []string) ([]string, *command, []string) {
	var path []string
	for len(args) > 0 {
		sub := cmd.sub(args[0])
		if sub == nil {
			break
		}
		path, cmd, args = append(path, sub.name), sub, args[1:]
	}
	return path, cmd, args
}

func (cmd *command) sub(name string) *command {
	for _, s := range cmd.subs {
		if s.name == name {
			return s
		}
	}
	return nil
}

// nearest returns the name of the sub-command that name was probably meant to be.
func (cmd *command) nearest(name string) string {
	best, bestDistance := "", 3
	for _, s := range cmd.subs {
		if s.hidden {
			continue
		}
		if d := editDistance(name, s.name); d < bestDistance {
			best, bestDistance = s.name, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// parseFlags parses args and returns the arguments that are not flags. Flags
// may stand before and after them; "--" ends the flags and "-" is an argument.
func parseFlags(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.Init(fs.Name(), flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, errHelp
			}
			return nil, err
		}
		left := fs.Args()
		if taken := len(args) - len(left); taken > 0 && args[taken-1] == "--" {
			return append(rest, left...), nil
		}
		if len(left) == 0 {
			return rest, nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// usage prints the help of a command or of a family.
func (a *App) usage(w io.Writer, cmd *command, path []string) {
	line := strings.Join(append([]string{a.name}, path...), " ")
	if cmd.define == nil {
		fmt.Fprintf(w, "Usage: %s <command> [flags] [arguments]\n", line)
		if cmd.long != "" {
			fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(cmd.long))
		}
		fmt.Fprint(w, "\nCommands:\n")
		tw := tabwriter.NewWriter(w, 0, 4, 4, ' ', 0)
		for _, s := range cmd.subs {
			if !s.hidden {
				fmt.Fprintf(tw, "  %s\t%s\n", s.name, s.short)
			}
		}
		_ = tw.Flush()
		fmt.Fprintf(w, "\nRun \"%s <command> -help\" for the flags of a command.\n", line)
		return
	}
	fmt.Fprintf(w, "Usage: %s\n\n%s.\n", strings.TrimSpace(line+" [flags] "+cmd.args), cmd.short)
	if cmd.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(strings.ReplaceAll(cmd.long, "{name}", a.name)))
	}
	own := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	cmd.define(own)
	printFlags(w, "Flags", own)
	for _, g := range []struct {
		bit   groups
		title string
	}{{formats | selects, "Output flags"}, {connects, "Connection flags"}} {
		common := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
		new(options).define(common, cmd.groups&g.bit, a.Env)
		printFlags(w, g.title, common)
	}
}

func printFlags(w io.Writer, title string, fs *flag.FlagSet) {
	any := false
	fs.VisitAll(func(f *flag.Flag) {
		if f.Usage == "" {
			return // accepted, not advertised
		}
		if !any {
			fmt.Fprintf(w, "\n%s:\n", title)
			any = true
		}
		kind, usage := flag.UnquoteUsage(f)
		if kind != "" {
			kind = "=" + kind
		}
		fmt.Fprintf(w, "  -%s%s\n      %s\n", f.Name, kind, usage)
	})
}
