package totp

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"image/png"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// keyRow is a key.
type keyRow struct {
	Secret    []byte
	Issuer    string
	Account   string
	Period    int64 // seconds
	Algorithm string
	Digits    int
	Skew      int64
}

type listRequest struct{}

type nameRequest struct {
	Name string `path:"name" doc:"Name of the key."`
}

type writeRequest struct {
	Name      string         `path:"name" doc:"Name of the key."`
	Generate  bool           `json:"generate" doc:"Make the secret here, and check codes of the device that gets it."`
	Exported  wire.Opt[bool] `json:"exported" doc:"Whether a generated secret is answered, as URL and barcode; true if it is not given."`
	KeySize   int            `json:"key_size" default:"20" doc:"Length of a generated secret in bytes, 16 to 512."`
	URL       string         `json:"url" sensitive:"true" doc:"otpauth:// URL to import; what it says beats other parameters."`
	Key       string         `json:"key" sensitive:"true" doc:"Secret to import, in base32."`
	Issuer    string         `json:"issuer" doc:"Name of who runs the service."`
	Account   string         `json:"account_name" doc:"Name of the account."`
	Period    wire.Duration  `json:"period" default:"30s" doc:"Time that a code is good for."`
	Algorithm string         `json:"algorithm" default:"SHA1" doc:"SHA1, SHA256 or SHA512."`
	Digits    int            `json:"digits" default:"6" doc:"Length of a code: 6 or 8."`
	Skew      int64          `json:"skew" default:"1" doc:"Periods before and after the present one whose codes are accepted: 0 or 1."`
	QRSize    int            `json:"qr_size" default:"200" doc:"Width of the barcode in pixels, at most 2048; 0 for none."`
}

type writeAnswer struct {
	Barcode string `json:"barcode,omitempty"`
	URL     string `json:"url"`
}

// maxQR bounds the barcode of an answer.
const maxQR = 2048

func (e *Engine) writeKey(ctx context.Context, _ *route.Call, in writeRequest) (*writeAnswer, error) {
	if err := engine.CheckName(in.Name); err != nil {
		return nil, err
	}
	row, err := e.newRow(&in)
	if err != nil {
		return nil, err
	}
	var answer *writeAnswer
	if in.Generate && in.Exported.Or(true) {
		if answer, err = row.show(in.QRSize); err != nil {
			return nil, err
		}
	}
	err = e.host.Storage.Update(ctx, func(tx store.Txn) error {
		if err := tx.Delete(e.key(kindUsed, in.Name)); err != nil {
			return err
		}
		return store.PutJSON(tx, e.key(kindKey, in.Name), row)
	})
	return answer, err
}

// newRow makes or imports a key.
func (e *Engine) newRow(in *writeRequest) (*keyRow, error) {
	switch {
	case in.Generate && (in.Key != "" || in.URL != ""):
		return nil, fault.New(fault.Invalid, "give a key or url, or generate=true, not both")
	case in.Key != "" && in.URL != "":
		return nil, fault.New(fault.Invalid, "give a key or a url, not both")
	case in.Generate && (in.Issuer == "" || in.Account == ""):
		return nil, fault.New(fault.Invalid, "a generated key needs an issuer and an account_name")
	case in.QRSize < 0 || in.QRSize > maxQR:
		return nil, fault.Newf(fault.Invalid, "qr_size must be between 0 and %d", maxQR)
	}
	row := &keyRow{Issuer: in.Issuer, Account: in.Account, Period: int64(in.Period.D().Seconds()), Algorithm: in.Algorithm, Digits: in.Digits, Skew: in.Skew}
	secret := in.Key
	if in.URL != "" {
		var err error
		if secret, err = row.parseURL(in.URL); err != nil {
			return nil, err
		}
	}
	if err := row.check(); err != nil {
		return nil, err
	}
	if in.Generate {
		if in.KeySize < 16 || in.KeySize > 512 {
			return nil, fault.New(fault.Invalid, "key_size must be between 16 and 512 bytes")
		}
		row.Secret = make([]byte, in.KeySize)
		if _, err := io.ReadFull(e.host.Rand, row.Secret); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		return row, nil
	}
	var err error
	row.Secret, err = parseSecret(secret)
	return row, err
}

