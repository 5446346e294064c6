package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// JoinRequest has a node join the cluster of another. See [Client.Join].
type JoinRequest struct {
	LeaderAPIAddr string `json:"leader_api_addr,omitempty"`
	// CACert, ClientCert and ClientKey are PEM.
	CACert         string `json:"leader_ca_cert,omitempty"`
	ClientCert     string `json:"leader_client_cert,omitempty"`
	ClientKey      string `json:"leader_client_key,omitempty"`
	ServerName     string `json:"leader_tls_servername,omitempty"`
	AutoJoin       string `json:"auto_join,omitempty"`
	AutoJoinScheme string `json:"auto_join_scheme,omitempty"`
	AutoJoinPort   uint   `json:"auto_join_port,omitempty"`
	Retry          bool   `json:"retry,omitempty"`
	NonVoter       bool   `json:"non_voter,omitempty"`
}

// Join has the node that is asked join a cluster. With key shares it joins when
// it is unsealed with that cluster's. It needs no token.
func (c *Client) Join(ctx context.Context, r JoinRequest) (joined bool, err error) {
	var answer struct {
		Joined bool `json:"joined"`
	}
	err = c.public(ctx, http.MethodPost, "sys/storage/raft/join", r, &answer)
	return answer.Joined, err
}

// SaveSnapshot writes a snapshot of the cluster to w while it checks it. What was
// written is of use only if there is no error.
func (c *Client) SaveSnapshot(ctx context.Context, w io.Writer) (*SnapshotInfo, error) {
	res, err := c.Do(ctx, &Request{Method: http.MethodGet, Path: "sys/storage/raft/snapshot", Stream: true})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	from := io.TeeReader(res.Body, w)
	info, err := InspectSnapshot(from)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, from)
	return info, err
}

// RestoreSnapshot makes a snapshot the cluster's state. With force it may be of
// another cluster, or from before other unseal keys. It is sent once; the leader
// must be asked.
func (c *Client) RestoreSnapshot(ctx context.Context, r io.Reader, force bool) error {
	path := "sys/storage/raft/snapshot"
	if force {
		path += "-force"
	}
	res, err := c.Do(ctx, &Request{
		Method: http.MethodPost, Path: path, Stream: true, Upload: r, Header: http.Header{"Content-Type": {"application/gzip"}},
	})
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// SnapshotInfo describes a snapshot.
type SnapshotInfo struct {
	ID      string    `json:"ID"`
	Version int       `json:"Version"`
	Index   uint64    `json:"Index"`
	Term    uint64    `json:"Term"`
	Commit  uint64    `json:"Commit"`
	Taken   time.Time `json:"Taken"`
	Cluster string    `json:"Cluster"`
	Server  string    `json:"Server"`
	Size    int64     `json:"Size"` // of the rows, in bytes
}

// ErrSnapshot is why a file is no whole snapshot.
var ErrSnapshot = errors.New("this is no whole snapshot")

// InspectSnapshot reads a whole snapshot, checks its sums and returns what it
// tells of itself.
func InspectSnapshot(r io.Reader) (*SnapshotInfo, error) {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not compressed by gzip", ErrSnapshot)
	}
	info := &SnapshotInfo{}
	var expected, sums bytes.Buffer
	files := tar.NewReader(zipped)
	for _, want := range []string{"meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"} {
		h, err := files.Next()
		if err != nil || h.Name != want {
			return nil, fmt.Errorf("%w: %s is missing, as after a download that broke off", ErrSnapshot, want)
		}
		sum := sha256.New()
		from := io.TeeReader(files, sum)
		switch want {
		case "meta.json":
			err = json.NewDecoder(io.LimitReader(from, maxSmall)).Decode(info)
		case "SHA256SUMS":
			_, err = io.Copy(&sums, io.LimitReader(from, maxSmall))
		}
		if err == nil {
			_, err = io.Copy(io.Discard, from)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s cannot be read: %w", ErrSnapshot, want, err)
		}
		if want == "meta.json" || want == "state.bin" {
			fmt.Fprintf(&expected, "%s  %s\n", hex.EncodeToString(sum.Sum(nil)), want)
		}
	}
	if !bytes.Equal(expected.Bytes(), sums.Bytes()) {
		return nil, fmt.Errorf("%w: its checksums do not fit", ErrSnapshot)
	}
	return info, nil
}

// maxSmall bounds the small files of a snapshot, in bytes.
const maxSmall = 1 << 20
