package policy

import (
	"math/bits"
	"slices"
)

// Op is what a request does to a path.
type Op uint8

// The operations that rules speak of. A write is judged as Create or Update;
// which of the two is the endpoint's to know.
const (
	Create Op = iota
	Read
	Update
	Delete
	List
	Scan
	Patch
)

var opCapabilities = [...]Capability{
	Create: CanCreate, Read: CanRead, Update: CanUpdate, Delete: CanDelete,
	List: CanList, Scan: CanScan, Patch: CanPatch,
}

// String returns the operation's name, which is its capability's.
func (o Op) String() string {
	if int(o) >= len(opCapabilities) {
		return "unknown"
	}
	return capabilityNames[bits.TrailingZeros16(uint16(opCapabilities[o]))]
}

// capability returns the capability that the operation needs, and none for a
// value that is no operation.
func (o Op) capability() Capability {
	if int(o) >= len(opCapabilities) {
		return 0
	}
	return opCapabilities[o]
}

// onDirectory reports whether the operation works on a directory, whose
// trailing slash may be left out.
func (o Op) onDirectory() bool { return o == List || o == Scan }

// Capability is a set of capabilities, one bit each.
type Capability uint16

// The capabilities a rule may grant. Deny is a capability in the text and
// takes all others away.
const (
	Deny Capability = 1 << iota
	CanCreate
	CanRead
	CanUpdate
	CanDelete
	CanList
	CanScan
	CanSudo
	CanPatch
	CanSubscribe
	CanRecover
)

const canWrite = CanCreate | CanUpdate | CanDelete | CanPatch | CanRecover

var capabilityNames = [...]string{
	"deny", "create", "read", "update", "delete", "list", "scan", "sudo", "patch", "subscribe", "recover",
}

// capabilityNamed returns the capability with that exact name.
func capabilityNamed(name string) (Capability, bool) {
	i := slices.Index(capabilityNames[:], name)
	if i < 0 {
		return 0, false
	}
	return 1 << i, true
}

// legacyCapabilities are what the old `policy = "..."` notation stands for.
func legacyCapabilities(name string) (Capability, bool) {
	read := CanRead | CanList
	write := read | CanCreate | CanUpdate | CanDelete
	switch name {
	case "deny":
		return Deny, true
	case "read":
		return read, true
	case "write":
		return write, true
	case "sudo":
		return write | CanSudo, true
	}
	return 0, false
}

// Has reports whether the set holds all of want.
func (c Capability) Has(want Capability) bool { return c&want == want }

// Names returns the names in the set, sorted.
func (c Capability) Names() []string {
	names := make([]string, 0, bits.OnesCount16(uint16(c)))
	for i, name := range capabilityNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