func (k *keyRow) check() error {
	switch {
	case hashOf(k.Algorithm) == nil:
		return fault.New(fault.Invalid, "algorithm must be SHA1, SHA256 or SHA512")
	case k.Digits != 6 && k.Digits != 8:
		return fault.New(fault.Invalid, "digits must be 6 or 8")
	case k.Period < 1:
		return fault.New(fault.Invalid, "period must be at least one second")
	case k.Skew != 0 && k.Skew != 1:
		return fault.New(fault.Invalid, "skew must be 0 or 1")
	case strings.Contains(k.Issuer, ":") || strings.Contains(k.Account, ":"):
		return fault.New(fault.Invalid, "issuer and account_name must not have a colon: it stands between them in URLs")
	}
	return nil
}

var errSecret = fault.New(fault.Invalid, "the secret must be base32, as services show it")

// parseSecret reads base32 with or without padding, spaces and capitals.
func parseSecret(text string) ([]byte, error) {
	text = strings.TrimRight(strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(text)), "=")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(secret) == 0 {
		return nil, errSecret
	}
	return secret, nil
}

var errURL = fault.New(fault.Invalid, "the url must be like otpauth://totp/issuer:account?secret=...&period=30&digits=6&algorithm=SHA1")

// parseURL reads a key URI as authenticator apps define it.
func (k *keyRow) parseURL(text string) (secret string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" {
		return "", errURL
	}
	q := u.Query()
	label := strings.TrimPrefix(u.Path, "/")
	if issuer, account, ok := strings.Cut(label, ":"); ok {
		k.Issuer, label = issuer, account
	}
	k.Account = strings.TrimSpace(label)
	if issuer := q.Get("issuer"); issuer != "" {
		k.Issuer = issuer
	}
	if name := q.Get("algorithm"); name != "" {
		k.Algorithm = strings.ToUpper(name)
	}
	for name, set := range map[string]func(int64){
		"period": func(n int64) { k.Period = n },
		"digits": func(n int64) { k.Digits = int(n) },
	} {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return "", errURL
			}
			set(n)
		}
	}
	if secret = q.Get("secret"); secret == "" {
		return "", errURL
	}
	return secret, nil
}

// show writes the key for the user's device.
func (k *keyRow) show(size int) (*writeAnswer, error) {
	q := url.Values{
		"secret": {base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(k.Secret)}, "issuer": {k.Issuer}, "algorithm": {k.Algorithm},
		"digits": {strconv.Itoa(k.Digits)}, "period": {strconv.FormatInt(k.Period, 10)},
	}
	// Apps read a plus as a plus: spaces are %20.
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + k.Issuer + ":" + k.Account, RawQuery: strings.ReplaceAll(q.Encode(), "+", "%20")}
	a := &writeAnswer{URL: u.String()}
	if size == 0 {
		return a, nil
	}
	code, err := qr.Encode(a.URL, qr.M, qr.Auto)
	if err == nil && size >= code.Bounds().Dx() {
		code, err = barcode.Scale(code, size, size)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the key does not fit into a barcode; give a smaller key_size, or qr_size=0")
	}
	var b bytes.Buffer
	if err := png.Encode(&b, code); err != nil {
		return nil, fmt.Errorf("encoding a barcode: %w", err)
	}
	a.Barcode = base64.StdEncoding.EncodeToString(b.Bytes())
	return a, nil
}

type keyAnswer struct {
	Account   string `json:"account_name"`
	Algorithm string `json:"algorithm"`
	Digits    int    `json:"digits"`
	Issuer    string `json:"issuer"`
	Period    int64  `json:"period"`
}

func (e *Engine) readKey(ctx context.Context, _ *route.Call, in nameRequest) (keyAnswer, error) {
	k, err := e.read(ctx, in.Name, errAbsent)
	return keyAnswer{k.Account, k.Algorithm, k.Digits, k.Issuer, k.Period}, err
}

func (e *Engine) listKeys(ctx context.Context, _ *route.Call, _ listRequest) (route.Keys, error) {
	var keys route.Keys
	err := e.host.Storage.View(ctx, func(r store.Reader) error {
		keys.Keys = nil
		for entry, err := range r.Scan(store.Under(e.host.Storage.Key(kindKey))) {
			if err != nil {
				return err
			}
			keys.Keys = append(keys.Keys, entry.Key.Last())
		}
		return nil
	})
	return keys, err
}

func (e *Engine) deleteKey(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, e.host.Storage.Update(ctx, func(tx store.Txn) error {
		if err := tx.Delete(e.key(kindUsed, in.Name)); err != nil {
			return err
		}
		return tx.Delete(e.key(kindKey, in.Name))
	})
}
