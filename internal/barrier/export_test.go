package barrier

// CountEncryptions makes the barrier believe that it sealed n more values.
func (b *Barrier) CountEncryptions(n uint64) { b.ring.Load().newest.pending.Add(n) }

// ReencodeKeyring decodes an unsealed keyring and encodes the result.
func ReencodeKeyring(raw []byte) ([]byte, error) {
	k, err := parseKeyring(raw)
	if err != nil {
		return nil, err
	}
	return k.appendTo(nil), nil
}
