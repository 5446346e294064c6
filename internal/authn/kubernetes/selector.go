package kubernetes

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/cofferhq/coffer/internal/fault"
)

// selector is a label selector (meta/v1), as Kubernetes defines it: everything in
// it must hold, and one with nothing in it selects everything.
type selector struct {
	MatchLabels      map[string]string `yaml:"matchLabels"`
	MatchExpressions []requirement     `yaml:"matchExpressions"`
}

type requirement struct {
	Key      string   `yaml:"key"`
	Operator string   `yaml:"operator"`
	Values   []string `yaml:"values"`
}

// maxSelector bounds a selector's text, in bytes.
const maxSelector = 16 << 10

// parseSelector reads a selector in YAML, which JSON is part of. Members that
// are not known are refused: a selector that was misspelt would select
// everything.
func parseSelector(text string) (selector, error) {
	var s selector
	bad := fault.New(fault.Invalid, `bound_service_account_namespace_selector is a label selector in JSON or YAML, such as {"matchLabels": {"team": "a"}}, with the operators In, NotIn, Exists and DoesNotExist`)
	if len(text) > maxSelector {
		return s, bad
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if d.Decode(&s) != nil {
		return s, bad
	}
	for _, r := range s.MatchExpressions {
		withValues := r.Operator == "In" || r.Operator == "NotIn"
		without := r.Operator == "Exists" || r.Operator == "DoesNotExist"
		if r.Key == "" || !withValues && !without || withValues != (len(r.Values) > 0) {
			return s, bad
		}
	}
	if len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
		return s, fault.New(fault.Invalid, `bound_service_account_namespace_selector selects nothing in particular: to allow every namespace, give bound_service_account_namespaces="*"`)
	}
	return s, nil
}

// selects reports whether labels satisfy the selector.
func (s selector) selects(labels map[string]string) bool {
	for key, want := range s.MatchLabels {
		if have, ok := labels[key]; !ok || have != want {
			return false
		}
	}
	return !slices.ContainsFunc(s.MatchExpressions, func(r requirement) bool { return !r.holds(labels) })
}

func (r requirement) holds(labels map[string]string) bool {
	have, ok := labels[r.Key]
	switch r.Operator {
	case "In":
		return ok && slices.Contains(r.Values, have)
	case "NotIn":
		return !ok || !slices.Contains(r.Values, have)
	case "Exists":
		return ok
	case "DoesNotExist":
		return !ok
	}
	return false
}
