package faults_test

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// latencies collects how long answers took.
type latencies struct {
	mu   sync.Mutex
	took []time.Duration // guarded by mu
}

func (l *latencies) add(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, a.Took)
}

// quantile returns the time within which a share q of the answers came.
func (l *latencies) quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took) == 0 {
		return 0
	}
	slices.Sort(l.took)
	return l.took[min(int(q*float64(len(l.took))), len(l.took)-1)]
}

// String shows the usual quantiles.
func (l *latencies) String() string {
	return fmt.Sprintf("%d answers, half of them within %v, 99 %% within %v, all within %v", len(l.took), l.quantile(0.5), l.quantile(0.99), l.quantile(1))
}
