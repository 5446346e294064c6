package kv

// Parsers and rows, for fuzzing.

func MergePatch(target, patch []byte) []byte {
	return parseTree(target).appendPatched(nil, parseTree(patch))
}

func Subkeys(value []byte, depth int) []byte { return parseTree(value).appendSubkeys(nil, depth) }

// RecodeRecord decodes a version's row and encodes it again.
func RecodeRecord(row []byte) ([]byte, error) {
	r, err := decodeRecord(row)
	if err != nil {
		return nil, err
	}
	creator{op: r.op, row: r.creator}.append(nil)
	return r.encode(), nil
}

// RecodeSecret decodes a secret's row, shows it, and encodes it again.
func RecodeSecret(row []byte) ([]byte, error) {
	s, err := decodeSecret(row)
	if err != nil {
		return nil, err
	}
	(&metadata{secret: s}).AppendJSON(nil)
	for _, n := range []uint64{0, 1, s.first() - 1, s.first(), s.current, s.current + 1} {
		s.version(n)
	}
	return s.encode(), nil
}
