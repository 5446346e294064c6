package approle

import (
	"fmt"
	"io"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// The most bytes that names and ids may have; they are parts of storage keys.
const (
	maxName     = 255
	maxRoleID   = 512
	maxSecretID = 4096
)

// checkName refuses what is not the name of a role in its one spelling: ASCII
// lower-case letters, digits, "_", "-" and ".", beginning and ending with a
// letter, a digit or "_". Policies compare the path as it was sent; a name that
// was folded here would let a rule for role/admin be walked around by
// role/ADMIN.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fault.Newf(fault.Invalid, "a role name has 1 to %d characters", maxName)
	}
	folded := false
	for i := range len(name) {
		c := name[i]
		upper := c >= 'A' && c <= 'Z'
		word := upper || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
		joint := (c == '-' || c == '.') && i > 0 && i < len(name)-1
		if !word && !joint {
			return fault.New(fault.Invalid, `role names may have ASCII letters, digits, "_", "-" and "." only, and begin and end with a letter, a digit or "_"`)
		}
		folded = folded || upper
	}
	if folded {
		return fault.Newf(fault.Invalid, "role names are written in lower case here: use %q", strings.ToLower(name))
	}
	return nil
}

// canonicalRoleID gives the form in which a role id is stored, compared and
// counted: without space around it, which files and shells leave there. ok is
// false for what no role can have as its id.
func canonicalRoleID(id string) (canonical string, ok bool) {
	id = strings.TrimSpace(id)
	if id == "" || len(id) > maxRoleID {
		return "", false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return "", false
		}
	}
	return id, true
}

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
