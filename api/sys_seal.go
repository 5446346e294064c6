package api

import (
	"context"
	"net/http"
	"time"
)

// SealStatus says whether the server is initialised and sealed.
type SealStatus struct {
	Type             string   `json:"type"`
	Initialized      bool     `json:"initialized"`
	Sealed           bool     `json:"sealed"`
	T                int      `json:"t"` // shares needed
	N                int      `json:"n"` // shares that exist
	Progress         int      `json:"progress"`
	Nonce            string   `json:"nonce"`
	Version          string   `json:"version"`
	BuildDate        string   `json:"build_date,omitempty"`
	CommitDate       string   `json:"commit_date,omitempty"`
	Migration        bool     `json:"migration"`
	ClusterName      string   `json:"cluster_name,omitempty"`
	ClusterID        string   `json:"cluster_id,omitempty"`
	RecoverySeal     bool     `json:"recovery_seal"`
	RecoverySealType string   `json:"recovery_seal_type,omitempty"`
	StorageType      string   `json:"storage_type,omitempty"`
	Warnings         []string `json:"warnings,omitempty"`
}

// InitRequest says how the root key of a new cluster is to be kept.
type InitRequest struct {
	SecretShares      int      `json:"secret_shares"`
	SecretThreshold   int      `json:"secret_threshold"`
	PGPKeys           []string `json:"pgp_keys,omitempty"` // base64
	RecoveryShares    int      `json:"recovery_shares,omitempty"`
	RecoveryThreshold int      `json:"recovery_threshold,omitempty"`
	RecoveryPGPKeys   []string `json:"recovery_pgp_keys,omitempty"`
	RootTokenPGPKey   string   `json:"root_token_pgp_key,omitempty"`
}

// InitResponse holds the key shares and the root token of a new cluster. They
// are shown once.
type InitResponse struct {
	Keys               []string `json:"keys"` // hexadecimal
	KeysBase64         []string `json:"keys_base64"`
	RecoveryKeys       []string `json:"recovery_keys,omitempty"`
	RecoveryKeysBase64 []string `json:"recovery_keys_base64,omitempty"`
	RootToken          string   `json:"root_token"`
}

// String describes the response without its keys.
func (r *InitResponse) String() string { return "key shares and root token (not shown)" }

// GoString is String, so that %#v shows no key either.
func (r *InitResponse) GoString() string { return r.String() }

// UnsealRequest contributes one key share, or resets the progress.
type UnsealRequest struct {
	Key     string `json:"key,omitempty"`
	Reset   bool   `json:"reset,omitempty"`
	Migrate bool   `json:"migrate,omitempty"`
}

// SealStatus asks whether the server is sealed. It needs no token.
func (c *Client) SealStatus(ctx context.Context) (*SealStatus, error) {
	var s SealStatus
	return &s, c.public(ctx, http.MethodGet, "sys/seal-status", nil, &s)
}

// Initialized asks whether the server was initialised. It needs no token.
func (c *Client) Initialized(ctx context.Context) (bool, error) {
	var out struct{ Initialized bool }
	err := c.public(ctx, http.MethodGet, "sys/init", nil, &out)
	return out.Initialized, err
}

// Init initialises a new cluster.
func (c *Client) Init(ctx context.Context, r InitRequest) (*InitResponse, error) {
	var out InitResponse
	return &out, c.public(ctx, http.MethodPut, "sys/init", r, &out)
}

// Unseal contributes a key share and returns the progress.
func (c *Client) Unseal(ctx context.Context, r UnsealRequest) (*SealStatus, error) {
	var s SealStatus
	return &s, c.public(ctx, http.MethodPut, "sys/unseal", r, &s)
}

// Seal seals the server.
func (c *Client) Seal(ctx context.Context) error {
	return c.JSON(ctx, Request{Method: http.MethodPut, Path: "sys/seal"}, nil, nil)
}

// StepDown makes the active node give up its leadership.
func (c *Client) StepDown(ctx context.Context) error {
	return c.JSON(ctx, Request{Method: http.MethodPut, Path: "sys/step-down"}, nil, nil)
}

// public calls an endpoint of the root namespace that answers without an
// envelope and asks for no token. The client's token is not shown to it, and
// its answer is not wrapped.
func (c *Client) public(ctx context.Context, method, path string, in, out any) error {
	return c.WithNamespace("").WithWrapTTL("").
		JSON(ctx, Request{Method: method, Path: path, Unauthenticated: true}, in, out)
}

// Leader says which node of the cluster is active.
type Leader struct {
	HAEnabled            bool   `json:"ha_enabled"`
	IsSelf               bool   `json:"is_self,omitempty"`
	ActiveTime           string `json:"active_time,omitempty"`
	LeaderAddress        string `json:"leader_address,omitempty"`
	LeaderClusterAddress string `json:"leader_cluster_address,omitempty"`
	PerformanceStandby   bool   `json:"performance_standby,omitempty"`
	RaftCommittedIndex   uint64 `json:"raft_committed_index,omitempty"`
	RaftAppliedIndex     uint64 `json:"raft_applied_index,omitempty"`
}

// Leader asks which node is active. It needs no token.
func (c *Client) Leader(ctx context.Context) (*Leader, error) {
	var l Leader
	return &l, c.public(ctx, http.MethodGet, "sys/leader", nil, &l)
}

// Health is a node's own view of itself.
type Health struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`
	ServerTime  int64  `json:"server_time_utc"` // Unix seconds
	Version     string `json:"version"`
	ClusterName string `json:"cluster_name,omitempty"`
	ClusterID   string `json:"cluster_id,omitempty"`
}

// Health asks a node for its health. A sealed, standby or uninitialised node is
// an answer, not an error. It needs no token.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	var h Health
	// The endpoint reports by its status; these make every state a success.
	r := Request{Method: http.MethodGet, Path: "sys/health", Unauthenticated: true, Query: map[string][]string{
		"standbycode": {"200"}, "perfstandbycode": {"200"}, "drsecondarycode": {"200"},
		"sealedcode": {"200"}, "uninitcode": {"200"},
	}}
	return &h, c.WithNamespace("").JSON(ctx, r, nil, &h)
}

// Node is a member of a cluster.
type Node struct {
	Hostname       string     `json:"hostname"`
	APIAddress     string     `json:"api_address"`
	ClusterAddress string     `json:"cluster_address"`
	ActiveNode     bool       `json:"active_node"`
	LastEcho       *time.Time `json:"last_echo"`
	Version        string     `json:"version"`
}

// Nodes lists the members of the cluster.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	s, err := c.Read(ctx, "sys/ha-status", nil)
	if err != nil {
		return nil, err
	}
	return Field[[]Node](s, "nodes")
}
