package config

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// sources resolves the indirections of string values.
type sources struct {
	lookupEnv func(string) (string, bool)
	readFile  func(string) ([]byte, error)
}

func systemSources() sources {
	return sources{lookupEnv: os.LookupEnv, readFile: readSmallFile}
}

// readSmallFile reads a regular file of at most maxFileSize bytes. Other kinds
// of file are refused because opening a pipe that a configuration names can
// block for ever.
func readSmallFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("not a regular file")}
	}
	return readLimited(path)
}

// readLimited reads at most maxFileSize bytes, from a pipe if need be.
func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", maxFileSize)}
	}
	return data, err
}

// scalar returns the text of a string, number or boolean after resolving
// env:// and file://; shown is what an error may quote.
func (d *decoder) scalar(name string, n node) (text, shown string, ok bool) {
	switch n.kind {
	case kindNumber, kindBool:
		return n.text, n.text, true
	case kindString:
	default:
		d.errorf(n.pos, "%s must be a single value, not %s", name, n.kind)
		return "", "", false
	}
	if variable, found := strings.CutPrefix(n.text, "env://"); found {
		value, set := d.from.lookupEnv(variable)
		if !set {
			d.errorf(n.pos, "%s refers to the environment variable %q, which is not set", name, clip(variable))
		}
		return value, "the value of the environment variable", set
	}
	if path, found := strings.CutPrefix(n.text, "file://"); found {
		data, err := d.from.readFile(path)
		if err != nil {
			d.errorf(n.pos, "%s refers to a file that cannot be read: %v", name, err)
		}
		return strings.TrimRight(string(data), "\r\n"), "the content of the file", err == nil
	}
	return n.text, strconv.Quote(clip(n.text)), true
}

// parsed declares a key whose value is parsed from its text; want completes
// the sentence "key must be ...".
func parsed[T any](to *T, want string, parse func(string) (T, error)) key {
	return key{set: func(d *decoder, f field) {
		text, shown, ok := d.scalar(f.key, f.value)
		if !ok {
			return
		}
		value, err := parse(text)
		if err != nil {
			d.errorf(f.value.pos, "%s must be %s, not %s", f.key, want, shown)
			return
		}
		*to = value
	}}
}

func text(to *string) key {
	return parsed(to, "a string", func(s string) (string, error) { return s, nil })
}

func flag(to *bool) key {
	return parsed(to, "true or false", parseBool)
}

func duration(to *time.Duration) key {
	return parsed(to, `a duration such as "90s", "1h30m", "7d" or a number of seconds`, parseDuration)
}

func size(to *int64) key {
	return parsed(to, `a size such as "32MiB" or a number of bytes`, parseSize)
}

func integer(to *int) key {
	return parsed(to, "a whole number of zero or more", parseCount)
}

func choice(to *string, allowed ...string) key {
	return parsed(to, "one of "+strings.Join(allowed, ", "), func(s string) (string, error) {
		for _, option := range allowed {
			if strings.EqualFold(s, option) {
				return option, nil
			}
		}
		return "", strconv.ErrSyntax
	})
}

// list declares a key that holds strings: a list, or one comma-separated
// string.
func list(to *[]string) key {
	return key{set: func(d *decoder, f field) { *to = d.strings(f.key, f.value) }}
}

func (d *decoder) strings(name string, n node) []string {
	if n.kind != kindList {
		joined, _, ok := d.scalar(name, n)
		if !ok {
			return nil
		}
		var out []string
		for part := range strings.SplitSeq(joined, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
		return out
	}
	out := make([]string, 0, len(n.list))
	for _, element := range n.list {
		if s, _, ok := d.scalar(name, element); ok {
			out = append(out, s)
		}
	}
	return out
}

// prefixes declares a key that holds addresses or CIDR blocks.
func prefixes(to *[]netip.Prefix) key {
	return key{set: func(d *decoder, f field) {
		var out []netip.Prefix
		for _, s := range d.strings(f.key, f.value) {
			prefix, err := parsePrefix(s)
			if err != nil {
				d.errorf(f.value.pos, "%s must hold IP addresses or CIDR blocks such as \"10.0.0.0/8\", not %q", f.key, clip(s))
				continue
			}
			out = append(out, prefix)
		}
		*to = out
	}}
}

// mapKeys makes the table of an object whose keys are free.
func mapKeys(obj node, set func(*decoder, field)) keys {
	known := make(keys, len(obj.fields))
	for _, f := range obj.fields {
		known[f.key] = key{set: set}
	}
	return known
}

func parseBool(s string) (bool, error) {
	return strconv.ParseBool(strings.ToLower(strings.TrimSpace(s)))
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return int(n), err
}

// parseDuration accepts whole seconds, the units of [time.ParseDuration], and
// days.
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	unit := time.Second
	number := s
	if days, found := strings.CutSuffix(s, "d"); found {
		number, unit = days, 24*time.Hour
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(unit) {
			return 0, strconv.ErrRange
		}
		return time.Duration(n) * unit, nil
	}
	value, err := time.ParseDuration(s)
	if err == nil && value < 0 {
		err = strconv.ErrRange
	}
	return value, err
}

// parseSize accepts bytes with an optional unit. Units are powers of 1024
// whether written KB or KiB, as is usual for request and file limits.
func parseSize(s string) (int64, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	shifts := map[string]uint{"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20, "g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40}
	shift, ok := shifts[s[len(number):]]
	if !ok {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > math.MaxInt64>>shift {
		return 0, strconv.ErrRange
	}
	return n << shift, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		return prefix.Masked(), err
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}
