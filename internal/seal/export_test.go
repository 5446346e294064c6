package seal

// ReadSealConfig decodes a stored seal configuration and returns its counts.
func ReadSealConfig(raw []byte) (shares, threshold int, err error) {
	c, err := parseSealConfig(raw)
	return c.Shares, c.Threshold, err
}

// ReadPGPKey reads a public key and returns its fingerprint.
func ReadPGPKey(text string) (string, error) {
	r, err := parseRecipient(text)
	if err != nil {
		return "", err
	}
	return r.fingerprint(), nil
}
