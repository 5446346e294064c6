package policy

import (
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// Names of the policies that exist without being written.
const (
	RootName             = "root"
	DefaultName          = "default"
	ResponseWrappingName = "response-wrapping"
	ControlGroupName     = "control-group"
)

const maxNameSize = 512

// CheckName returns the canonical form of a policy's name, in lower case, or
// an error of kind [fault.Invalid]. It never repairs a name beyond the case of
// ASCII letters: a name with spaces around it, a separator or a look-alike
// letter is refused, so that no two spellings reach the same policy by
// accident and none reaches another's.
//
// Whether "root" may be written or assigned is for the caller to decide.
func CheckName(name string) (string, error) {
	switch {
	case name == "":
		return "", fault.New(fault.Invalid, "a policy name is empty")
	case len(name) > maxNameSize:
		return "", fault.Newf(fault.Invalid, "a policy name is longer than %d bytes", maxNameSize)
	case strings.TrimSpace(name) != name:
		return "", fault.Newf(fault.Invalid, "policy name %q has spaces around it", name)
	case name == "." || strings.Contains(name, ".."):
		return "", fault.Newf(fault.Invalid, "policy name %q holds dots only a path may have", name)
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			return "", fault.New(fault.Invalid, "a policy name holds a character that is not printable ASCII")
		}
		if strings.ContainsRune(`/\,*+{}"`, r) {
			return "", fault.Newf(fault.Invalid, "policy name %q holds %q", name, fmt.Sprintf("%c", r))
		}
	}
	return strings.ToLower(name), nil
}

// IsRootName reports whether a canonical name is that of the root policy.
func IsRootName(name string) bool { return name == RootName }

// IsReserved reports whether a canonical name belongs to the server, so that
// clients may neither write nor assign it. The root policy is reserved for
// writing too, but root tokens may assign it.
func IsReserved(name string) bool {
	return name == ResponseWrappingName || name == ControlGroupName
}
