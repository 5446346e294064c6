package engine

import "github.com/cofferhq/coffer/internal/fault"

// maxName bounds a name in bytes.
const maxName = 256

var errName = fault.New(fault.Invalid, "a name is letters, digits, '_', '-' and '.', beginning and ending with a letter, digit or '_', at most 256 bytes")

// CheckName refuses a name of a key, role or issuer that the field's engines do
// not know either, with [fault.Invalid]. Names differ by case.
func CheckName(name string) error {
	word := func(c byte) bool {
		return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	if name == "" || len(name) > maxName || !word(name[0]) || !word(name[len(name)-1]) {
		return errName
	}
	for i := range len(name) {
		if c := name[i]; !word(c) && c != '-' && c != '.' {
			return errName
		}
	}
	return nil
}
