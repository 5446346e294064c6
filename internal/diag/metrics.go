package diag

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cofferhq/coffer/internal/route"
)

// Gauge is a number that is read when the metrics are shown.
type Gauge struct {
	// Name has dots, as Vault's do; the prefix goes before it:
	// "core.unsealed" is vault_core_unsealed to Prometheus.
	Name string
	Help string
	// Read returns the number, or false if there is none at the moment. It
	// must be cheap.
	Read func() (float64, bool)
}

// Family is a number for each of a few things, told apart by a label.
type Family struct {
	Name, Help, Label string
	// Read returns the numbers by the label's value. It must be cheap.
	Read func() map[string]float64
}

// MetricsConfig is what [Metrics] are made of.
type MetricsConfig struct {
	// Prefix begins the names of gauges, "vault" if it is "": dashboards made
	// for Vault know them by that.
	Prefix string
	Gauges []Gauge
	// Families are gauges with a label.
	Families []Family
}

// Metrics are this node's. A nil *Metrics counts nothing.
type Metrics struct {
	registry *prometheus.Registry
	dotted   map[string]string // Prometheus' names of gauges to ours
	requests *prometheus.HistogramVec
	handled  prometheus.Summary

	mu     sync.Mutex // serialises additions to series
	series atomic.Pointer[map[seriesKey]prometheus.Observer]
}

// seriesKey tells requests apart that are counted apart.
type seriesKey struct {
	mountType, operation string
	class                int // of the status: 2 is 2xx
}

// maxSeries bounds what is counted apart; the rest is counted together. With
// the engines, methods and verbs that exist it is not reached.
const maxSeries = 1024

var otherSeries = seriesKey{mountType: "other", operation: "other"}

// requestBuckets are in seconds: from a read out of memory to a login that
// waits for a directory.
var requestBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewMetrics returns metrics of the process, of requests, and the given gauges.
func NewMetrics(c MetricsConfig) (*Metrics, error) {
	prefix := cmp.Or(c.Prefix, "vault")
	m := &Metrics{registry: prometheus.NewRegistry(), dotted: map[string]string{}}
	m.series.Store(&map[seriesKey]prometheus.Observer{})
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "coffer_request_duration_seconds", Help: "Time to answer requests, by type of mount, operation and class of status.", Buckets: requestBuckets,
	}, []string{"mount_type", "operation", "status"})
	name := prefix + ".core.handle_request"
	m.handled = prometheus.NewSummary(prometheus.SummaryOpts{Name: m.name(name), Help: "Time to answer requests, in milliseconds."})
	all := []prometheus.Collector{m.requests, m.handled, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	for _, g := range append(runtimeGauges(), c.Gauges...) {
		all = append(all, gauge{prometheus.NewDesc(m.name(prefix+"."+g.Name), g.Help, nil, nil), g.Read})
	}
	for _, f := range c.Families {
		all = append(all, family{prometheus.NewDesc(m.name(prefix+"."+f.Name), f.Help, []string{f.Label}, nil), f.Read})
	}
	for _, collector := range all {
		if err := m.registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return m, nil
}

// name returns Prometheus' name for a dotted one.
func (m *Metrics) name(dotted string) string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == ' ' {
			return '_'
		}
		return r
	}, dotted)
	m.dotted[name] = dotted
	return name
}

// Observe counts an answered request. The type of mount and the operation must
// be from small fixed sets, never what a client wrote. It does not allocate
// but for the first request of its sort.
func (m *Metrics) Observe(mountType, operation string, status int, d time.Duration) {
	if m == nil {
		return
	}
	k := seriesKey{mountType, operation, status / 100}
	o, ok := (*m.series.Load())[k]
	if !ok {
		o = m.add(k)
	}
	o.Observe(d.Seconds())
	m.handled.Observe(float64(d) / float64(time.Millisecond))
}

func (m *Metrics) add(k seriesKey) prometheus.Observer {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := *m.series.Load()
	if len(have) >= maxSeries {
		k = otherSeries
	}
	if o, ok := have[k]; ok {
		return o
	}
	o := m.requests.WithLabelValues(k.mountType, k.operation, fmt.Sprintf("%dxx", k.class))
	more := maps.Clone(have)
	more[k] = o
	m.series.Store(&more)
	return o
}

// gauge collects a [Gauge].
type gauge struct {
	desc *prometheus.Desc
	read func() (float64, bool)
}

func (g gauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g gauge) Collect(ch chan<- prometheus.Metric) {
	if v, ok := g.read(); ok {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v)
	}
}

// family collects a [Family].
type family struct {
	desc *prometheus.Desc
	read func() map[string]float64
}

func (f family) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

func (f family) Collect(ch chan<- prometheus.Metric) {
	for label, v := range f.read() {
		ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, v, label)
	}
}

// runtimeGauges are those of Go's runtime that Vault has names for.
func runtimeGauges() []Gauge {
	read := func(sample string) func() (float64, bool) {
		return func() (float64, bool) {
			s := []metrics.Sample{{Name: sample}}
			metrics.Read(s)
			if s[0].Value.Kind() != metrics.KindUint64 {
				return 0, false
			}
			return float64(s[0].Value.Uint64()), true
		}
	}
	return []Gauge{
		{"runtime.num_goroutines", "Goroutines.", read("/sched/goroutines:goroutines")},
		{"runtime.alloc_bytes", "Bytes of live and not yet swept objects.", read("/memory/classes/heap/objects:bytes")},
		{"runtime.heap_objects", "Objects on the heap.", read("/gc/heap/objects:objects")},
		{"runtime.sys_bytes", "Bytes of memory taken from the system.", read("/memory/classes/total:bytes")},
	}
}

type metricsRequest struct {
	Format string `query:"format" doc:"prometheus for Prometheus' text format; JSON if not given."`
}

func (d *Diag) metrics(_ context.Context, _ *route.Call, in metricsRequest) (route.Bytes, error) {
	return d.Metrics.Render(in.Format, d.Clock.Now())
}
