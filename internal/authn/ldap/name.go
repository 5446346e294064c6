package ldap

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxName bounds a name, in bytes: it is part of storage keys, aliases and audit.
const maxName = 255

// grapheme joiner is a mark that directories drop when they compare.
const graphemeJoiner = '\u034f'

// CanonicalName gives the one form in which the name of a user or a group is
// stored, compared and counted: compatibility-composed (NFKC) and case-folded, as
// directories compare (RFC 4518). Names have letters, digits, single spaces
// between, and the signs "_", "-", ".", "@", "'", "$" and "&"; ok is false for
// everything else, so no two names can be the same to a directory, none can mean
// more than itself in a filter or in a templated policy, and none can add a
// segment to a path.
func CanonicalName(name string) (canonical string, ok bool) { return clean(name, true) }

// clean is [CanonicalName] with or without the folding of case.
func clean(name string, fold bool) (string, bool) {
	if name == "" || len(name) > maxName {
		return "", false
	}
	name = norm.NFKC.String(name)
	if fold {
		name = norm.NFKC.String(cases.Fold().String(name))
	}
	if len(name) > maxName || strings.TrimSpace(name) != name || strings.Contains(name, "  ") {
		return "", false
	}
	for i, r := range name {
		mark := i > 0 && unicode.In(r, unicode.Mn, unicode.Mc) && !unicode.Is(unicode.Variation_Selector, r) && r != graphemeJoiner
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !mark && !strings.ContainsRune(" _-.@'$&", r) {
			return "", false
		}
	}
	if strings.Trim(name, ".") == "" {
		return "", false
	}
	return name, true
}

// checkName refuses a name of a path that is not in the form in which it is
// stored: policies compare paths as they were sent.
func checkName(what, name string, caseSensitive bool) error {
	stored, ok := clean(name, !caseSensitive)
	switch {
	case !ok:
		return fault.Newf(fault.Invalid, `a %s name has 1 to %d bytes: letters, digits, single spaces between, and the signs _ - . @ ' $ &`, what, maxName)
	case stored != name:
		return fault.Newf(fault.Invalid, "%s names are written in one form here: use %q", what, stored)
	}
	return nil
}
