package raft

// NextBatch finds the end of the batch of frames that begins at start.
func NextBatch(segment []byte, start int) (end int, ok bool) {
	one, ok := readBatch(segment, start)
	return one.end, ok
}

// FlushState writes everything applied to the disk.
func FlushState(s *Store) error { return s.state.db.Flush() }
