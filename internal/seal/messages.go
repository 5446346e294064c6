package seal

import (
	"log/slog"
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

// InitStatus says whether there is anything to unseal.
type InitStatus struct {
	Initialized bool `json:"initialized"`
}

// InitRequest asks for a new cluster.
type InitRequest struct {
	Shares            int      `json:"secret_shares" doc:"Number of shares to divide the unseal key into."`
	Threshold         int      `json:"secret_threshold" doc:"Number of shares needed to unseal."`
	PGPKeys           []string `json:"pgp_keys" doc:"Public keys, one for each share, to encrypt the shares with."`
	RootTokenPGPKey   string   `json:"root_token_pgp_key" doc:"Public key to encrypt the root token with."`
	StoredShares      int      `json:"stored_shares" deprecated:"true" doc:"Has no effect."`
	RecoveryShares    int      `json:"recovery_shares" doc:"Only for seals in a key management service."`
	RecoveryThreshold int      `json:"recovery_threshold" doc:"Only for seals in a key management service."`
	RecoveryPGPKeys   []string `json:"recovery_pgp_keys" doc:"Only for seals in a key management service."`
}

// Keys are shares as a client gets them: hexadecimal and base64.
type Keys struct {
	Keys       []string `json:"keys"`
	KeysBase64 []string `json:"keys_base64"`
}

// String hides the shares, also those in the results that embed Keys.
func (Keys) String() string { return "[redacted shares]" }

// GoString hides the shares.
func (Keys) GoString() string { return "[redacted shares]" }

// LogValue hides the shares.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// InitResult holds the shares and the root token. It is shown once and stored
// nowhere.
type InitResult struct {
	Keys
	RootToken string `json:"root_token"`
}

// Status describes the seal and the progress of unsealing it.
type Status struct {
	Type         string `json:"type"`
	Initialized  bool   `json:"initialized"`
	Sealed       bool   `json:"sealed"`
	Threshold    int    `json:"t"`
	Shares       int    `json:"n"`
	Progress     int    `json:"progress"`
	Nonce        string `json:"nonce"`
	Version      string `json:"version"`
	CommitDate   string `json:"commit_date"`
	Migration    bool   `json:"migration"`
	ClusterName  string `json:"cluster_name,omitempty"`
	ClusterID    string `json:"cluster_id,omitempty"`
	RecoverySeal bool   `json:"recovery_seal"`
	StorageType  string `json:"storage_type"`
}

// UnsealRequest gives one share, or resets the progress.
type UnsealRequest struct {
	Key     wire.Secret `json:"key" sensitive:"true" doc:"A share, hexadecimal or base64."`
	Reset   bool        `json:"reset" doc:"Forget the shares given so far."`
	Migrate bool        `json:"migrate" doc:"Has no effect without a seal to migrate from."`
}

// RekeyRequest asks for new shares.
type RekeyRequest struct {
	Shares              int      `json:"secret_shares" doc:"Number of shares to divide the new unseal key into."`
	Threshold           int      `json:"secret_threshold" doc:"Number of shares needed to unseal."`
	StoredShares        int      `json:"stored_shares" deprecated:"true" doc:"Has no effect."`
	PGPKeys             []string `json:"pgp_keys" doc:"Public keys, one for each share, to encrypt the shares with."`
	Backup              bool     `json:"backup" doc:"Keep the encrypted shares in storage until they are deleted."`
	RequireVerification bool     `json:"require_verification" doc:"Change nothing before the new shares were shown to work."`
}

// RekeyStatus is the progress of a rekey.
type RekeyStatus struct {
	Nonce                string   `json:"nonce"`
	Started              bool     `json:"started"`
	Threshold            int      `json:"t"`
	Shares               int      `json:"n"`
	Progress             int      `json:"progress"`
	Required             int      `json:"required"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

// ShareRequest gives one share to a ceremony that was started.
type ShareRequest struct {
	Key   wire.Secret `json:"key" sensitive:"true" doc:"A share, hexadecimal or base64."`
	Nonce string      `json:"nonce" doc:"Nonce of the operation, from its start."`
}

// CancelRequest ends a ceremony.
type CancelRequest struct {
	Nonce string `json:"nonce" doc:"Nonce of the operation; needed without a token."`
}

// RekeyResult holds the new shares. It is shown once.
type RekeyResult struct {
	Complete bool   `json:"complete"`
	Nonce    string `json:"nonce"`
	Keys
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

// VerifyStatus is the progress of showing that the new shares work.
type VerifyStatus struct {
	Nonce     string `json:"nonce"`
	Started   bool   `json:"started"`
	Threshold int    `json:"t"`
	Shares    int    `json:"n"`
	Progress  int    `json:"progress"`
}

// VerifyResult says that the new shares are in force.
type VerifyResult struct {
	Complete bool   `json:"complete"`
	Nonce    string `json:"nonce"`
}

// Backup holds the encrypted shares of the last rekey that asked for it, by
// fingerprint of the key they were encrypted with.
type Backup struct {
	Nonce      string              `json:"nonce"`
	Keys       map[string][]string `json:"keys"`
	KeysBase64 map[string][]string `json:"keys_base64"`
}

// RootTokenRequest starts the generation of a root token.
type RootTokenRequest struct {
	OTP    wire.Secret `json:"otp" sensitive:"true" doc:"One-time pad of the token's length; made here if absent."`
	PGPKey string      `json:"pgp_key" doc:"Public key to encrypt the token with, instead of a one-time pad."`
}

// RootTokenStatus is the progress of generating a root token, and at its end
// the token: its bytes combined with the one-time pad by exclusive or, or an
// OpenPGP message, in base64.
type RootTokenStatus struct {
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

// String hides the token and its pad.
func (RootTokenStatus) String() string { return "[redacted root token]" }

// GoString hides the token and its pad.
func (RootTokenStatus) GoString() string { return "[redacted root token]" }

// LogValue hides the token and its pad.
func (s RootTokenStatus) LogValue() slog.Value { return slog.StringValue(s.String()) }

// KeyStatus describes the data key that encrypts now.
type KeyStatus struct {
	Term        uint32    `json:"term"`
	InstallTime time.Time `json:"install_time"`
	Encryptions uint64    `json:"encryptions"`
}

// RotationRequest changes when the data key rotates by itself.
type RotationRequest struct {
	Enabled       wire.Opt[bool]          `json:"enabled" doc:"Whether the data key rotates by itself."`
	MaxOperations wire.Opt[int64]         `json:"max_operations" doc:"Number of encryptions after which it does."`
	Interval      wire.Opt[wire.Duration] `json:"interval" doc:"Age after which it does; 0 is never."`
}

// RotationSettings say when the data key rotates by itself.
type RotationSettings struct {
	Enabled       bool     `json:"enabled"`
	MaxOperations uint64   `json:"max_operations"`
	Interval      interval `json:"interval"`
}
