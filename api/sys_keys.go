package api

import (
	"context"
	"net/http"
	"time"
)

// KeyStatus describes the key that encrypts the storage.
type KeyStatus struct {
	Term        int       `json:"term"`
	InstallTime time.Time `json:"install_time"`
	Encryptions int64     `json:"encryptions"`
}

// KeyStatus returns the state of the encryption key.
func (c *Client) KeyStatus(ctx context.Context) (*KeyStatus, error) {
	s, err := c.Read(ctx, "sys/key-status", nil)
	if err != nil {
		return nil, err
	}
	var k KeyStatus
	return &k, s.Decode(&k)
}

// Rotate installs a new encryption key; the older ones go on decrypting.
func (c *Client) Rotate(ctx context.Context) error {
	_, err := c.Write(ctx, "sys/rotate", nil)
	return err
}

// RekeyTarget says which shares are to be replaced.
type RekeyTarget string

// The targets of a rekey: the shares that unseal, and the recovery shares of a
// cluster with an automatic seal.
const (
	RekeyBarrier  RekeyTarget = "rekey"
	RekeyRecovery RekeyTarget = "rekey-recovery-key"
)

// Rekey replaces the key shares: start with Init, then contribute the old
// shares with Update, and when verification was asked for, the new ones with
// Verify.
type Rekey struct {
	c      *Client
	target RekeyTarget
}

// Rekey returns the rekey of target, the zero value of which is [RekeyBarrier].
func (c *Client) Rekey(target RekeyTarget) Rekey { return Rekey{c, target} }

// RekeyRequest says how the new shares are to be made.
type RekeyRequest struct {
	SecretShares        int      `json:"secret_shares"`
	SecretThreshold     int      `json:"secret_threshold"`
	PGPKeys             []string `json:"pgp_keys,omitempty"` // base64
	Backup              bool     `json:"backup,omitempty"`
	RequireVerification bool     `json:"require_verification,omitempty"`
}

