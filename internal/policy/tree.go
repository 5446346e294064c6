package policy

import (
	"slices"
	"strings"
)

// tree finds the pattern of highest priority that matches a path. It holds
// only patterns with wildcards, a segment per level, so each node is visited
// at most once for a path whatever the patterns are.
type tree struct {
	literals map[string]*tree
	plus     *tree
	leaf     *rule    // a pattern ends here without "*"
	tail     *rule    // a pattern ends here with "/*"
	prefixes []prefix // patterns that end here with "text*", sorted by text
	// best is the highest rank in this subtree; a subtree that cannot win is
	// not searched.
	best int
}

// prefix is the last, unfinished segment of a pattern such as "a/te*".
type prefix struct {
	text string
	rule *rule
	// shorter is the index of the longest other prefix that begins this one,
	// or -1.
	shorter int
}

// insert adds a rule by its pattern. Rules come once each.
func (t *tree) insert(r *rule) {
	path, open := strings.CutSuffix(r.pattern, "*")
	for {
		t.best = max(t.best, r.rank)
		segment, rest, more := strings.Cut(path, "/")
		if !more && open {
			if segment == "" {
				t.tail = r
			} else {
				t.prefixes = append(t.prefixes, prefix{text: segment, rule: r, shorter: -1})
			}
			return
		}
		t = t.child(segment)
		if !more {
			t.best = max(t.best, r.rank)
			t.leaf = r
			return
		}
		path = rest
	}
}

func (t *tree) child(segment string) *tree {
	if segment == "+" {
		if t.plus == nil {
			t.plus = &tree{}
		}
		return t.plus
	}
	if t.literals == nil {
		t.literals = make(map[string]*tree, 1)
	}
	next := t.literals[segment]
	if next == nil {
		next = &tree{}
		t.literals[segment] = next
	}
	return next
}

// seal sorts the prefixes and links each to the next shorter one, after the
// last insert.
func (t *tree) seal() {
	slices.SortFunc(t.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range t.prefixes {
		j := i - 1
		for j >= 0 && !strings.HasPrefix(t.prefixes[i].text, t.prefixes[j].text) {
			j = t.prefixes[j].shorter
		}
		t.prefixes[i].shorter = j
	}
	for _, child := range t.literals {
		child.seal()
	}
	if t.plus != nil {
		t.plus.seal()
	}
}

// lookup returns the best rule for path, or found when none is better. With
// dir, the path is meant with a slash after it.
func (t *tree) lookup(path string, dir bool, found *rule) *rule {
	if found != nil && found.rank >= t.best {
		return found
	}
	segment, rest, more := path, "", false
	if i := strings.IndexByte(path, '/'); i >= 0 {
		segment, rest, more = path[:i], path[i+1:], true
	} else if dir {
		// The slash that is meant leaves one more segment, an empty one.
		more, dir = true, false
	}
	if next := t.literals[segment]; next != nil {
		found = next.descend(rest, more, dir, found)
	}
	if r := t.prefixFor(segment); r != nil {
		found = better(found, r)
	}
	if t.plus != nil {
		found = t.plus.descend(rest, more, dir, found)
	}
	return found
}

// descend looks for the rest of the path below t, or ends at t.
func (t *tree) descend(rest string, more, dir bool, found *rule) *rule {
	if more {
		return t.lookup(rest, dir, found)
	}
	return better(found, t.leaf)
}

// prefixFor returns the rule with the longest prefix of the segment; the
// longer of two always has the higher priority.
func (t *tree) prefixFor(segment string) *rule {
	if len(t.prefixes) > 0 {
		i, exact := slices.BinarySearchFunc(t.prefixes, segment, func(p prefix, s string) int { return strings.Compare(p.text, s) })
		if !exact {
			i--
		}
		for ; i >= 0; i = t.prefixes[i].shorter {
			if strings.HasPrefix(segment, t.prefixes[i].text) {
				return t.prefixes[i].rule
			}
		}
	}
	return t.tail
}

func better(a, b *rule) *rule {
	if b != nil && (a == nil || b.rank > a.rank) {
		return b
	}
	return a
}
