package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cofferhq/coffer/api"
)

// columnGap separates the columns of a table.
const columnGap = "    "

// table is rows of cells; the first row is the header.
type table [][]string

// newTable starts a table whose second row underlines the header.
func newTable(header ...string) *table {
	t := &table{header, make([]string, len(header))}
	for i, h := range header {
		(*t)[1][i] = strings.Repeat("-", len(h))
	}
	return t
}

// row appends a row; an empty cell reads n/a.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = orNA(c)
	}
	*t = append(*t, cells)
}

func orNA(s string) string {
	if s == "" {
		return "n/a"
	}
	return s
}

// add appends a row of a name and a value.
func (t *table) add(name string, value any) { t.row(name, cell(value)) }

func (t *table) widths() []int {
	var w []int
	for _, row := range *t {
		for i, c := range row {
			if i == len(w) {
				w = append(w, 0)
			}
			w[i] = max(w[i], utf8.RuneCountInString(c))
		}
	}
	return w
}

// headerWidth is the length of the first line as printed.
func (t *table) headerWidth() int {
	w, header := t.widths(), (*t)[0]
	n := utf8.RuneCountInString(header[len(header)-1])
	for i := range header[:len(header)-1] {
		n += w[i] + len(columnGap)
	}
	return n
}

func (t *table) print(w io.Writer) {
	widths := t.widths()
	var b strings.Builder
	for _, row := range *t {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(c)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)) + columnGap)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

// heading prints title between equal signs, about as wide as what follows.
func heading(w io.Writer, title string, width int) {
	signs := strings.Repeat("=", max((width-len(title)-2)/2, 2))
	fmt.Fprintf(w, "%s %s %s\n", signs, title, signs)
}

// cell formats a value for a table.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "<nil>"
	case string:
		return v
	case json.Number:
		return v.String()
	case map[string]any:
		keys := sortedKeys(v)
		for i, k := range keys {
			keys[i] = k + ":" + cell(v[k])
		}
		return "map[" + strings.Join(keys, " ") + "]"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = cell(e)
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	return fmt.Sprint(v)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// secretTable lays out an answer: the lease, the token, the wrapping, the data.
func secretTable(s *api.Secret, data map[string]any) *table {
	t := newTable("Key", "Value")
	if s.LeaseDuration > 0 {
		if s.LeaseID != "" {
			t.add("lease_id", s.LeaseID)
			t.add("lease_duration", seconds(s.LeaseDuration))
			t.add("lease_renewable", s.Renewable)
		} else {
			// Data that nobody can revoke: the time is advice on when to read again.
			t.add("refresh_interval", seconds(s.LeaseDuration))
		}
	}
	if s.Auth != nil {
		addAuth(t, s.Auth)
	}
	if w := s.WrapInfo; w != nil {
		t.add("wrapping_token:", w.Token)
		t.add("wrapping_accessor:", w.Accessor)
		t.add("wrapping_token_ttl:", seconds(w.TTL))
		t.add("wrapping_token_creation_time:", w.CreationTime.String())
		t.add("wrapping_token_creation_path:", w.CreationPath)
		if w.WrappedAccessor != "" {
			t.add("wrapped_accessor:", w.WrappedAccessor)
		}
	}
	for _, k := range sortedKeys(data) {
		t.add(k, humanTTL(k, data[k]))
	}
	return t
}

func addAuth(t *table, a *api.Auth) {
	t.add("token", a.ClientToken)
	t.add("token_accessor", a.Accessor)
	if a.LeaseDuration == 0 {
		t.add("token_duration", "∞")
	} else {
		t.add("token_duration", seconds(a.LeaseDuration))
	}
	t.add("token_renewable", a.Renewable)
	t.add("token_policies", fmt.Sprintf("%q", nonNil(a.TokenPolicies)))
	t.add("identity_policies", fmt.Sprintf("%q", nonNil(a.IdentityPolicies)))
	t.add("policies", fmt.Sprintf("%q", nonNil(a.Policies)))
	for _, k := range sortedKeys(a.Metadata) {
		t.add("token_meta_"+k, a.Metadata[k])
	}
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// humanTTL turns the seconds in a field whose name says that it is a time to
// live into a duration.
func humanTTL(name string, v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	for _, word := range []string{"period", "ttl", "duration"} {
		if name == word || strings.HasSuffix(name, "_"+word) {
			if i, err := n.Int64(); err == nil {
				return seconds(i)
			}
		}
	}
	if name == "lease_max" || name == "ttl_max" {
		if i, err := n.Int64(); err == nil {
			return seconds(i)
		}
	}
	return v
}

// seconds prints a number of seconds as a duration without zero parts at its
// end: 768h, 1m30s.
func seconds[N int | int64](n N) string {
	s := (time.Duration(n) * time.Second).String()
	if n == 0 {
		return s
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
