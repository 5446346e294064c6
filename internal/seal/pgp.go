package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/cofferhq/coffer/internal/fault"
)

// recipient is who a share or a token is encrypted for.
type recipient struct{ entity *openpgp.Entity }

// parseRecipient reads a public key: base64 of its binary or armored form, or
// the armored form itself.
func parseRecipient(text string) (recipient, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		raw = []byte(text)
	}
	if bytes.Contains(raw, []byte("-----BEGIN PGP")) {
		block, err := armor.Decode(bytes.NewReader(raw))
		if err != nil {
			return recipient{}, errBadPGPKey(err)
		}
		if raw, err = io.ReadAll(block.Body); err != nil {
			return recipient{}, errBadPGPKey(err)
		}
	}
	e, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return recipient{}, errBadPGPKey(err)
	}
	if e.PrivateKey != nil {
		return recipient{}, errBadPGPKey(errors.New("it holds a private key"))
	}
	return recipient{e}, nil
}

func errBadPGPKey(err error) error {
	return fault.Wrap(fault.Invalid, err, "a PGP key cannot be used; give base64 of a public key that can encrypt")
}

func parseRecipients(texts []string) ([]recipient, error) {
	var list []recipient
	for _, text := range texts {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func (r recipient) fingerprint() string { return hex.EncodeToString(r.entity.PrimaryKey.Fingerprint) }

func fingerprints(list []recipient) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.fingerprint())
	}
	return out
}

// encrypt returns a binary OpenPGP message for the recipient.
func (c *Ceremony) encrypt(r recipient, plaintext string) ([]byte, error) {
	var out bytes.Buffer
	w, err := openpgp.Encrypt(&out, []*openpgp.Entity{r.entity}, nil, nil, &packet.Config{Time: c.cfg.Clock.Now, Rand: c.cfg.Rand})
	if err != nil {
		return nil, errBadPGPKey(err)
	}
	if _, err := io.WriteString(w, plaintext); err != nil {
		return nil, fmt.Errorf("encrypting for a PGP key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypting for a PGP key: %w", err)
	}
	return out.Bytes(), nil
}

// present makes the two text forms of shares, encrypted if there are
// recipients: one for each share. Encrypted is the share's hexadecimal form.
func (c *Ceremony) present(shares [][]byte, to []recipient) (Keys, error) {
	var keys Keys
	for i, share := range shares {
		raw := share
		if len(to) > 0 {
			var err error
			if raw, err = c.encrypt(to[i], hex.EncodeToString(share)); err != nil {
				return Keys{}, err
			}
		}
		keys.Keys = append(keys.Keys, hex.EncodeToString(raw))
		keys.KeysBase64 = append(keys.KeysBase64, base64.StdEncoding.EncodeToString(raw))
	}
	return keys, nil
}
