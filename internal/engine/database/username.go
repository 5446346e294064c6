package database

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
)

// namer makes the names of new users.
type namer struct {
	text string // empty is the default template
	max  int    // bytes
}

// subject is what a template may speak of.
type subject struct{ DisplayName, RoleName string }

const (
	maxTemplate = 4096
	maxRandom   = 512
	maxRendered = 4096 // of any value that a template makes on its way
)

func newNamer(d Details, max int) (namer, error) {
	text, err := d.Text("username_template")
	if err != nil {
		return namer{}, err
	}
	n := namer{text: text, max: max}
	if text == "" {
		return n, nil
	}
	if len(text) > maxTemplate {
		return n, fault.Newf(fault.Invalid, "field %q: must be at most %d bytes long", "username_template", maxTemplate)
	}
	t, err := template.New("username_template").Funcs(n.funcs(strings.NewReader(""), time.Time{})).Parse(text)
	if err != nil {
		return n, fault.Newf(fault.Invalid, "field %q: %s", "username_template", err)
	}
	return n, checkNodes(t.Root)
}

// checkNodes allows text, values and conditions. Loops and templates within
// templates could run for ever.
func checkNodes(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.TextNode, *parse.ActionNode, *parse.CommentNode:
		case *parse.IfNode:
			if err := errors.Join(checkNodes(n.List), checkNodes(n.ElseList)); err != nil {
				return err
			}
		default:
			return fault.Newf(fault.Invalid, "field %q: only values and conditions are allowed", "username_template")
		}
	}
	return nil
}

// name makes a name. The result is cut to what the database keeps apart, never
// within a character.
func (n namer) name(r io.Reader, now time.Time, s subject) (string, error) {
	s = subject{DisplayName: printable(s.DisplayName), RoleName: printable(s.RoleName)}
	if n.text == "" {
		random, err := randomText(r, 20)
		if err != nil {
			return "", err
		}
		name := "v-" + cut(s.DisplayName, 8) + "-" + cut(s.RoleName, 8) + "-" + random + "-" + strconv.FormatInt(now.Unix(), 10)
		return cut(name, n.max), nil
	}
	t, err := template.New("username_template").Option("missingkey=error").Funcs(n.funcs(r, now)).Parse(n.text)
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, "username_template cannot be parsed")
	}
	var out limitedText
	if err := t.Execute(&out, s); err != nil {
		return "", fault.Newf(fault.Invalid, "field %q: %s", "username_template", err)
	}
	name := cut(strings.TrimSpace(printable(out.String())), n.max)
	if name == "" {
		return "", fault.New(fault.Invalid, "username_template made an empty name")
	}
	return name, nil
}

// unique makes two names for the same moment and reports whether they differ.
func (n namer) unique(r io.Reader, now time.Time) (bool, error) {
	s := subject{DisplayName: "token", RoleName: "role"}
	a, err := n.name(r, now, s)
	if err != nil {
		return false, err
	}
	b, err := n.name(r, now, s)
	return a != b, err
}

func (n namer) funcs(r io.Reader, now time.Time) template.FuncMap {
	return template.FuncMap{
		"random": func(length int) (string, error) {
			if length < 1 || length > maxRandom {
				return "", fmt.Errorf("random wants a length from 1 to %d", maxRandom)
			}
			return randomText(r, length)
		},
		"uuid":             func() (string, error) { return randomUUID(r) },
		"unix_time":        func() string { return strconv.FormatInt(now.Unix(), 10) },
		"unix_time_millis": func() string { return strconv.FormatInt(now.UnixMilli(), 10) },
		"timestamp":        func(layout string) string { return now.UTC().Format(layout) },
		"truncate": func(length int, s string) (string, error) {
			if length < 1 {
				return "", errors.New("truncate wants a positive length")
			}
			return cut(s, length), nil
		},
		"truncate_sha256": truncateSHA256,
		"lowercase":       strings.ToLower,
		"uppercase":       strings.ToUpper,
		"replace":         func(find, by, s string) (string, error) { return bounded(strings.ReplaceAll(s, find, by)) },
		"sha256":          func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) },
		"base64":          func(s string) (string, error) { return bounded(base64.StdEncoding.EncodeToString([]byte(s))) },
		"printf":          boundedPrintf,
		"print":           func(args ...any) (string, error) { return bounded(fmt.Sprint(args...)) },
		// The rest of the template language's own functions that make text
		// could make any amount of it.
		"println": unavailable, "html": unavailable, "js": unavailable, "urlquery": unavailable,
	}
}

func bounded(s string) (string, error) {
	if len(s) > maxRendered {
		return "", errors.New("a value is too long")
	}
	return s, nil
}

func unavailable(...any) (string, error) { return "", errors.New("this function is not available") }

// boundedPrintf is printf without widths and precisions from the arguments.
func boundedPrintf(format string, args ...any) (string, error) {
	if strings.Contains(format, "*") {
		return "", errors.New("printf does not take * as a width")
	}
	return bounded(fmt.Sprintf(format, args...))
}

// truncateSHA256 cuts to a length and makes up for what was lost by ending in
// eight characters of the whole's hash.
func truncateSHA256(length int, s string) (string, error) {
	const tail = 8
	if length <= tail {
		return "", fmt.Errorf("truncate_sha256 wants a length above %d", tail)
	}
	if len(s) <= length {
		return s, nil
	}
	sum := sha256.Sum256([]byte(s))
	return cut(s, length-tail) + hex.EncodeToString(sum[:])[:tail], nil
}

func randomUUID(r io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// cut shortens s to at most max bytes without splitting a character.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// printable drops what no database takes in a name: control characters and
// broken encoding.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// limitedText collects a template's output and stops it when it is absurd.
type limitedText struct{ strings.Builder }

func (w *limitedText) Write(p []byte) (int, error) {
	if w.Len()+len(p) > maxRendered {
		return 0, errors.New("the name is too long")
	}
	return w.Builder.Write(p)
}
