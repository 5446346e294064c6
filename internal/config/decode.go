package config

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one problem of a configuration, with the place to look at.
type Error struct {
	Pos Pos
	Msg string
}

// Error formats the problem as "file:line:column: message".
func (e *Error) Error() string {
	if e.Pos == (Pos{}) {
		return e.Msg
	}
	return e.Pos.String() + ": " + e.Msg
}

// Note is a remark about a configuration that is not an error, such as a key
// that is accepted and has no effect.
type Note struct {
	Pos  Pos
	Text string
}

// String formats the note as "file:line:column: text".
func (n Note) String() string {
	if n.Pos == (Pos{}) {
		return n.Text
	}
	return n.Pos.String() + ": " + n.Text
}

// key says what to do with one key of a block.
type key struct {
	set     func(*decoder, field)
	repeats bool // blocks of this name may be repeated
}

// keys is the table of everything a block may hold.
type keys map[string]key

// decoder copies trees into a Config and gathers what is wrong with them.
type decoder struct {
	cfg  *Config
	from sources
	errs []error
}

// maxErrors bounds the problems reported: a file that has more is not a
// configuration file, and each costs a search for the nearest name.
const maxErrors = 100

func (d *decoder) errorf(at Pos, format string, args ...any) {
	switch {
	case len(d.errs) > maxErrors:
		return
	case len(d.errs) == maxErrors:
		format, args = "there are more problems than the %d reported", []any{maxErrors}
	}
	d.errs = append(d.errs, &Error{Pos: at, Msg: fmt.Sprintf(format, args...)})
}

func (d *decoder) notef(at Pos, format string, args ...any) {
	d.cfg.Notes = append(d.cfg.Notes, Note{Pos: at, Text: fmt.Sprintf(format, args...)})
}

// object applies each field of obj according to the table.
func (d *decoder) object(block string, obj node, known keys) {
	first := map[string]Pos{}
	for _, f := range obj.fields {
		k, ok := known[f.key]
		if !ok {
			d.unknown(block, f, known)
			continue
		}
		if at, set := first[f.key]; set && !(k.repeats && f.block) {
			d.errorf(f.pos, "%q is set twice (first at %s); keep one", f.key, at)
			continue
		}
		first[f.key] = f.pos
		if f.value.kind == kindNull {
			continue
		}
		k.set(d, f)
	}
}

func (d *decoder) unknown(block string, f field, known keys) {
	if len(d.errs) > maxErrors {
		return
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	where := ""
	if block != "" {
		where = " in " + block
	}
	if near := nearest(f.key, names); near != "" {
		d.errorf(f.pos, "unknown key %q%s; did you mean %q?", clip(f.key), where, near)
		return
	}
	d.errorf(f.pos, "unknown key %q%s; remove it or correct its name", clip(f.key), where)
}

// objects returns the objects that a field holds: its value, or the elements
// of its list.
func (d *decoder) objects(f field) []node {
	switch f.value.kind {
	case kindObject:
		return []node{f.value}
	case kindList:
		var found []node
		for _, n := range f.value.list {
			if n.kind != kindObject {
				d.errorf(n.pos, "%s must hold blocks, not %s", f.key, n.kind)
				continue
			}
			found = append(found, n)
		}
		return found
	}
	d.errorf(f.value.pos, "%s must be a block, not %s", f.key, f.value.kind)
	return nil
}

// labelled calls each for every labelled block of a field:
// `listener "tcp" {}`, `"listener": {"tcp": {}}`, `"listener": [{"tcp": {}}]`.
func (d *decoder) labelled(f field, each func(label string, at Pos, body node)) {
	for _, obj := range d.objects(f) {
		if len(obj.fields) == 0 {
			d.errorf(obj.pos, "%s needs a label that names its type, as in %s \"...\" { }", f.key, f.key)
		}
		for _, labelled := range obj.fields {
			at := labelled.pos
			if f.block {
				at = f.pos
			}
			if labelled.value.kind != kindObject && labelled.value.kind != kindList {
				d.errorf(labelled.pos, "%s needs a label that names its type, as in %s \"...\" { %s = ... }", f.key, f.key, clip(labelled.key))
				break
			}
			for _, body := range d.objects(labelled) {
				each(labelled.key, at, body)
			}
		}
	}
}

// block declares a repeatable, unlabelled block.
func block(set func(d *decoder, at Pos, body node)) key {
	return key{repeats: true, set: func(d *decoder, f field) {
		for _, body := range d.objects(f) {
			set(d, f.pos, body)
		}
	}}
}

// labelledBlock declares a repeatable block with one label.
func labelledBlock(set func(d *decoder, label string, at Pos, body node)) key {
	return key{repeats: true, set: func(d *decoder, f field) {
		d.labelled(f, func(label string, at Pos, body node) { set(d, label, at, body) })
	}}
}

// ignored declares a key that is accepted without effect.
func ignored(why string) key {
	return key{repeats: true, set: func(d *decoder, f field) {
		d.notef(f.pos, "%s has no effect: %s", f.key, why)
	}}
}

// refused declares a known key that cannot be ignored safely.
func refused(why string) key {
	return key{repeats: true, set: func(d *decoder, f field) {
		d.errorf(f.pos, "%s is not supported: %s", f.key, why)
	}}
}

// nearest returns the known name closest to the given one, or "" when none is
// close enough to be what was meant.
func nearest(given string, known []string) string {
	if len(given) > 64 {
		return ""
	}
	slices.Sort(known)
	folded := strings.ToLower(strings.ReplaceAll(given, "-", "_"))
	best, bestDistance := "", max(1, len(given)/3)+1
	for _, name := range known {
		if distance := editDistance(folded, name); distance < bestDistance {
			best, bestDistance = name, distance
		}
	}
	return best
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// clip bounds a name from a file before it is quoted in a message.
func clip(name string) string {
	const longest = 64
	if len(name) <= longest {
		return name
	}
	return strings.ToValidUTF8(name[:longest], "") + "..."
}
