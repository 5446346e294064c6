package raft

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/fault"
)

const (
	// maxPack and maxPackBytes bound the transactions in one log entry. Only a
	// single large transaction makes a larger entry.
	maxPack      = 1024
	maxPackBytes = 1 << 20
	// pipelined is how many log entries may be under way: one is being
	// written while the one before it is applied.
	pipelined = 2
)

// proposal is a transaction that waits for its verdict.
type proposal struct {
	encoded []byte
	verdict verdict
	err     error
	done    chan struct{} // closed once verdict and err are set
}

// entryInFlight is a log entry with the proposals that are in it.
type entryInFlight struct {
	future    raft.ApplyFuture
	proposals []*proposal
	began     time.Time
}

// propose packs waiting proposals into log entries until the store stops. As
// long as the pipeline is full, proposals gather.
func (s *Store) propose() {
	defer close(s.inFlight)
	for {
		var first *proposal
		select {
		case first = <-s.proposals:
		case <-s.stopped:
			s.refuseWaiting()
			return
		}
		pack := []*proposal{first}
		size := len(first.encoded)
	gather:
		for len(pack) < maxPack && size < maxPackBytes {
			select {
			case p := <-s.proposals:
				pack = append(pack, p)
				size += len(p.encoded)
			default:
				break gather
			}
		}
		entry := newEntry(size + 8*len(pack) + 1)
		for _, p := range pack {
			entry = appendTransaction(entry, p.encoded)
		}
		s.inFlight <- entryInFlight{s.raft.Apply(entry, 0), pack, s.config.Clock.Now()}
	}
}

// refuseWaiting answers everything that is queued and will not be proposed.
func (s *Store) refuseWaiting() {
	for {
		select {
		case p := <-s.proposals:
			p.err = s.usable()
			close(p.done)
		default:
			return
		}
	}
}

// settle hands verdicts to the transactions that wait for them.
func (s *Store) settle() {
	defer close(s.settled)
	for e := range s.inFlight {
		err := e.future.Error()
		var verdicts []verdict
		if err == nil {
			switch answer := e.future.Response().(type) {
			case []verdict:
				verdicts = answer
			case error:
				err = answer
			}
			if err == nil && len(verdicts) != len(e.proposals) {
				err = fmt.Errorf("log entry was answered with %d verdicts for %d transactions", len(verdicts), len(e.proposals))
			}
		}
		if err == nil {
			s.commits.add(1, s.config.Clock.Now().Sub(e.began))
		}
		err = s.explain(err)
		for i, p := range e.proposals {
			if p.err = err; err == nil {
				p.verdict = verdicts[i]
			}
			close(p.done)
		}
	}
}

// explain turns raft's errors into faults.
func (s *Store) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case s.usable() != nil:
		return s.usable()
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fault.Wrap(fault.Standby, err, notLeader) // surely not in the log
	}
	return fault.Wrap(fault.Unavailable, err, "the storage could not commit; the outcome of the write is unknown")
}
