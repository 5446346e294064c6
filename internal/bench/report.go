package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what a workload has shown: medians over its rounds, except where it
// says otherwise.
type Result struct {
	Workload string `json:"workload"`
	Clients  int    `json:"clients"`
	Rounds   int    `json:"rounds"`
	// Requests is the number of successes in all rounds together.
	Requests int64 `json:"requests"`
	// Errors is the number of answers that were none, in all rounds together,
	// and Error the first of them.
	Errors int64  `json:"errors"`
	Error  string `json:"error,omitempty"`
	// PerSecond is the rate of successes.
	PerSecond float64 `json:"requests_per_second"`
	// P50, P99 and Max are latencies; Max is the worst of all rounds.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
	// CPU is the server's CPU time per request, Resident its resident memory
	// after the last round, in bytes; both are zero if its process is not known.
	CPU      time.Duration `json:"cpu_per_request_ns,omitempty"`
	Resident int64         `json:"resident_bytes,omitempty"`
	// Skipped says why nothing was measured.
	Skipped string `json:"skipped,omitempty"`
}

func (r *Result) summarize(rounds []round) {
	r.PerSecond = median(rounds, func(m round) float64 { return float64(len(m.sorted)) / m.took.Seconds() })
	r.P50 = median(rounds, func(m round) time.Duration { return quantile(m.sorted, 0.5) })
	r.P99 = median(rounds, func(m round) time.Duration { return quantile(m.sorted, 0.99) })
	r.CPU = median(rounds, func(m round) time.Duration {
		return m.cpu / time.Duration(max(int64(len(m.sorted))+m.failures, 1))
	})
	for _, m := range rounds {
		r.Requests += int64(len(m.sorted))
		r.Errors += m.failures
		r.Error = cmp.Or(r.Error, m.failure)
		r.Max = max(r.Max, quantile(m.sorted, 1))
		r.Resident = m.resident
	}
}

func median[T cmp.Ordered](rounds []round, of func(round) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// quantile is the time within which a share q of the answers came.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// WriteText writes results as a table for people.
func WriteText(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "workload\trequests/s\tp50\tp99\tmax\tCPU/request\tresident\terrors\t")
	var notes strings.Builder
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(&notes, "%s was left out: %s\n", r.Workload, r.Skipped)
			continue
		}
		cpu, resident := "-", "-"
		if r.Resident > 0 {
			cpu = fmt.Sprintf("%.0f us", float64(r.CPU)/float64(time.Microsecond))
			resident = fmt.Sprintf("%.1f MB", float64(r.Resident)/1e6)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%d\t\n", r.Workload, r.PerSecond, milliseconds(r.P50), milliseconds(r.P99), milliseconds(r.Max), cpu, resident, r.Errors)
		if r.Errors > 0 {
			fmt.Fprintf(&notes, "%s: first error: %s\n", r.Workload, r.Error)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, notes.String())
	return err
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// WriteJSON writes results as an array of objects, durations in nanoseconds.
func WriteJSON(w io.Writer, results []Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(results)
}

// WriteGo writes results in the format of Go benchmarks, which benchstat
// compares: https://go.dev/design/14313-benchmark-format. Time per operation is
// the inverse of the rate over all clients.
func WriteGo(w io.Writer, results []Result) error {
	if _, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: coffer/bench\n", runtime.GOOS, runtime.GOARCH); err != nil {
		return err
	}
	for _, r := range results {
		if r.Skipped != "" || r.PerSecond == 0 {
			continue
		}
		line := fmt.Sprintf("BenchmarkServer/%s/clients=%d-%d\t%d\t%.0f ns/op\t%.1f req/s\t%d p50-ns\t%d p99-ns", r.Workload, r.Clients,
			runtime.GOMAXPROCS(0), r.Requests, 1e9/r.PerSecond, r.PerSecond, r.P50.Nanoseconds(), r.P99.Nanoseconds())
		if r.Resident > 0 {
			line += fmt.Sprintf("\t%d cpu-ns/op\t%d resident-B", r.CPU.Nanoseconds(), r.Resident)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
