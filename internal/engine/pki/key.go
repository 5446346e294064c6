package pki

import (
	"context"
	"crypto"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

type generateKeyRequest struct {
	Name string `json:"key_name" doc:"Name of the key."`
	Type string `json:"key_type" default:"rsa" doc:"rsa, ec or ed25519."`
	Bits int    `json:"key_bits" doc:"Size; 0 is 2048 for rsa and 256 for ec."`
}

type keyResponse struct {
	ID         string `json:"key_id"`
	Name       string `json:"key_name"`
	Type       string `json:"key_type"`
	SubjectID  string `json:"subject_key_id,omitempty"`
	PrivateKey string `json:"private_key,omitempty"`
}

func (e *Engine) generateKeyInternal(ctx context.Context, _ *route.Call, in generateKeyRequest) (*keyResponse, error) {
	return e.generateKey(ctx, in, false)
}

func (e *Engine) generateKeyExported(ctx context.Context, _ *route.Call, in generateKeyRequest) (*keyResponse, error) {
	return e.generateKey(ctx, in, true)
}

var errKMS = fault.New(fault.Invalid, "keys in an external key management system are not supported: use internal, exported or existing")

func (e *Engine) generateKeyKMS(context.Context, *route.Call, generateKeyRequest) (*keyResponse, error) {
	return nil, errKMS
}

func (e *Engine) generateKey(ctx context.Context, in generateKeyRequest, export bool) (*keyResponse, error) {
	signer, err := keypair.Spec{Type: in.Type, Bits: in.Bits}.Generate(e.host.Rand)
	if err != nil {
		return nil, err
	}
	var k *keyRow
	err = e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		k, err = e.addKey(tx, a, signer, in.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &keyResponse{ID: k.ID, Name: k.Name, Type: in.Type}
	if export {
		out.PrivateKey, err = privatePEM(signer, false)
	}
	return out, err
}

// addKey stores a new key; the first one becomes the default.
func (e *Engine) addKey(tx store.Txn, a *authority, signer crypto.Signer, name string) (*keyRow, error) {
	if err := checkName("key_name", name); err != nil {
		return nil, err
	}
	if name != "" {
		if _, err := a.key(name); err == nil {
			return nil, fault.Newf(fault.Invalid, "the key name %q is in use", name)
		}
	}
	der, err := keypair.PKCS8(signer)
	if err != nil {
		return nil, err
	}
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	k := keyRow{ID: id, Name: name, Made: e.host.Clock.Now().UnixNano() + int64(len(a.keys)), DER: der}
	a.keys = append(a.keys, k)
	a.parsed[id] = signer
	if a.keysConf.Default == "" {
		a.keysConf.Default = id
		if err := e.putSetting(tx, "keys", a.keysConf); err != nil {
			return nil, err
		}
	}
	return &k, store.PutJSON(tx, e.key(kindKey, id), k)
}

// findKey returns the key with a public key, nil if there is none.
func (a *authority) findKey(public crypto.PublicKey) *keyRow {
	for i := range a.keys {
		if keypair.Same(a.parsed[a.keys[i].ID].Public(), public) {
			return &a.keys[i]
		}
	}
	return nil
}

type importKeyRequest struct {
	Bundle wire.Secret `json:"pem_bundle" doc:"The private key as PEM." sensitive:"true"`
	Name   string      `json:"key_name" doc:"Name of the key."`
}

func (e *Engine) importKey(ctx context.Context, _ *route.Call, in importKeyRequest) (*keyResponse, error) {
	signer, err := keypair.ParsePEM([]byte(in.Bundle.Reveal()))
	if err != nil {
		return nil, err
	}
	spec, _ := keypair.Of(signer.Public())
	var k *keyRow
	err = e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		if k = a.findKey(signer.Public()); k != nil {
			return nil
		}
		k, err = e.addKey(tx, a, signer, in.Name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &keyResponse{ID: k.ID, Name: k.Name, Type: spec.Type}, nil
}

type keyInfo struct {
	Default bool   `json:"is_default"`
	Name    string `json:"key_name"`
}

func (e *Engine) listKeys(ctx context.Context, _ *route.Call, _ struct{}) (route.Keys, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return route.Keys{}, err
	}
	out := route.Keys{Info: map[string]any{}}
	for _, k := range a.keys {
		out.Keys = append(out.Keys, k.ID)
		out.Info[k.ID] = keyInfo{Default: k.ID == a.keysConf.Default, Name: k.Name}
	}
	return out, nil
}

type keyRequest struct {
	Ref string `path:"key_ref" doc:"Id or name of the key, or default."`
}

func (e *Engine) readKey(ctx context.Context, _ *route.Call, in keyRequest) (*keyResponse, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	k, err := a.key(in.Ref)
	if err != nil {
		return nil, asMissing(err)
	}
	public := a.parsed[k.ID].Public()
	id, err := keypair.ID(public)
	if err != nil {
		return nil, err
	}
	spec, _ := keypair.Of(public)
	return &keyResponse{ID: k.ID, Name: k.Name, Type: spec.Type, SubjectID: colons(id)}, nil
}

type writeKeyRequest struct {
	Ref  string `path:"key_ref" doc:"Id or name of the key, or default."`
	Name string `json:"key_name" doc:"New name of the key."`
}

func (e *Engine) writeKey(ctx context.Context, _ *route.Call, in writeKeyRequest) (*keyResponse, error) {
	var out *keyResponse
	err := e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		k, err := a.key(in.Ref)
		if err != nil {
			return asMissing(err)
		}
		if err := checkName("key_name", in.Name); err != nil {
			return err
		}
		if other, err := a.key(in.Name); in.Name != "" && err == nil && other.ID != k.ID {
			return fault.Newf(fault.Invalid, "the key name %q is in use", in.Name)
		}
		k.Name = in.Name
		spec, _ := keypair.Of(a.parsed[k.ID].Public())
		out = &keyResponse{ID: k.ID, Name: k.Name, Type: spec.Type}
		return store.PutJSON(tx, e.key(kindKey, k.ID), k)
	})
	return out, err
}

func (e *Engine) deleteKey(ctx context.Context, c *route.Call, in keyRequest) (*route.Reply, error) {
	var warning string
	err := e.update(ctx, func(tx store.Txn) error {
		warning = ""
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		k, err := a.key(in.Ref)
		if err != nil {
			return nil // it is gone
		}
		for _, i := range a.issuers {
			if i.KeyID == k.ID {
				warning = "An issuer used the deleted key: it can sign nothing any more."
				row := i.issuerRow
				row.KeyID = ""
				if err := store.PutJSON(tx, e.key(kindIssuer, row.ID), row); err != nil {
					return err
				}
			}
		}
		if a.keysConf.Default == k.ID {
			warning = "The deleted key was the default; choose another at config/keys."
			if err := e.putSetting(tx, "keys", keysConfig{}); err != nil {
				return err
			}
		}
		return tx.Delete(e.key(kindKey, k.ID))
	})
	if warning != "" {
		c.Warn(warning)
	}
	return &route.Reply{NoContent: true}, err
}
