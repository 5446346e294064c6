package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// ask prompts for a secret and reads it without showing it. When standard input
// is not a terminal one line is read from it, so that scripts can pipe it in.
func (c *call) ask(prompt string) (string, error) {
	if c.opts.nonInteractive {
		return "", errors.New("input is needed, and -non-interactive forbids to ask for it")
	}
	if c.stdinTaken || c.In == nil {
		return "", errors.New("input is needed, and standard input is not available")
	}
	if f, ok := c.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(c.Err, "%s (will be hidden): ", prompt)
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.Err)
		if err != nil {
			return "", fmt.Errorf("reading from the terminal: %w", err)
		}
		return strings.TrimSpace(string(text)), nil
	}
	text, err := readLine(c.In)
	if err != nil {
		return "", fmt.Errorf("reading from standard input: %w", err)
	}
	return strings.TrimSpace(text), nil
}

// readLine reads up to a line end and not further, so that the next question
// finds its answer.
func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 1<<20 {
		n, err := r.Read(b)
		if n == 1 {
			if b[0] == '\n' {
				return string(line), nil
			}
			line = append(line, b[0])
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				return string(line), nil
			}
			return "", err
		}
	}
	return "", errors.New("the line is too long")
}
