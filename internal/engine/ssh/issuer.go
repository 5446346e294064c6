package ssh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// issuerRow is a CA key pair.
type issuerRow struct {
	Name            string `json:",omitempty"`
	Private, Public string
	Created         time.Time
}

// issuer is an issuer and its id.
type issuer struct {
	id string
	issuerRow
}

// defaultRef names the default issuer; no issuer is called so.
const defaultRef = "default"

var (
	// errNoDefault has the text that clients look for.
	errNoDefault = fault.New(fault.Invalid, "no default issuer currently configured")
	errNoIssuer  = fault.New(fault.Invalid, "no issuer has this name or id")
)

// find reads the issuer that a reference means: its id, its name, or "default".
func (e *Engine) find(r store.Reader, ref string) (issuer, error) {
	id := ref
	if ref == defaultRef || ref == "" {
		b, err := r.Get(e.key(kindDefault))
		if isAbsent(err) {
			return issuer{}, errNoDefault
		}
		if err != nil {
			return issuer{}, err
		}
		id = string(b)
	} else if b, err := r.Get(e.key(kindName, ref)); err == nil {
		id = string(b)
	} else if !isAbsent(err) {
		return issuer{}, err
	}
	row, err := store.GetJSON[issuerRow](r, e.key(kindIssuer, id))
	if isAbsent(err) {
		return issuer{}, errNoIssuer
	}
	return issuer{id, row}, err
}

type issuerAnswer struct {
	ID        string `json:"issuer_id"`
	Name      string `json:"issuer_name"`
	PublicKey string `json:"public_key"`
}

func (i *issuer) answer() issuerAnswer { return issuerAnswer{i.id, i.Name, i.Public} }

type caRequest struct {
	Generate wire.Opt[bool] `json:"generate_signing_key" doc:"Make the key pair; true unless one is given."`
	KeyType  string         `json:"key_type" default:"ssh-rsa" doc:"Type of a key that is made: rsa, ec or ed25519, or OpenSSH's names."`
	KeyBits  int            `json:"key_bits" doc:"Size of a key that is made; 0 is the usual one of its type."`
	Private  string         `json:"private_key" sensitive:"true" doc:"Private key to import, in PEM."`
	Public   string         `json:"public_key" doc:"Public key to import, as in authorized_keys."`
}

type writeCARequest struct {
	caRequest
	Name string `json:"issuer_name" doc:"Name of the issuer."`
}

type addIssuerRequest struct {
	caRequest
	Name       string `json:"issuer_name" doc:"Name of the issuer."`
	SetDefault bool   `json:"set_default" doc:"Make it the default issuer; the first one is in any case."`
}

type addNamedIssuerRequest struct {
	caRequest
	Name       string `path:"issuer_name" doc:"Name of the issuer."`
	SetDefault bool   `json:"set_default" doc:"Make it the default issuer; the first one is in any case."`
}

// pair makes or reads the key pair.
func (e *Engine) pair(in *caRequest) (pair, error) {
	imported := in.Private != "" || in.Public != ""
	if in.Generate.Or(!imported) {
		if imported {
			return pair{}, fault.New(fault.Invalid, "give either a key pair or generate_signing_key=true")
		}
		return generate(in.KeyType, in.KeyBits, e.host.Rand)
	}
	if in.Private == "" || in.Public == "" {
		return pair{}, fault.New(fault.Invalid, "give both private_key and public_key, or generate_signing_key=true")
	}
	p := pair{in.Private, in.Public}
	return p, p.check()
}

// add stores a new issuer.
func (e *Engine) add(ctx context.Context, c *route.Call, in *caRequest, name string, setDefault bool) (issuerAnswer, error) {
	if name == defaultRef {
		return issuerAnswer{}, fault.New(fault.Invalid, `no issuer can be called "default"`)
	}
	if name != "" {
		if err := engine.CheckName(name); err != nil {
			return issuerAnswer{}, err
		}
	}
	p, err := e.pair(in)
	if err != nil {
		return issuerAnswer{}, err
	}
	id, err := wire.NewUUID(e.host.Rand)
	if err != nil {
		return issuerAnswer{}, err
	}
	i := issuer{id, issuerRow{Name: name, Private: p.private, Public: p.public, Created: c.Now}}
	err = e.update(ctx, func(tx store.Txn) error {
		if err := e.claim(tx, name, id); err != nil {
			return err
		}
		known, err := store.Exists(tx, e.key(kindDefault))
		if err != nil {
			return err
		}
		if setDefault || !known {
			if err := tx.Put(e.key(kindDefault), []byte(id)); err != nil {
				return err
			}
		}
		return store.PutJSON(tx, e.key(kindIssuer, id), i.issuerRow)
	})
	return i.answer(), err
}

// claim makes a name that of an issuer. The empty name is nobody's.
func (e *Engine) claim(tx store.Txn, name, id string) error {
	if name == "" {
		return nil
	}
	for _, k := range []store.Key{e.key(kindName, name), e.key(kindIssuer, name)} {
		if taken, err := store.Exists(tx, k); err != nil {
			return err
		} else if taken {
			return fault.New(fault.Invalid, "another issuer has this name")
		}
	}
	return tx.Put(e.key(kindName, name), []byte(id))
}

func (e *Engine) writeCA(ctx context.Context, c *route.Call, in writeCARequest) (issuerAnswer, error) {
	return e.add(ctx, c, &in.caRequest, in.Name, true)
}

func (e *Engine) addIssuer(ctx context.Context, c *route.Call, in addIssuerRequest) (issuerAnswer, error) {
	return e.add(ctx, c, &in.caRequest, in.Name, in.SetDefault)
}

