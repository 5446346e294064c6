package cli

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// pgpKeys is a flag of PGP public key files separated by commas; it holds the
// keys in base64, as the API takes them.
type pgpKeys []string

func (p *pgpKeys) String() string {
	if p == nil || len(*p) == 0 {
		return ""
	}
	return fmt.Sprintf("%d keys", len(*p))
}

func (p *pgpKeys) Set(s string) error {
	if len(*p) > 0 {
		return errors.New("may be given once, with the files separated by commas")
	}
	for _, path := range strings.Split(s, ",") {
		key, err := readPGPKey(strings.TrimSpace(path))
		if err != nil {
			return err
		}
		*p = append(*p, key)
	}
	return nil
}

// pgpKey is a flag of one PGP public key file.
type pgpKey string

func (p *pgpKey) String() string {
	if p == nil || *p == "" {
		return ""
	}
	return "1 key"
}

func (p *pgpKey) Set(s string) error {
	key, err := readPGPKey(strings.TrimSpace(s))
	*p = pgpKey(key)
	return err
}

// readPGPKey reads a key file in any of the usual forms (armored, binary,
// base64) and returns the key in base64.
func readPGPKey(path string) (string, error) {
	if strings.HasPrefix(path, "keybase:") {
		return "", errors.New("keys are not fetched from keybase: save the public key to a file")
	}
	text, err := readFile(strings.TrimPrefix(path, "@"))
	if err != nil {
		return "", err
	}
	return encodePGPKey(path, text)
}

func encodePGPKey(path string, text []byte) (string, error) {
	trimmed := bytes.TrimSpace(text)
	switch {
	case len(trimmed) == 0:
		return "", fmt.Errorf("%s is empty", path)
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN PGP")):
		block, err := armor.Decode(bytes.NewReader(trimmed))
		if err != nil {
			return "", fmt.Errorf("%s is not an armored PGP key", path)
		}
		if !strings.Contains(block.Type, "PUBLIC KEY") {
			return "", fmt.Errorf("%s holds a %s, not a public key", path, block.Type)
		}
		key, err := io.ReadAll(block.Body)
		if err != nil {
			return "", fmt.Errorf("%s is damaged", path)
		}
		return base64.StdEncoding.EncodeToString(key), nil
	}
	if _, err := base64.StdEncoding.DecodeString(string(trimmed)); err == nil {
		return string(trimmed), nil
	}
	// An OpenPGP packet starts with its highest bit set, which no text does.
	if text[0]&0x80 == 0 {
		return "", fmt.Errorf("%s is not a PGP key", path)
	}
	return base64.StdEncoding.EncodeToString(text), nil
}
