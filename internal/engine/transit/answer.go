package transit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// keyAnswer is a key as the API shows it.
type keyAnswer struct {
	AllowPlaintextBackup bool                    `json:"allow_plaintext_backup"`
	AutoRotatePeriod     wire.Duration           `json:"auto_rotate_period"`
	BackupInfo           *occasion               `json:"backup_info,omitempty"`
	Convergent           *bool                   `json:"convergent_encryption,omitempty"`
	ConvergentVersion    int                     `json:"convergent_encryption_version,omitempty"`
	DeletionAllowed      bool                    `json:"deletion_allowed"`
	Derived              bool                    `json:"derived"`
	Exportable           bool                    `json:"exportable"`
	ImportedKey          bool                    `json:"imported_key"`
	AllowRotation        *bool                   `json:"imported_key_allow_rotation,omitempty"`
	KDF                  string                  `json:"kdf,omitempty"`
	KeySize              int                     `json:"key_size,omitempty"`
	Keys                 map[string]shownVersion `json:"keys,omitempty"`
	LatestVersion        int                     `json:"latest_version"`
	MinAvailable         int                     `json:"min_available_version"`
	MinDecryption        int                     `json:"min_decryption_version"`
	MinEncryption        int                     `json:"min_encryption_version"`
	Name                 string                  `json:"name"`
	ParameterSet         string                  `json:"parameter_set,omitempty"`
	RestoreInfo          *occasion               `json:"restore_info,omitempty"`
	SoftDeleted          bool                    `json:"soft_deleted"`
	SupportsDecryption   bool                    `json:"supports_decryption"`
	SupportsDerivation   bool                    `json:"supports_derivation"`
	SupportsEncryption   bool                    `json:"supports_encryption"`
	SupportsSigning      bool                    `json:"supports_signing"`
	Type                 string                  `json:"type"`
}

// shownVersion is a version in the answer: when it was made, and for an
// asymmetric key its public half.
type shownVersion struct {
	created time.Time
	public  *publicVersion
}

type publicVersion struct {
	Chain     string    `json:"certificate_chain"`
	Created   time.Time `json:"creation_time"`
	Name      string    `json:"name"`
	PublicKey string    `json:"public_key"`
}

// MarshalJSON writes a number of seconds, or an object for an asymmetric key.
func (v shownVersion) MarshalJSON() ([]byte, error) {
	if v.public != nil {
		return json.Marshal(v.public)
	}
	return strconv.AppendInt(nil, v.created.Unix(), 10), nil
}

// convergentVersion is what the API says of every convergent key: each version
// of the key has the present form.
const convergentVersion = -1

// answer shows a key. context chooses the public half of a derived one.
func (e *Engine) answer(r store.Reader, name string, row *keyRow, context []byte) (*keyAnswer, error) {
	t, err := row.typ()
	if err != nil {
		return nil, err
	}
	a := &keyAnswer{
		AllowPlaintextBackup: row.PlaintextBackup, AutoRotatePeriod: row.AutoRotate, BackupInfo: row.Backup, DeletionAllowed: row.DeletionAllowed,
		Derived: row.Derived, Exportable: row.Exportable, ImportedKey: row.Imported, KeySize: row.Size, LatestVersion: row.Latest,
		MinAvailable: row.MinAvailable, MinDecryption: row.MinDecryption, MinEncryption: row.MinEncryption, Name: name, RestoreInfo: row.Restore,
		SoftDeleted: row.SoftDeleted, SupportsDecryption: t.Encrypts(), SupportsDerivation: t.Derives(), SupportsEncryption: t.Encrypts(),
		SupportsSigning: t.Signs(),
	}
	a.Type, a.ParameterSet = shownType(row.Type)
	if row.Derived {
		a.Convergent, a.KDF = &row.Convergent, "hkdf_sha256"
	}
	if row.Convergent {
		a.ConvergentVersion = convergentVersion
	}
	if row.Imported {
		a.AllowRotation = &row.AllowRotation
	}
	if t == material.HMAC {
		return a, nil
	}
	a.Keys = map[string]shownVersion{}
	err = e.versions(r, row.ID, row.oldest(), func(n int, v versionRow) error {
		shown := shownVersion{created: v.Created}
		if t.Asymmetric() {
			var err error
			if shown.public, err = showPublic(t, row, &v, context); err != nil {
				return err
			}
		}
		a.Keys[strconv.Itoa(n)] = shown
		return nil
	})
	return a, err
}

// shownType splits the type of an ML-DSA key as the field does.
func shownType(name string) (typ, parameterSet string) {
	if set, ok := strings.CutPrefix(name, "ml-dsa-"); ok {
		return "ml-dsa", set
	}
	return name, ""
}

func showPublic(t material.Type, row *keyRow, v *versionRow, context []byte) (*publicVersion, error) {
	p := &publicVersion{Chain: chainText(v.Chain), Created: v.Created, Name: t.Shown()}
	if row.Derived && len(context) == 0 {
		return p, nil // there is no public half but that of a context
	}
	k, err := v.parse(t)
	if err == nil && row.Derived {
		k, err = k.Derive(context, false)
	}
	if err == nil {
		p.PublicKey, err = k.PublicText()
	}
	return p, err
}

func chainText(chain [][]byte) string {
	var b strings.Builder
	for _, der := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a builder never fails
	}
	return b.String()
}

type nameRequest struct {
	Name string `path:"name" doc:"Name of the key."`
}

type readKeyRequest struct {
	Name    string `path:"name" doc:"Name of the key."`
	Context string `query:"context" doc:"Context whose public key is shown, for a derived key, in base64."`
}

func (e *Engine) readKey(ctx context.Context, _ *route.Call, in readKeyRequest) (a *keyAnswer, err error) {
	context, err := base64.StdEncoding.DecodeString(in.Context)
	if err != nil {
		return nil, errContext
	}
	err = e.view(ctx, func(r store.Reader) error {
		row, err := store.GetJSON[keyRow](r, e.keyKey(in.Name))
		if isAbsent(err) {
			return errAbsent
		}
		if err != nil {
			return err
		}
		a, err = e.answer(r, in.Name, &row, context)
		return err
	})
	return a, err
}

var errContext = fault.New(fault.Invalid, "the context must be base64")

// show reads a key after a change, for the answer.
func (e *Engine) show(ctx context.Context, name string) (a *keyAnswer, err error) {
	return e.readKey(ctx, nil, readKeyRequest{Name: name})
}
