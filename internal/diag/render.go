package diag

import (
	"bytes"
	"fmt"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// Render writes the metrics in a format: "" for JSON, "prometheus" for
// Prometheus' text format.
func (m *Metrics) Render(format string, now time.Time) (route.Bytes, error) {
	if format != "" && format != "prometheus" {
		return route.Bytes{}, fault.New(fault.Invalid, `unknown format of metrics; use "prometheus", or none for JSON`)
	}
	families, err := m.registry.Gather()
	if err != nil {
		return route.Bytes{}, fmt.Errorf("gathering metrics: %w", err)
	}
	if format == "prometheus" {
		return text(families)
	}
	return jsonBytes(m.summarise(families, now))
}

func text(families []*dto.MetricFamily) (route.Bytes, error) {
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return route.Bytes{}, fmt.Errorf("writing metrics: %w", err)
		}
	}
	return route.Bytes{ContentType: string(expfmt.NewFormat(expfmt.TypeTextPlain)), Body: b.Bytes()}, nil
}

// summary is the JSON form, with the field names that Vault's has. Numbers are
// since the start of the process, not of an interval.
type summary struct {
	Timestamp string
	Gauges    []gaugeValue
	Points    []gaugeValue
	Counters  []sample
	Samples   []sample
}

type gaugeValue struct {
	Name   string
	Value  float64
	Labels map[string]string
}

type sample struct {
	Name   string
	Count  uint64
	Rate   float64
	Sum    float64
	Min    float64
	Max    float64
	Mean   float64
	Stddev float64
	Labels map[string]string
}

func (m *Metrics) summarise(families []*dto.MetricFamily, now time.Time) summary {
	s := summary{
		Timestamp: now.Format("2006-01-02 15:04:05 -0700 MST"),
		Gauges:    []gaugeValue{}, Points: []gaugeValue{}, Counters: []sample{}, Samples: []sample{},
	}
	for _, f := range families {
		name := f.GetName()
		if dotted, ok := m.dotted[name]; ok {
			name = dotted
		}
		for _, metric := range f.GetMetric() {
			s.add(name, labels(metric), metric)
		}
	}
	return s
}

func (s *summary) add(name string, labels map[string]string, metric *dto.Metric) {
	switch {
	case metric.GetGauge() != nil:
		if v := metric.GetGauge().GetValue(); finite(v) {
			s.Gauges = append(s.Gauges, gaugeValue{name, v, labels})
		}
	case metric.GetCounter() != nil:
		if v := metric.GetCounter().GetValue(); finite(v) {
			s.Counters = append(s.Counters, sample{Name: name, Count: uint64(v), Sum: v, Labels: labels})
		}
	case metric.GetHistogram() != nil:
		h := metric.GetHistogram()
		s.Samples = append(s.Samples, timed(name, h.GetSampleCount(), h.GetSampleSum(), labels))
	case metric.GetSummary() != nil:
		h := metric.GetSummary()
		s.Samples = append(s.Samples, timed(name, h.GetSampleCount(), h.GetSampleSum(), labels))
	}
}

func timed(name string, count uint64, sum float64, labels map[string]string) sample {
	s := sample{Name: name, Count: count, Labels: labels}
	if finite(sum) {
		s.Sum = sum
	}
	if count > 0 {
		s.Mean = s.Sum / float64(count)
	}
	return s
}

// finite reports whether JSON can say the number.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func labels(m *dto.Metric) map[string]string {
	all := make(map[string]string, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		all[l.GetName()] = l.GetValue()
	}
	return all
}