func (e *Engine) addNamedIssuer(ctx context.Context, c *route.Call, in addNamedIssuerRequest) (issuerAnswer, error) {
	return e.add(ctx, c, &in.caRequest, in.Name, in.SetDefault)
}

type issuerRequest struct {
	Ref string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

func (e *Engine) read(ctx context.Context, ref string) (i issuer, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		i, err = e.find(r, ref)
		return err
	})
	return i, err
}

func (e *Engine) readCA(ctx context.Context, _ *route.Call, _ nothing) (issuerAnswer, error) {
	i, err := e.read(ctx, defaultRef)
	return i.answer(), err
}

func (e *Engine) readIssuer(ctx context.Context, _ *route.Call, in issuerRequest) (issuerAnswer, error) {
	i, err := e.read(ctx, in.Ref)
	return i.answer(), err
}

func (e *Engine) publicKey(ctx context.Context, c *route.Call, _ nothing) (route.Bytes, error) {
	return e.issuerPublicKey(ctx, c, issuerRequest{defaultRef})
}

func (e *Engine) issuerPublicKey(ctx context.Context, _ *route.Call, in issuerRequest) (route.Bytes, error) {
	i, err := e.read(ctx, in.Ref)
	if err != nil {
		return route.Bytes{}, err
	}
	return route.Bytes{ContentType: "text/plain", Body: []byte(strings.TrimSuffix(i.Public, "\n") + "\n")}, nil
}

func (e *Engine) listIssuers(ctx context.Context, _ *route.Call, _ nothing) (route.Keys, error) {
	var keys route.Keys
	err := e.view(ctx, func(r store.Reader) error {
		keys = route.Keys{Info: map[string]any{}}
		for entry, err := range r.Scan(store.Under(e.key(kindIssuer))) {
			if err != nil {
				return err
			}
			row, err := store.GetJSON[issuerRow](r, entry.Key)
			if err != nil {
				return err
			}
			id := entry.Key.Last()
			keys.Keys = append(keys.Keys, id)
			keys.Info[id] = struct {
				Name string `json:"issuer_name"`
			}{row.Name}
		}
		return nil
	})
	return keys, err
}

type renameRequest struct {
	Ref  string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
	Name string `json:"issuer_name" doc:"New name; none if it is empty."`
}

func (e *Engine) renameIssuer(ctx context.Context, _ *route.Call, in renameRequest) (a issuerAnswer, err error) {
	if in.Name == defaultRef {
		return a, fault.New(fault.Invalid, `no issuer can be called "default"`)
	}
	if in.Name != "" {
		if err := engine.CheckName(in.Name); err != nil {
			return a, err
		}
	}
	err = e.update(ctx, func(tx store.Txn) error {
		i, err := e.find(tx, in.Ref)
		if err != nil {
			return err
		}
		if i.Name != in.Name {
			if err := e.claim(tx, in.Name, i.id); err != nil {
				return err
			}
			if i.Name != "" {
				if err := tx.Delete(e.key(kindName, i.Name)); err != nil {
					return err
				}
			}
			i.Name = in.Name
		}
		a = i.answer()
		return store.PutJSON(tx, e.key(kindIssuer, i.id), i.issuerRow)
	})
	return a, err
}

func (e *Engine) deleteIssuer(ctx context.Context, c *route.Call, in issuerRequest) (route.None, error) {
	wasDefault := false
	err := e.update(ctx, func(tx store.Txn) error {
		i, err := e.find(tx, in.Ref)
		if errors.Is(err, errNoIssuer) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := tx.Get(e.key(kindDefault))
		if err != nil && !isAbsent(err) {
			return err
		}
		if wasDefault = string(b) == i.id; wasDefault {
			if err := tx.Delete(e.key(kindDefault)); err != nil {
				return err
			}
		}
		if i.Name != "" {
			if err := tx.Delete(e.key(kindName, i.Name)); err != nil {
				return err
			}
		}
		return tx.Delete(e.key(kindIssuer, i.id))
	})
	if wasDefault {
		c.Warn("this was the default issuer: roles that use it sign nothing until config/issuers names another")
	}
	return route.None{}, err
}

func (e *Engine) deleteCA(ctx context.Context, c *route.Call, _ nothing) (*route.Reply, error) {
	n := 0
	err := e.update(ctx, func(tx store.Txn) error {
		n = 0
		for _, kind := range []store.Kind{kindIssuer, kindName, kindDefault} {
			var doomed []store.Key
			for entry, err := range tx.Scan(store.Under(e.key(kind))) {
				if err != nil {
					return err
				}
				doomed = append(doomed, entry.Key)
			}
			for _, k := range doomed {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			if kind == kindIssuer {
				n = len(doomed)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.Warn(fmt.Sprintf("issuers deleted: %d", n))
	return &route.Reply{}, nil
}

type defaultAnswer struct {
	Default string `json:"default"`
}

func (e *Engine) readDefault(ctx context.Context, _ *route.Call, _ nothing) (defaultAnswer, error) {
	i, err := e.read(ctx, defaultRef)
	if errors.Is(err, errNoDefault) {
		return defaultAnswer{}, nil
	}
	return defaultAnswer{i.id}, err
}

type writeDefaultRequest struct {
	Default string `json:"default" doc:"Id or name of the issuer."`
}

func (e *Engine) writeDefault(ctx context.Context, _ *route.Call, in writeDefaultRequest) (a defaultAnswer, err error) {
	if in.Default == "" || in.Default == defaultRef {
		return a, fault.New(fault.Invalid, "give the id or name of an issuer as default")
	}
	err = e.update(ctx, func(tx store.Txn) error {
		i, err := e.find(tx, in.Default)
		if err != nil {
			return err
		}
		a.Default = i.id
		return tx.Put(e.key(kindDefault), []byte(i.id))
	})
	return a, err
}
