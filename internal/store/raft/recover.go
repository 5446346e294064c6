package raft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/raft"
)

// recoverFile is where an operator says that this node alone is the cluster
// from now on, because the majority is lost: a JSON list with one element, as in
// [{"id": "n1"}]. Tools for raft clusters know it by this name.
const recoverFile = "peers.json"

// recoverAlone makes this node the only member if the operator wants it, by an
// entry at the end of its log. What is in the log before it counts as committed
// from then on, also what a majority had not confirmed.
//
// Only one node can be left over: two would each append an entry of their own,
// and their logs may differ before it. The others join anew, with empty
// directories.
func (s *Store) recoverAlone() error {
	path := s.config.FS.PathJoin(s.config.Path, recoverFile)
	text, err := readWhole(s.config.FS, path) // written by hand, without a checksum
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.checkAlone(text); err != nil {
		return fmt.Errorf("%s: %w; correct the file or remove it", path, err)
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return err
	}
	term, err := s.log.GetUint64(keyTerm)
	if err != nil {
		return err
	}
	last = max(last, s.state.position().log)
	if last == 0 {
		return fmt.Errorf("%s: this node has no data, so there is nothing to recover; remove the file and let the node join", path)
	}
	alone := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: s.nodeID, Address: raft.ServerAddress(s.config.Address)}}}
	entry := &raft.Log{Index: last + 1, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(alone)}
	if err := s.log.StoreLog(entry); err != nil {
		return err
	}
	// Were it done twice, nothing would be different.
	if err := s.config.FS.Remove(path); err != nil {
		return fmt.Errorf("removing %s, which has been carried out: %w", path, err)
	}
	s.config.Logger.Warn("this node is the whole cluster from now on, as "+recoverFile+" wants it; empty the directories of the others before they start again", "node", s.nodeID)
	return syncDir(s.config.FS, s.config.Path)
}

// checkAlone wants this node, and no other, in the file.
func (s *Store) checkAlone(text []byte) error {
	var peers []struct {
		ID       string `json:"id"`
		NonVoter bool   `json:"non_voter"`
	}
	if err := json.Unmarshal(text, &peers); err != nil {
		return errors.New(`it is no list of nodes, as in [{"id": "n1"}]`)
	}
	switch {
	case s.config.Network == nil:
		return errors.New("this node is configured to be alone anyway")
	case len(peers) != 1:
		return errors.New("it must name this node alone: the others join it again, with empty directories")
	case peers[0].ID != string(s.nodeID):
		return fmt.Errorf("it names node %q, and this is %q", peers[0].ID, s.nodeID)
	case peers[0].NonVoter:
		return errors.New("a node that is alone must vote")
	}
	return nil
}
