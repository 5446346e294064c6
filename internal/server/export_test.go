package server

import "github.com/cofferhq/coffer/internal/store/raft"

// Raft returns the replicated store of a server.
func Raft(s *Server) *raft.Store { return s.raft }
