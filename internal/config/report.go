package config

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Status is the outcome of one check.
type Status string

// The outcomes of a check, from best to worst. A skipped check depends on one
// that failed, or does not apply.
const (
	StatusOK      Status = "ok"
	StatusSkipped Status = "skipped"
	StatusWarn    Status = "warn"
	StatusFail    Status = "fail"
)

// Check is one question that was asked of the configuration or the system.
type Check struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Message string `json:"message,omitempty"`
	// Advice says what to do about a warning or a failure.
	Advice string `json:"advice,omitempty"`
}

// Report is the outcome of [Diagnose], in the order the checks were made.
type Report struct {
	Checks []Check `json:"checks"`
}

// Status returns the worst status of the report's checks.
func (r *Report) Status() Status {
	worst := StatusOK
	for _, c := range r.Checks {
		switch {
		case c.Status == StatusFail:
			return StatusFail
		case c.Status == StatusWarn:
			worst = StatusWarn
		}
	}
	return worst
}

// WriteText prints the report for people, one check a line with its advice
// below.
func (r *Report) WriteText(w io.Writer) error {
	marks := map[Status]string{StatusOK: "[  ok  ]", StatusSkipped: "[ skip ]", StatusWarn: "[ warn ]", StatusFail: "[ fail ]"}
	var b strings.Builder
	for _, c := range r.Checks {
		b.WriteString(marks[c.Status] + " " + c.Name)
		if c.Message != "" {
			b.WriteString(": " + indented(c.Message))
		}
		b.WriteByte('\n')
		if c.Advice != "" {
			b.WriteString("         -> " + indented(c.Advice) + "\n")
		}
	}
	fmt.Fprintf(&b, "\n%d checks: %d failed, %d with warnings\n", len(r.Checks), r.count(StatusFail), r.count(StatusWarn))
	_, err := io.WriteString(w, b.String())
	return err
}

// indented aligns the further lines of a text with the first.
func indented(text string) string {
	return strings.ReplaceAll(text, "\n", "\n           ")
}

// WriteJSON prints the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Status Status  `json:"status"`
		Checks []Check `json:"checks"`
	}{r.Status(), r.Checks})
}

func (r *Report) count(s Status) int {
	n := 0
	for _, c := range r.Checks {
		if c.Status == s {
			n++
		}
	}
	return n
}

func (r *Report) ok(name, format string, args ...any) {
	r.add(name, StatusOK, fmt.Sprintf(format, args...), "")
}

func (r *Report) skip(name, why string) { r.add(name, StatusSkipped, why, "") }

func (r *Report) warn(name, message, advice string) { r.add(name, StatusWarn, message, advice) }

func (r *Report) fail(name, message, advice string) { r.add(name, StatusFail, message, advice) }

func (r *Report) add(name string, status Status, message, advice string) {
	r.Checks = append(r.Checks, Check{Name: name, Status: status, Message: message, Advice: advice})
}
