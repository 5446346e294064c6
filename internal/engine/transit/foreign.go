package transit

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// foreignBackup is a backup that Vault or OpenBao has made, as far as it is
// understood. Its form is that of the example in their public documentation.
type foreignBackup struct {
	Policy struct {
		Name              string             `json:"name"`
		Keys              map[int]foreignKey `json:"keys"`
		Type              int                `json:"type"`
		Derived           bool               `json:"derived"`
		KDF               int                `json:"kdf"`
		Convergent        bool               `json:"convergent_encryption"`
		ConvergentVersion int                `json:"convergent_version"`
		Exportable        bool               `json:"exportable"`
		PlaintextBackup   bool               `json:"allow_plaintext_backup"`
		DeletionAllowed   bool               `json:"deletion_allowed"`
		SoftDeleted       bool               `json:"soft_deleted"`
		MinDecryption     int                `json:"min_decryption_version"`
		MinEncryption     int                `json:"min_encryption_version"`
		MinAvailable      int                `json:"min_available_version"`
		Latest            int                `json:"latest_version"`
		Imported          bool               `json:"imported_key"`
		AllowRotation     bool               `json:"allow_imported_key_rotation"`
		AutoRotate        time.Duration      `json:"auto_rotate_period"`
		Backup            *occasion          `json:"backup_info"`
	} `json:"policy"`
	Archive struct {
		// Keys are all versions by number; the first stands for no version.
		Keys []foreignKey `json:"keys"`
	} `json:"archived_keys"`
}

type foreignKey struct {
	Key               []byte      `json:"key"`
	HMAC              []byte      `json:"hmac_key"`
	Time              time.Time   `json:"time"`
	EC                *big.Int    `json:"ec_d"`
	X                 *big.Int    `json:"ec_x"`
	Y                 *big.Int    `json:"ec_y"`
	RSA               *foreignRSA `json:"rsa_key"`
	Public            string      `json:"public_key"`
	ConvergentVersion int         `json:"convergent_version"`
	Chain             [][]byte    `json:"certificate_chain"`
}

type foreignRSA struct {
	N, D   *big.Int
	E      int
	Primes []*big.Int
}

// foreignTypes are the numbers that types have there.
var foreignTypes = []material.Type{
	material.AES256GCM, material.ECDSAP256, material.Ed25519, material.RSA2048, material.RSA4096, material.ChaCha20Poly1305,
	material.ECDSAP384, material.ECDSAP521, material.AES128GCM, material.RSA3072,
}

// Of what has changed over there, only the present form is read.
const (
	foreignHKDF       = 1
	foreignConvergent = 3
)

var errForeign = fault.New(fault.Invalid, "the backup is of a type of key, of key derivation or of convergent encryption that is not supported here")

// parseForeign reads a backup of Vault or OpenBao.
func parseForeign(raw []byte) (*backup, error) {
	var f foreignBackup
	if json.Unmarshal(raw, &f) != nil || f.Policy.Latest < 1 || f.Policy.Latest > len(f.Archive.Keys) {
		return nil, errBackup
	}
	p := &f.Policy
	if p.Type < 0 || p.Type >= len(foreignTypes) || p.Derived && p.KDF != foreignHKDF {
		return nil, errForeign
	}
	t := foreignTypes[p.Type]
	b := &backup{Format: backupFormat, Name: p.Name, Versions: map[int]versionRow{}}
	b.Key = keyRow{
		Type: t.String(), Derived: p.Derived, Convergent: p.Convergent, Exportable: p.Exportable, PlaintextBackup: p.PlaintextBackup,
		DeletionAllowed: p.DeletionAllowed, SoftDeleted: p.SoftDeleted, Imported: p.Imported, WasImported: p.Imported, AllowRotation: p.AllowRotation,
		Latest: p.Latest, MinDecryption: max(p.MinDecryption, 1), MinEncryption: p.MinEncryption, MinAvailable: p.MinAvailable,
		AutoRotate: wire.Duration(p.AutoRotate), Backup: p.Backup,
	}
	for n := max(p.MinAvailable, 1); n <= p.Latest; n++ {
		k, ok := p.Keys[n] // the working set; the archive has the others
		if !ok && n < len(f.Archive.Keys) {
			k, ok = f.Archive.Keys[n], true
		}
		version := p.ConvergentVersion
		if version <= 0 {
			version = k.ConvergentVersion
		}
		switch {
		case !ok:
			return nil, errBackup
		case p.Convergent && version != foreignConvergent:
			return nil, errForeign
		}
		row, err := k.row(t)
		if err != nil {
			return nil, err
		}
		b.Versions[n], b.Key.Rotated = row, k.Time
	}
	return b, nil
}

// row turns a version into ours.
func (k *foreignKey) row(t material.Type) (versionRow, error) {
	row := versionRow{Created: k.Time, MAC: k.HMAC, Chain: k.Chain}
	var private any
	switch {
	case t.KeySize() > 0:
		row.Secret = k.Key
		return row, nil
	case k.RSA != nil && t.RSA():
		key, err := k.RSA.private()
		if err != nil {
			return row, err
		}
		private = key
	case k.EC != nil && k.EC.Sign() > 0 && t.Agrees():
		if k.EC.BitLen() > curveOf(t).Params().BitSize {
			return row, errBackup
		}
		key, err := ecdsa.ParseRawPrivateKey(curveOf(t), k.EC.FillBytes(make([]byte, (curveOf(t).Params().BitSize+7)/8)))
		if err != nil {
			return row, errBackup
		}
		private = key
	case len(k.Key) == ed25519.PrivateKeySize && t == material.Ed25519:
		private = ed25519.PrivateKey(k.Key)
	default:
		return k.publicRow(row)
	}
	var err error
	if row.Secret, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return row, errBackup
	}
	return row, nil
}

// private checks the numbers of an RSA key before anything computes with them.
func (k *foreignRSA) private() (*rsa.PrivateKey, error) {
	numbers := append([]*big.Int{k.N, k.D}, k.Primes...)
	if len(k.Primes) != 2 {
		return nil, errBackup
	}
	for _, n := range numbers {
		if n == nil || n.Sign() <= 0 || n.BitLen() > maxRSA {
			return nil, errBackup
		}
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: k.N, E: k.E}, D: k.D, Primes: k.Primes}
	if key.Validate() != nil {
		return nil, errBackup
	}
	return key, nil
}

// maxRSA is the length of the longest RSA key in bits.
const maxRSA = 4096

// publicRow is a version of which there is only the public half.
func (k *foreignKey) publicRow(row versionRow) (versionRow, error) {
	block, _ := pem.Decode([]byte(k.Public))
	if block == nil {
		return row, errBackup
	}
	row.Public = block.Bytes
	return row, nil
}

func curveOf(t material.Type) elliptic.Curve {
	switch t {
	case material.ECDSAP384:
		return elliptic.P384()
	case material.ECDSAP521:
		return elliptic.P521()
	}
	return elliptic.P256()
}
