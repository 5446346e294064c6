package transit

import "github.com/cofferhq/coffer/internal/wire"

// Parsers, for fuzzing.

// ParseBackup reads a backup, and returns the number of its versions.
func ParseBackup(text string) (int, error) {
	b, err := parseBackup(text)
	if err != nil {
		return 0, err
	}
	return len(b.Versions), nil
}

// SplitText splits a ciphertext, signature or HMAC.
func SplitText(text []byte) (int, []byte, error) { return splitText(text) }

// ParseItem reads an element of a batch and returns some of its members.
func ParseItem(element []byte) (plaintext, reference []byte, version int, err error) {
	var it item
	err = it.parse(wire.JSON(element))
	return it.plaintext, it.reference, it.version, err
}
