package policy

// CachedACLs returns how many compiled sets are kept, and how many can be.
func (s *Store) CachedACLs() (kept, limit int) {
	for i := range s.acls.shards {
		sh := &s.acls.shards[i]
		sh.mu.RLock()
		kept += len(sh.entries)
		sh.mu.RUnlock()
	}
	return kept, shards * perShard
}
