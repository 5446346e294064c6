package policy

import "strings"

// AllowsUnder is [Rights.AllowsUnder] in the policies' own namespace.
func (a *ACL) AllowsUnder(prefix string) bool { return a.In(Below{}).AllowsUnder(prefix) }

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
