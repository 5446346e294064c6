package policy

import "strings"

// AllowsUnder reports whether some rule grants something on a path below
// prefix, which ends with a slash. It decides what a caller sees in listings,
// not what it may do.
func (a *ACL) AllowsUnder(prefix string) bool {
	if a.root {
		return true
	}
	for _, r := range a.rules {
		if r.caps != 0 && !r.caps.Has(Deny) && meets(r.pattern, prefix) {
			return true
		}
	}
	return false
}

// meets reports whether a pattern can match a path below prefix.
func meets(pattern, prefix string) bool {
	glob := strings.HasSuffix(pattern, "*")
	pattern = strings.TrimSuffix(pattern, "*")
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		w, wrest, _ := strings.Cut(prefix, "/")
		switch {
		case w == "" && wrest == "":
			return true // the whole prefix is matched; what follows lies below
		case !pmore:
			return glob && (p == "+" || strings.HasPrefix(w, p)) || !glob && p == w && wrest == ""
		case p != "+" && p != w:
			return false
		}
		pattern, prefix = prest, wrest
	}
}

// below returns what is left of a pattern, without a last "*", below a prefix
// that ends with a slash or is empty; false if the pattern matches nothing there.
// open says that the pattern has a last "*".
func below(pattern string, open bool, prefix string) (rest string, ok bool) {
	for prefix != "" {
		p, prest, more := strings.Cut(pattern, "/")
		w, wrest, _ := strings.Cut(prefix, "/")
		switch {
		case !more:
			return "", open && (p == "+" || strings.HasPrefix(w, p))
		case p != "+" && p != w:
			return "", false
		}
		pattern, prefix = prest, wrest
	}
	return pattern, true
}
