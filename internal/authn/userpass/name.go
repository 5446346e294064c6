package userpass

import (
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxName bounds a user name: it is part of storage keys, aliases and audit.
const maxName = 255

// CanonicalName gives the one form in which a user name is stored, compared
// and counted: lower case. Names consist of ASCII letters, digits and the
// signs "_", "-", "." and "@", beginning and ending with a letter, a digit or
// "_"; every other name is refused, so none can look like another, act as a
// wildcard in a templated policy, or add a segment to a path.
func CanonicalName(name string) (string, error) {
	if name == "" || len(name) > maxName {
		return "", fault.Newf(fault.Invalid, "a user name has 1 to %d characters", maxName)
	}
	for i := range len(name) {
		inner := i > 0 && i < len(name)-1
		if !isWord(name[i]) && (!inner || !isJoint(name[i])) {
			return "", fault.New(fault.Invalid, `user names may have ASCII letters, digits, "_", "-", "." and "@" only, and begin and end with a letter, a digit or "_"`)
		}
	}
	return strings.ToLower(name), nil
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

func isJoint(c byte) bool { return c == '-' || c == '.' || c == '@' }

// checkName refuses a name that is not in its canonical form.
func checkName(name string) error {
	canonical, err := CanonicalName(name)
	if err != nil {
		return err
	}
	if canonical != name {
		return fault.Newf(fault.Invalid, "user names are written in lower case here: use %q", canonical)
	}
	return nil
}
