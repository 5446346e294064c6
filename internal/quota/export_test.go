package quota

// Clients counts the buckets of all rate limits.
func (s *Store) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.limiters {
		n += l.clients.clients()
		if l.others != l.clients {
			n += l.others.clients()
		}
	}
	return n
}

// MaxClients is the most buckets of one rate limit.
const MaxClients = shards * maxClients
