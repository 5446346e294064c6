package config

import (
	"maps"
	"slices"
	"time"
)

// Storage says where the server keeps its data.
type Storage struct {
	Pos Pos
	// Type is the name used in the file: raft, file or inmem.
	Type string
	// Raft holds the settings of the durable store; nil for one in memory. The
	// type file is served by the same store.
	Raft *RaftStorage
}

// RaftStorage configures the durable store.
type RaftStorage struct {
	Path                  string
	NodeID                string
	PerformanceMultiplier int
	MaxEntrySize          int64
	MaxTransactionSize    int64
	SnapshotThreshold     int
	SnapshotInterval      time.Duration
	TrailingLogs          int
	NonVoter              bool
	RedundancyZone        string
	UpgradeVersion        string
	Joins                 []RetryJoin
}

// RetryJoin names a node, or a way to find nodes, whose cluster to join.
type RetryJoin struct {
	Pos            Pos
	LeaderAPIAddr  string
	AutoJoin       string
	AutoJoinScheme string
	AutoJoinPort   int
	TLS            JoinTLS
}

// JoinTLS is how a joining node trusts and identifies itself to the leader.
// Each credential is given as a file or as its PEM content.
type JoinTLS struct {
	ServerName     string
	CACertFile     string
	CACert         string
	ClientCertFile string
	ClientCert     string
	ClientKeyFile  string
	ClientKey      Secret
}

func (d *decoder) storage(label string, at Pos, body node) {
	if before := d.cfg.Storage; before.Type != "" {
		d.errorf(at, "storage is already configured at %s; keep one storage block", before.Pos)
		return
	}
	d.cfg.Storage = Storage{Pos: at, Type: label}
	switch label {
	case "raft":
		d.cfg.Storage.Raft = d.raft(body)
	case "file":
		d.cfg.Storage.Raft = d.fileStorage(at, body)
	case "inmem", "inmem_ha", "inmem_transactional", "inmem_transactional_ha":
		d.cfg.Storage.Type = "inmem"
		d.object(`storage "`+label+`"`, body, keys{
			"max_value_size": ignored("requests are limited by the listener"),
			"max_parallel":   ignored("the store bounds its own concurrency"),
		})
	default:
		d.errorf(at, "storage type %q is not supported; use raft, file or inmem", clip(label))
	}
}

func (d *decoder) raft(body node) *RaftStorage {
	r := &RaftStorage{}
	known := keys{
		"path":                                     text(&r.Path),
		"node_id":                                  text(&r.NodeID),
		"performance_multiplier":                   integer(&r.PerformanceMultiplier),
		"max_entry_size":                           size(&r.MaxEntrySize),
		"max_transaction_size":                     size(&r.MaxTransactionSize),
		"snapshot_threshold":                       integer(&r.SnapshotThreshold),
		"snapshot_interval":                        duration(&r.SnapshotInterval),
		"trailing_logs":                            integer(&r.TrailingLogs),
		"retry_join_as_non_voter":                  flag(&r.NonVoter),
		"autopilot_redundancy_zone":                text(&r.RedundancyZone),
		"retry_join":                               block(func(d *decoder, at Pos, body node) { r.Joins = append(r.Joins, d.retryJoin(at, body)) }),
		"autopilot_upgrade_version":                text(&r.UpgradeVersion),
		"autopilot_update_interval":                ignored("cluster health is watched continuously"),
		"autopilot_reconcile_interval":             ignored("cluster health is watched continuously"),
		"raft_log_verifier_enabled":                ignored("log entries carry checksums in every case"),
		"raft_log_verification_interval":           ignored("log entries carry checksums in every case"),
		"raft_wal":                                 ignored("the log is always a write-ahead log"),
		"max_mount_and_namespace_table_entry_size": ignored("mounts and namespaces are rows of their own"),
		"max_parallel":                             ignored("the store bounds its own concurrency"),
		"disable_fsync":                            refused("an acknowledged write must be on disk"),
	}
	d.object(`storage "raft"`, body, known)
	return r
}

func (d *decoder) fileStorage(at Pos, body node) *RaftStorage {
	r := &RaftStorage{NodeID: "node1"}
	d.object(`storage "file"`, body, keys{"path": text(&r.Path)})
	d.notef(at, `storage "file" is kept by the raft store in the same directory; data written by another product is not read`)
	return r
}

func (d *decoder) retryJoin(at Pos, body node) RetryJoin {
	j := RetryJoin{Pos: at}
	d.object("retry_join", body, keys{
		"leader_api_addr":         text(&j.LeaderAPIAddr),
		"auto_join":               text(&j.AutoJoin),
		"auto_join_scheme":        choice(&j.AutoJoinScheme, "http", "https"),
		"auto_join_port":          integer(&j.AutoJoinPort),
		"leader_tls_servername":   text(&j.TLS.ServerName),
		"leader_ca_cert_file":     text(&j.TLS.CACertFile),
		"leader_ca_cert":          text(&j.TLS.CACert),
		"leader_client_cert_file": text(&j.TLS.ClientCertFile),
		"leader_client_cert":      text(&j.TLS.ClientCert),
		"leader_client_key_file":  text(&j.TLS.ClientKeyFile),
		"leader_client_key":       secret(&j.TLS.ClientKey),
	})
	return j
}

// Seal is one way of protecting the root key.
type Seal struct {
	Pos      Pos
	Type     string
	Name     string
	Priority int
	Disabled bool
	// Parameters are the settings of the seal's type.
	Parameters map[string]Secret
}

func (d *decoder) seal(label string, at Pos, body node) {
	s := Seal{Pos: at, Type: label, Name: label, Priority: 1, Parameters: map[string]Secret{}}
	known := mapKeys(body, func(d *decoder, f field) {
		if value, _, ok := d.scalar(f.key, f.value); ok {
			s.Parameters[f.key] = Secret(value)
		}
	})
	maps.Copy(known, keys{
		"name":     text(&s.Name),
		"priority": integer(&s.Priority),
		"disabled": flag(&s.Disabled),
	})
	d.object(`seal "`+clip(label)+`"`, body, known)
	d.cfg.Seals = append(d.cfg.Seals, s)
}

// supportedSeals lists the seal types that a server can use.
func supportedSeals() []string { return []string{"shamir"} }

func (s Seal) supported() bool { return slices.Contains(supportedSeals(), s.Type) }

// ActiveSeals returns the enabled seals, of which there is always one: Shamir
// shares when the configuration names none.
func (c *Config) ActiveSeals() []Seal {
	var active []Seal
	for _, s := range c.Seals {
		if !s.Disabled {
			active = append(active, s)
		}
	}
	if len(active) == 0 {
		active = []Seal{{Type: "shamir", Name: "shamir", Priority: 1}}
	}
	slices.SortStableFunc(active, func(a, b Seal) int { return a.Priority - b.Priority })
	return active
}
