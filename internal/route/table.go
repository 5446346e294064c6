package route

import (
	"fmt"
	"slices"
	"strings"
)

// Table finds the endpoint of a path. It is immutable.
type Table struct {
	root node
	all  []Endpoint
}

type node struct {
	lit   map[string]*node
	param *node
	// rests are the patterns that continue here with "{x...}", those with the
	// longest literal suffix first.
	rests []*rest
	eps   [numVerbs]*Endpoint
}

type rest struct {
	suffix string // "" or "/tune"
	eps    [numVerbs]*Endpoint
}

// Match is what a path matched.
type Match struct {
	// Public says of a path without an endpoint for the verb that it has a
	// public one for another.
	Public bool

	eps    *[numVerbs]*Endpoint
	values [4]string
	n      int
}

// NewTable builds a table. Two endpoints with the same verb and shape of
// pattern are an error.
func NewTable(groups ...[]Endpoint) (*Table, error) {
	t := &Table{all: slices.Concat(groups...)}
	for i := range t.all {
		if err := t.add(&t.all[i]); err != nil {
			return nil, err
		}
	}
	t.root.sort()
	return t, nil
}

// Endpoints lists all endpoints.
func (t *Table) Endpoints() []Endpoint { return t.all }

func (t *Table) add(e *Endpoint) error {
	n := &t.root
	segs := splitPattern(e.Pattern)
	if slices.Contains(segs, "") {
		return fmt.Errorf("route %q: an empty segment matches no path", e.Pattern)
	}
	for i, s := range segs {
		name, isRest, isParam := parseSegment(s)
		switch {
		case isRest:
			suffix := ""
			if i+1 < len(segs) {
				suffix = "/" + strings.Join(segs[i+1:], "/")
			}
			if strings.Contains(suffix, "{") {
				return fmt.Errorf("route %q: only literals may follow {%s...}", e.Pattern, name)
			}
			return n.restFor(suffix).set(e)
		case isParam:
			if n.param == nil {
				n.param = &node{}
			}
			n = n.param
		default:
			if n.lit == nil {
				n.lit = map[string]*node{}
			}
			if n.lit[s] == nil {
				n.lit[s] = &node{}
			}
			n = n.lit[s]
		}
	}
	return setEndpoint(&n.eps, e)
}

func (n *node) restFor(suffix string) *rest {
	for _, r := range n.rests {
		if r.suffix == suffix {
			return r
		}
	}
	r := &rest{suffix: suffix}
	n.rests = append(n.rests, r)
	return r
}

func (r *rest) set(e *Endpoint) error { return setEndpoint(&r.eps, e) }

func setEndpoint(eps *[numVerbs]*Endpoint, e *Endpoint) error {
	if eps[e.Verb] != nil {
		return fmt.Errorf("route %s %q conflicts with %q", e.Verb, e.Pattern, eps[e.Verb].Pattern)
	}
	eps[e.Verb] = e
	return nil
}

func (n *node) sort() {
	slices.SortFunc(n.rests, func(a, b *rest) int { return len(b.suffix) - len(a.suffix) })
	for _, child := range n.lit {
		child.sort()
	}
	if n.param != nil {
		n.param.sort()
	}
}

// Find returns the endpoint for a verb and a path below the mount, or nil.
// known reports whether the path has endpoints for other verbs, so that the
// answer is "unsupported operation" rather than "unsupported path".
func (t *Table) Find(v Verb, path string, m *Match) (e *Endpoint, known bool) {
	if v == VerbList || v == VerbScan {
		path = strings.TrimSuffix(path, "/")
	}
	*m = Match{}
	if t.root.find(v, path, m) {
		return m.eps[v], true
	}
	*m = Match{}
	return nil, t.others(v, path, m)
}

// others reports whether a path has endpoints for other verbs than v, and notes
// in m whether one of them is public.
func (t *Table) others(v Verb, path string, m *Match) (known bool) {
	bare := strings.TrimSuffix(path, "/")
	if v == VerbList || v == VerbScan {
		path = bare + "/" // a listing's path stands for a folder
	}
	for other := range numVerbs {
		at := path
		if other == VerbList || other == VerbScan {
			at = bare
		}
		var found Match
		if t.root.find(other, at, &found) {
			known = true
			m.Public = m.Public || found.eps[other].Public
		}
	}
	return known
}

// find walks the tree with backtracking: literal, parameter, rest. It only
// stops at a node that has the verb.
func (n *node) find(v Verb, path string, m *Match) bool {
	if path == "" {
		if n.eps[v] != nil {
			m.eps = &n.eps
			return true
		}
		return (v == VerbList || v == VerbScan) && n.findRest(v, "", m)
	}
	seg, tail, more := strings.Cut(path, "/")
	if more && tail == "" {
		// A trailing slash: the empty last segment matches nothing but a rest.
		return n.findRest(v, path, m)
	}
	if child := n.lit[seg]; child != nil && child.find(v, tail, m) {
		return true
	}
	if n.param != nil && seg != "" && m.n < len(m.values) {
		m.values[m.n] = seg
		m.n++
		if n.param.find(v, tail, m) {
			return true
		}
		m.n--
	}
	return n.findRest(v, path, m)
}

func (n *node) findRest(v Verb, path string, m *Match) bool {
	for _, r := range n.rests {
		if r.eps[v] == nil || m.n >= len(m.values) {
			continue
		}
		value := path
		if r.suffix != "" {
			var ok bool
			if value, ok = strings.CutSuffix(path, r.suffix); !ok || value == "" {
				continue
			}
		}
		m.values[m.n] = value
		m.n++
		m.eps = &r.eps
		return true
	}
	return false
}

func splitPattern(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

func parseSegment(s string) (name string, isRest, isParam bool) {
	if !strings.HasPrefix(s, "{") || !strings.HasSuffix(s, "}") {
		return "", false, false
	}
	name = s[1 : len(s)-1]
	if head, ok := strings.CutSuffix(name, "..."); ok {
		return head, true, true
	}
	return name, false, true
}

func patternParams(p string) []string {
	var names []string
	for _, s := range splitPattern(p) {
		if name, _, ok := parseSegment(s); ok {
			if name == "" || slices.Contains(names, name) {
				panic(fmt.Sprintf("route %q: a parameter needs a name of its own", p))
			}
			names = append(names, name)
		}
	}
	if len(names) > len(Match{}.values) {
		panic(fmt.Sprintf("route %q: more than %d parameters", p, len(Match{}.values)))
	}
	return names
}
