package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxInput bounds what is read from a file or from standard input.
const maxInput = 64 << 20

// fields reads K=V arguments into the object they describe:
//
//	key=value     a string; a repeated key becomes a list
//	key=@file     the content of a file; key=\@text is the text @text
//	key=-         standard input
//	@file, -      a JSON object whose fields are added
func (c *call) fields(ctx context.Context, args []string) (map[string]any, error) {
	out := map[string]any{}
	for _, arg := range args {
		if err := c.addField(ctx, out, arg); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *call) addField(ctx context.Context, out map[string]any, arg string) error {
	key, value, isPair := strings.Cut(arg, "=")
	switch {
	case arg == "-":
		text, err := c.readStdin(ctx)
		if err != nil {
			return err
		}
		return addObject(out, text, "standard input")
	case strings.HasPrefix(arg, "@"):
		text, err := readFile(arg[1:])
		if err != nil {
			return err
		}
		return addObject(out, text, arg[1:])
	case !isPair:
		return usageError(fmt.Sprintf("Invalid argument %q: expected key=value, @file or - for standard input", arg))
	case key == "":
		return usageError("Invalid argument: a key=value pair has no key")
	}
	text, err := c.resolve(ctx, value)
	if err != nil {
		return err
	}
	switch old := out[key].(type) {
	case nil:
		out[key] = text
	case []any:
		out[key] = append(old, text)
	default:
		out[key] = []any{old, text}
	}
	return nil
}

// resolve returns value, or what it refers to: @file or - for standard input.
func (c *call) resolve(ctx context.Context, value string) (string, error) {
	switch {
	case value == "-":
		text, err := c.readStdin(ctx)
		return string(text), err
	case strings.HasPrefix(value, "@"):
		text, err := readFile(value[1:])
		return string(text), err
	case strings.HasPrefix(value, `\@`):
		return value[1:], nil
	}
	return value, nil
}

func addObject(out map[string]any, text []byte, source string) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return fmt.Errorf("%s is not a JSON object", source)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s has text after its JSON object", source)
	}
	for k, v := range fields {
		out[k] = v
	}
	return nil
}

// readStdin reads all of standard input, once.
func (c *call) readStdin(ctx context.Context) ([]byte, error) {
	if c.stdinTaken {
		return nil, usageError("Standard input can be read only once")
	}
	c.stdinTaken = true
	if c.In == nil {
		return nil, errors.New("there is no standard input")
	}
	text, err := interruptible(ctx, func() (string, error) {
		text, err := readLimited(c.In, "standard input")
		return string(text), err
	})
	return []byte(text), err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, errors.Unwrap(err))
	}
	defer f.Close()
	return readLimited(f, path)
}

func readLimited(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case len(text) > maxInput:
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxInput>>20)
	}
	return text, nil
}

// document reads an argument that names a whole text: a file, or - for standard input.
func (c *call) document(ctx context.Context, arg string) ([]byte, error) {
	if arg == "-" {
		return c.readStdin(ctx)
	}
	return readFile(arg)
}
