package authn

import (
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxName bounds the name of a role, in bytes: it is part of storage keys.
const maxName = 255

// CheckName refuses what is not the name of a role, or of what else a method
// keeps by name, in its one spelling: ASCII letters in lower case, digits, "_",
// "-" and ".", beginning and ending with a letter, a digit or "_". Policies
// compare the path as it was sent; a name that was folded would let a rule for
// role/admin be walked around by role/ADMIN. What is the word for it in errors.
func CheckName(what, name string) error {
	folded, ok := FoldName(name)
	switch {
	case !ok || len(folded) != len(name):
		return fault.Newf(fault.Invalid, `a %s name has 1 to %d characters, which are ASCII letters, digits, "_", "-" and ".", and begins and ends with a letter, a digit or "_"`, what, maxName)
	case folded != name:
		return fault.Newf(fault.Invalid, "%s names are written in lower case here: use %q", what, folded)
	}
	return nil
}

// FoldName gives the spelling of a name that [CheckName] accepts: without space
// around it and in lower case. It is for names that no policy sees, as that of a
// role in the body of a login. ok is false for what cannot be a name.
func FoldName(name string) (folded string, ok bool) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName {
		return "", false
	}
	for i := range len(name) {
		c := name[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		joint := (c == '-' || c == '.') && i > 0 && i < len(name)-1
		if !word && !joint {
			return "", false
		}
	}
	return strings.ToLower(name), true
}
