package transit

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// What encryption and decryption have in common.
type sealing struct {
	Name       string `path:"name" doc:"Name of the key."`
	Context    string `json:"context" doc:"Context of a derived key, in base64."`
	Associated string `json:"associated_data" doc:"Data that is authenticated with the ciphertext, in base64."`
	Nonce      string `json:"nonce" doc:"Refused: the server chooses nonces." deprecated:"true"`
	batch
}

type encryptRequest struct {
	sealing
	Plaintext  wire.Opt[string] `json:"plaintext" sensitive:"true" doc:"Data to encrypt, in base64."`
	Version    int              `json:"key_version" doc:"Version to encrypt with; 0 is the latest."`
	Type       string           `json:"type" default:"aes256-gcm96" doc:"Type of a key that has to be made."`
	Convergent bool             `json:"convergent_encryption" doc:"Whether a key that has to be made encrypts convergently."`
}

var (
	errNonce      = fault.New(fault.Invalid, "a nonce cannot be given: the server chooses it, and the ciphertext has it")
	errPlaintext  = fault.New(fault.Invalid, "give the plaintext, in base64")
	errCiphertext = fault.New(fault.Invalid, "give the ciphertext")
	errAssociated = fault.New(fault.Invalid, "the associated_data must be base64, and the key of a type that authenticates data")
)

// encryptExists tells create from update. A mount that makes no keys knows no
// create.
func (e *Engine) encryptExists(ctx context.Context, _ *route.Call, in encryptRequest) (bool, error) {
	_, err := e.load(ctx, in.Name)
	if !errors.Is(err, errNoKey) {
		return true, nil // whatever is wrong, the encryption says it
	}
	s, err := e.settings(ctx)
	if err != nil {
		return false, err
	}
	return s.DisableUpsert, nil
}

func (e *Engine) encrypt(ctx context.Context, c *route.Call, in encryptRequest) (*route.Reply, error) {
	k, err := e.use(ctx, in.Name)
	if errors.Is(err, errNoKey) && c.Create {
		return e.upsert(ctx, c, &in)
	}
	if err != nil {
		return nil, err
	}
	return e.encryptWith(ctx, k, &in)
}

func (e *Engine) encryptWith(ctx context.Context, k *key, in *encryptRequest) (*route.Reply, error) {
	op := e.sealer(k)
	if in.given() {
		op.random = bufio.NewReaderSize(e.host.Rand, nonceBuffer)
		return in.run(ctx, op, false)
	}
	return one(ctx, op, &item{plaintext: given(in.Plaintext), context: optional(in.Context), associated: optional(in.Associated), nonce: optional(in.Nonce), version: in.Version})
}

// nonceBuffer is how many random bytes a batch reads at once.
const nonceBuffer = 1200

// upsert makes the key that an encryption names, derived if there is a context,
// and encrypts. The key is stored only if something was encrypted with it.
func (e *Engine) upsert(ctx context.Context, c *route.Call, in *encryptRequest) (*route.Reply, error) {
	create := createRequest{Name: in.Name, Convergent: in.Convergent, traits: traits{Type: in.Type, Derived: in.Context != ""}}
	if in.given() {
		create.Derived = false
		var it item
		err := wire.EachElement(in.Items, func(element []byte) error {
			create.Derived = create.Derived || it.parse(element) == nil && len(it.context) > 0
			return nil
		})
		if err != nil {
			return nil, errBatch
		}
	}
	n, err := e.prepare(&create, c.Now)
	if err != nil {
		return nil, err
	}
	reply, err := e.encryptWith(ctx, n.use(), in)
	if err != nil || in.good == 0 && in.given() {
		return reply, err
	}
	stored, err := e.store(ctx, n)
	if err != nil || stored {
		return reply, err
	}
	k, err := e.use(ctx, in.Name) // another request was faster
	if err != nil {
		return nil, err
	}
	return e.encryptWith(ctx, k, in)
}

// sealer encrypts.
type sealer struct {
	deriver
	e      *Engine
	random io.Reader

	plain, ad, sealed []byte
}

func (e *Engine) sealer(k *key) *sealer {
	return &sealer{deriver: deriver{k: k}, e: e, random: e.host.Rand}
}

func (s *sealer) failed() string { return "" }

func (s *sealer) do(ctx context.Context, dst []byte, it *item) (_ []byte, err error) {
	if it.plaintext == nil {
		return dst, errPlaintext
	}
	if s.plain, err = decode(s.plain, it.plaintext, base64.StdEncoding); err != nil {
		return dst, errPlaintext
	}
	return s.seal(ctx, dst, it, s.plain)
}

// seal appends the result of encrypting plaintext with an item's other settings.
func (s *sealer) seal(ctx context.Context, dst []byte, it *item, plaintext []byte) (_ []byte, err error) {
	v, err := s.e.forNew(ctx, s.k, it.version)
	if err != nil {
		return dst, err
	}
	if len(it.nonce) > 0 {
		return dst, errNonce
	}
	if s.ad, err = associated(s.ad, s.k, it); err != nil {
		return dst, err
	}
	k, err := s.deriver.key(v, it)
	if err != nil {
		return dst, err
	}
	if s.sealed, err = k.Seal(s.sealed[:0], plaintext, s.ad, s.random); err != nil {
		return dst, err
	}
	dst = appendText(dst, "ciphertext", v.n, s.sealed, base64.StdEncoding)
	dst = append(dst, `,"key_version":`...)
	return strconv.AppendInt(dst, int64(v.n), 10), nil
}

