package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// ask prompts for a secret and reads it without showing it. When standard input
// is not a terminal one line is read from it, so that scripts can pipe it in.
func (c *call) ask(ctx context.Context, prompt string) (string, error) {
	if c.opts.nonInteractive {
		return "", errors.New("input is needed, and -non-interactive forbids to ask for it")
	}
	if c.stdinTaken || c.In == nil {
		return "", errors.New("input is needed, and standard input is not available")
	}
	if f, ok := c.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(c.Err, "%s (will be hidden): ", prompt)
		text, err := readHidden(ctx, int(f.Fd()))
		fmt.Fprintln(c.Err)
		return text, err
	}
	text, err := interruptible(ctx, func() (string, error) { return readLine(c.In) })
	if err != nil {
		return "", fmt.Errorf("reading from standard input: %w", err)
	}
	return strings.TrimSpace(text), nil
}

// readHidden reads a line from the terminal fd without echo. An interrupt
// leaves the terminal as it was.
func readHidden(ctx context.Context, fd int) (string, error) {
	state, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("reading from the terminal: %w", err)
	}
	text, err := interruptible(ctx, func() (string, error) {
		text, err := term.ReadPassword(fd)
		return string(text), err
	})
	if err != nil {
		return "", errors.Join(fmt.Errorf("reading from the terminal: %w", err), term.Restore(fd, state))
	}
	return strings.TrimSpace(text), nil
}

// interruptible returns what read returns, or the context's error when that
// ends first. The read goes on then, as there is no way to end it; the process
// is about to.
func interruptible(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
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
