package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/cofferhq/coffer/api"
)

// tabular reports whether the answer is for people to read.
func (c *call) tabular() bool { return c.opts.format == "table" || c.opts.format == "" }

// success prints a message, unless the output is for a program to read.
func (c *call) success(format string, args ...any) {
	if c.tabular() && c.opts.field == "" {
		fmt.Fprintf(c.Out, "Success! "+format+"\n", args...)
	}
}

// value prints v in the machine formats, and calls lay for the table.
func (c *call) value(v any, lay func(w io.Writer)) error {
	switch c.opts.format {
	case "json":
		return writeJSON(c.Out, v, "  ")
	case "raw":
		return writeJSON(c.Out, v, "")
	case "yaml":
		return writeYAML(c.Out, v)
	}
	lay(c.Out)
	return nil
}

// tableValue prints t, or v in the machine formats.
func (c *call) tableValue(v any, t *table) error { return c.value(v, t.print) }

// lines prints one text per line, or a list in the machine formats.
func (c *call) lines(texts []string) error {
	return c.value(nonNil(texts), func(w io.Writer) {
		for _, s := range texts {
			fmt.Fprintln(w, s)
		}
	})
}

// secret prints an answer, or the field that was asked for.
func (c *call) secret(s *api.Secret) error {
	c.warn(s.Warnings)
	data, err := s.Map()
	if err != nil {
		return err
	}
	if c.opts.field != "" {
		return c.fieldOf(s, data)
	}
	if c.tabular() {
		secretTable(s, data).print(c.Out)
		return nil
	}
	return c.value(s, nil)
}

// written prints what a write answered, or that it was done when there was no answer.
func (c *call) written(s *api.Secret, format string, args ...any) error {
	if empty(s) {
		c.warn(s.Warnings)
		if c.opts.field != "" {
			return missingField(c.opts.field)
		}
		c.success(format, args...)
		return nil
	}
	return c.secret(s)
}

func empty(s *api.Secret) bool {
	return (len(s.Data) == 0 || string(s.Data) == "null") && s.Auth == nil && s.WrapInfo == nil
}

// keys prints the answer of a listing.
func (c *call) keys(s *api.Secret, where string) error {
	c.warn(s.Warnings)
	if s.WrapInfo != nil {
		return c.secret(s)
	}
	keys, err := s.Keys()
	if err != nil {
		return &exitError{exitServer, "No entries found at " + where}
	}
	if c.opts.field != "" {
		data, err := s.Map()
		if err != nil {
			return err
		}
		return c.fieldOf(s, data)
	}
	var v any = nonNil(keys)
	if c.opts.detailed {
		v = s
	}
	return c.value(v, func(w io.Writer) {
		info, err := api.Field[map[string]map[string]any](s, "key_info")
		if !c.opts.detailed || err != nil {
			t := newTable("Keys")
			for _, k := range keys {
				t.row(k)
			}
			t.print(w)
			return
		}
		detailedKeys(keys, info).print(w)
	})
}

func detailedKeys(keys []string, info map[string]map[string]any) *table {
	columns := map[string]bool{}
	for _, fields := range info {
		for name := range fields {
			columns[name] = true
		}
	}
	names := sortedKeys(columns)
	t := newTable(append([]string{"Keys"}, names...)...)
	for _, k := range keys {
		row := []string{k}
		for _, name := range names {
			v, ok := info[k][name]
			if !ok || v == nil {
				v = "n/a"
			}
			row = append(row, cell(v))
		}
		t.row(row...)
	}
	return t
}

func (c *call) warn(warnings []string) {
	if len(warnings) == 0 {
		return
	}
	fmt.Fprint(c.Err, "WARNING! The server returned these warnings:\n\n")
	for _, w := range warnings {
		fmt.Fprintf(c.Err, "  * %s\n", strings.ReplaceAll(w, "\n", "\n    "))
	}
	fmt.Fprintln(c.Err)
}

// fieldOf prints the field that -field names.
func (c *call) fieldOf(s *api.Secret, data map[string]any) error {
	v, ok := secretField(s, data, c.opts.field)
	if !ok {
		return missingField(c.opts.field)
	}
	return c.raw(v)
}

func missingField(name string) error {
	return &exitError{exitLocal, fmt.Sprintf("Field %q not present in secret", name)}
}

func secretField(s *api.Secret, data map[string]any, name string) (any, bool) {
	if a := s.Auth; a != nil {
		switch name {
		case "token":
			return a.ClientToken, true
		case "token_accessor", "accessor":
			return a.Accessor, true
		case "token_duration":
			return a.LeaseDuration, true
		case "token_renewable":
			return a.Renewable, true
		case "token_policies":
			return a.TokenPolicies, true
		case "identity_policies":
			return a.IdentityPolicies, true
		case "policies":
			return a.Policies, true
		}
		if k, ok := strings.CutPrefix(name, "token_meta_"); ok {
			v, ok := a.Metadata[k]
			return v, ok
		}
	}
	if w := s.WrapInfo; w != nil {
		switch strings.TrimSuffix(name, ":") {
		case "wrapping_token":
			return w.Token, true
		case "wrapping_accessor":
			return w.Accessor, true
		case "wrapping_token_ttl":
			return w.TTL, true
		case "wrapping_token_creation_time":
			return w.CreationTime.String(), true
		case "wrapping_token_creation_path":
			return w.CreationPath, true
		case "wrapped_accessor":
			return w.WrappedAccessor, true
		}
	}
	if v, ok := data[name]; ok {
		return v, true
	}
	switch name {
	case "lease_id":
		return s.LeaseID, true
	case "lease_duration", "refresh_interval":
		return s.LeaseDuration, true
	case "lease_renewable":
		return s.Renewable, true
	case "data":
		return data, len(data) > 0
	}
	return nil, false
}

// raw prints one value as it is, in the machine formats encoded.
func (c *call) raw(v any) error {
	if c.opts.format == "json" || c.opts.format == "yaml" {
		return c.value(v, nil)
	}
	text, isText := v.(string)
	if !isText {
		// JSON says the same to people as to programs.
		var b bytes.Buffer
		if err := writeJSON(&b, v, ""); err != nil {
			return err
		}
		text = strings.TrimSuffix(b.String(), "\n")
	}
	_, err := io.WriteString(c.Out, text)
	if err == nil && isTerminal(c.Out) {
		_, err = io.WriteString(c.Out, "\n")
	}
	return err
}

// isTerminal reports whether stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// structField prints the field of v that -field names, by its JSON name.
func (c *call) structField(v any) error {
	fields, err := asFields(v)
	if err != nil {
		return err
	}
	value, ok := fields[c.opts.field]
	if !ok {
		return missingField(c.opts.field)
	}
	return c.raw(value)
}