// RekeyStatus is the progress of a rekey.
type RekeyStatus struct {
	Nonce                string   `json:"nonce"`
	Started              bool     `json:"started"`
	T                    int      `json:"t"`
	N                    int      `json:"n"`
	Progress             int      `json:"progress"`
	Required             int      `json:"required"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

// RekeyUpdate is the answer to a share: the progress, or the new keys.
type RekeyUpdate struct {
	RekeyStatus
	Complete   bool     `json:"complete"`
	Keys       []string `json:"keys,omitempty"` // hexadecimal
	KeysBase64 []string `json:"keys_base64,omitempty"`
}

// String describes the answer without its keys.
func (r *RekeyUpdate) String() string { return "rekey " + r.Nonce }

// GoString is String, so that %#v shows no key either.
func (r *RekeyUpdate) GoString() string { return r.String() }

// RekeyVerification is the progress of a verification.
type RekeyVerification struct {
	Nonce    string `json:"nonce"`
	Started  bool   `json:"started"`
	T        int    `json:"t"`
	N        int    `json:"n"`
	Progress int    `json:"progress"`
	Complete bool   `json:"complete"`
}

// RekeyBackup is the copy of PGP-encrypted shares that the server kept.
type RekeyBackup struct {
	Nonce      string              `json:"nonce"`
	Keys       map[string][]string `json:"keys"` // by fingerprint
	KeysBase64 map[string][]string `json:"keys_base64"`
}

func (r Rekey) path(rest string) string {
	if r.target == "" {
		return string(RekeyBarrier) + rest
	}
	return string(r.target) + rest
}

func (r Rekey) call(ctx context.Context, method, rest string, in, out any) error {
	return r.c.WithWrapTTL("").JSON(ctx, Request{Method: method, Path: "sys/" + r.path(rest)}, in, out)
}

// Init starts a rekey.
func (r Rekey) Init(ctx context.Context, in RekeyRequest) (*RekeyStatus, error) {
	var out RekeyStatus
	return &out, r.call(ctx, http.MethodPut, "/init", in, &out)
}

// Status returns the progress.
func (r Rekey) Status(ctx context.Context) (*RekeyStatus, error) {
	var out RekeyStatus
	return &out, r.call(ctx, http.MethodGet, "/init", nil, &out)
}

// Cancel gives up the rekey in progress.
func (r Rekey) Cancel(ctx context.Context, nonce string) error {
	return r.call(ctx, http.MethodDelete, "/init", nonceBody(nonce), nil)
}

// Update contributes one of the old shares.
func (r Rekey) Update(ctx context.Context, key, nonce string) (*RekeyUpdate, error) {
	var out RekeyUpdate
	return &out, r.call(ctx, http.MethodPut, "/update", map[string]string{"key": key, "nonce": nonce}, &out)
}

// VerifyStatus returns the progress of the verification.
func (r Rekey) VerifyStatus(ctx context.Context) (*RekeyVerification, error) {
	var out RekeyVerification
	return &out, r.call(ctx, http.MethodGet, "/verify", nil, &out)
}

// Verify contributes one of the new shares to prove that it was received.
func (r Rekey) Verify(ctx context.Context, key, nonce string) (*RekeyVerification, error) {
	var out RekeyVerification
	return &out, r.call(ctx, http.MethodPut, "/verify", map[string]string{"key": key, "nonce": nonce}, &out)
}

// CancelVerify starts the verification over.
func (r Rekey) CancelVerify(ctx context.Context, nonce string) error {
	return r.call(ctx, http.MethodDelete, "/verify", nonceBody(nonce), nil)
}

func (r Rekey) backupPath() string {
	if r.target == RekeyRecovery {
		return "sys/rekey/recovery-key-backup"
	}
	return "sys/rekey/backup"
}

// Backup returns the shares that the server kept.
func (r Rekey) Backup(ctx context.Context) (*RekeyBackup, error) {
	s, err := r.c.Read(ctx, r.backupPath(), nil)
	if err != nil {
		return nil, err
	}
	var b RekeyBackup
	return &b, s.Decode(&b)
}

// DeleteBackup deletes the shares that the server kept.
func (r Rekey) DeleteBackup(ctx context.Context) error {
	_, err := r.c.Delete(ctx, r.backupPath(), nil)
	return err
}

// nonceBody names the operation to cancel; without a nonce there is no body.
func nonceBody(nonce string) any {
	if nonce == "" {
		return nil
	}
	return map[string]string{"nonce": nonce}
}

// GenerateRoot makes a root token from a quorum of key shares: start with Init,
// then contribute shares with Update.
type GenerateRoot struct{ c *Client }

// GenerateRoot returns the generation of a root token.
func (c *Client) GenerateRoot() GenerateRoot { return GenerateRoot{c.WithWrapTTL("")} }

// GenerateRootStatus is the progress, and at its end the token, encoded with
// the one-time password or encrypted for the PGP key.
type GenerateRootStatus struct {
	Nonce            string `json:"nonce"`
	Started          bool   `json:"started"`
	Progress         int    `json:"progress"`
	Required         int    `json:"required"`
	Complete         bool   `json:"complete"`
	EncodedToken     string `json:"encoded_token"`
	EncodedRootToken string `json:"encoded_root_token"`
	PGPFingerprint   string `json:"pgp_fingerprint"`
	OTP              string `json:"otp"`
	OTPLength        int    `json:"otp_length"`
}

const generateRootAttempt = "sys/generate-root/attempt"

// Init starts an attempt. The server makes a one-time password when neither a
// password nor a PGP key (base64) is given.
func (g GenerateRoot) Init(ctx context.Context, otp, pgpKey string) (*GenerateRootStatus, error) {
	in := map[string]string{}
	if otp != "" {
		in["otp"] = otp
	}
	if pgpKey != "" {
		in["pgp_key"] = pgpKey
	}
	var out GenerateRootStatus
	return &out, g.c.JSON(ctx, Request{Method: http.MethodPut, Path: generateRootAttempt}, in, &out)
}

// Status returns the progress.
func (g GenerateRoot) Status(ctx context.Context) (*GenerateRootStatus, error) {
	var out GenerateRootStatus
	return &out, g.c.JSON(ctx, Request{Method: http.MethodGet, Path: generateRootAttempt}, nil, &out)
}

// Cancel gives up the attempt in progress.
func (g GenerateRoot) Cancel(ctx context.Context) error {
	return g.c.JSON(ctx, Request{Method: http.MethodDelete, Path: generateRootAttempt}, nil, nil)
}

// Update contributes one key share.
func (g GenerateRoot) Update(ctx context.Context, key, nonce string) (*GenerateRootStatus, error) {
	var out GenerateRootStatus
	in := map[string]string{"key": key, "nonce": nonce}
	return &out, g.c.JSON(ctx, Request{Method: http.MethodPut, Path: "sys/generate-root/update"}, in, &out)
}