// associated decodes an item's associated data.
func associated(buf []byte, k *key, it *item) ([]byte, error) {
	if len(it.associated) == 0 {
		return nil, nil
	}
	if !k.typ.Authenticates() {
		return nil, errAssociated
	}
	ad, err := decode(buf, it.associated, base64.StdEncoding)
	if err != nil {
		return nil, errAssociated
	}
	return ad, nil
}

type decryptRequest struct {
	sealing
	Ciphertext wire.Opt[string] `json:"ciphertext" doc:"Data to decrypt."`
}

func (e *Engine) decrypt(ctx context.Context, _ *route.Call, in decryptRequest) (*route.Reply, error) {
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	op := &unsealer{deriver: deriver{k: k}, e: e}
	if in.given() {
		return in.run(ctx, op, false)
	}
	return one(ctx, op, &item{ciphertext: given(in.Ciphertext), context: optional(in.Context), associated: optional(in.Associated), nonce: optional(in.Nonce)})
}

// unsealer decrypts.
type unsealer struct {
	deriver
	e *Engine

	sealed, ad, plain []byte
}

func (u *unsealer) failed() string { return `"plaintext":"",` }

func (u *unsealer) do(ctx context.Context, dst []byte, it *item) ([]byte, error) {
	if err := u.open(ctx, it); err != nil {
		return dst, err
	}
	dst = append(dst, `"plaintext":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, u.plain)
	return append(dst, '"'), nil
}

// open decrypts an item into plain.
func (u *unsealer) open(ctx context.Context, it *item) error {
	if it.ciphertext == nil {
		return errCiphertext
	}
	if len(it.nonce) > 0 {
		return errNonce
	}
	n, encoded, err := splitText(it.ciphertext)
	if err != nil {
		return err
	}
	if u.sealed, err = decode(u.sealed, encoded, base64.StdEncoding); err != nil {
		return errText
	}
	v, err := u.e.forOld(ctx, u.k, n)
	if err != nil {
		return err
	}
	if u.ad, err = associated(u.ad, u.k, it); err != nil {
		return err
	}
	k, err := u.deriver.key(v, it)
	if err != nil {
		return err
	}
	u.plain, err = k.Open(u.plain[:0], u.sealed, u.ad)
	return err
}

type rewrapRequest struct {
	decryptRequest
	Version int `json:"key_version" doc:"Version to encrypt with; 0 is the latest."`
}

func (e *Engine) rewrap(ctx context.Context, _ *route.Call, in rewrapRequest) (*route.Reply, error) {
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	op := &rewrapper{from: &unsealer{deriver: deriver{k: k}, e: e}, to: e.sealer(k)}
	if in.given() {
		return in.run(ctx, op, false)
	}
	return one(ctx, op, &item{ciphertext: given(in.Ciphertext), context: optional(in.Context), associated: optional(in.Associated), nonce: optional(in.Nonce), version: in.Version})
}

// rewrapper decrypts and encrypts again.
type rewrapper struct {
	from *unsealer
	to   *sealer
}

func (r *rewrapper) failed() string { return "" }

func (r *rewrapper) do(ctx context.Context, dst []byte, it *item) ([]byte, error) {
	if err := r.from.open(ctx, it); err != nil {
		return dst, err
	}
	defer clear(r.from.plain)
	return r.to.seal(ctx, dst, it, r.from.plain)
}

type dataKeyRequest struct {
	Kind       string `path:"plaintext" doc:"plaintext to answer the key in the clear too, wrapped not to."`
	Name       string `path:"name" doc:"Name of the key."`
	Context    string `json:"context" doc:"Context of a derived key, in base64."`
	Associated string `json:"associated_data" doc:"Data that is authenticated with the ciphertext, in base64."`
	Nonce      string `json:"nonce" doc:"Refused: the server chooses nonces." deprecated:"true"`
	Bits       int    `json:"bits" default:"256" doc:"Length of the new key: 128, 256 or 512."`
	Version    int    `json:"key_version" doc:"Version to encrypt with; 0 is the latest."`
}

func (e *Engine) dataKey(ctx context.Context, _ *route.Call, in dataKeyRequest) (wire.JSON, error) {
	if in.Kind != "plaintext" && in.Kind != "wrapped" {
		return nil, fault.New(fault.Invalid, `the path must have "plaintext" or "wrapped" before the key's name`)
	}
	if in.Bits != 128 && in.Bits != 256 && in.Bits != 512 {
		return nil, fault.New(fault.Invalid, "bits must be 128, 256 or 512")
	}
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	fresh := make([]byte, in.Bits/8)
	defer clear(fresh)
	if _, err := io.ReadFull(e.host.Rand, fresh); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	it := item{context: optional(in.Context), associated: optional(in.Associated), nonce: optional(in.Nonce), version: in.Version}
	out, err := e.sealer(k).seal(ctx, []byte{'{'}, &it, fresh)
	if err != nil {
		return nil, err
	}
	if in.Kind == "plaintext" {
		out = append(out, `,"plaintext":"`...)
		out = base64.StdEncoding.AppendEncode(out, fresh)
		out = append(out, '"')
	}
	return append(out, '}'), nil
}
