package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/policy"
)

// The reference judges by the documented rules, pattern by pattern, without
// any index. It shares no code with the package.

// refMatches reports whether a pattern matches a path.
func refMatches(pattern, path string) bool {
	literal, open := strings.CutSuffix(pattern, "*")
	want, got := strings.Split(literal, "/"), strings.Split(path, "/")
	if len(got) < len(want) || (!open && len(got) != len(want)) {
		return false
	}
	for i, segment := range want {
		switch {
		case segment == "+":
		case open && i == len(want)-1:
			if !strings.HasPrefix(got[i], segment) {
				return false
			}
		case segment != got[i]:
			return false
		}
	}
	return true
}

// refLower reports whether p has a lower priority than q.
func refLower(p, q string) bool {
	first := func(s string) int {
		if i := strings.IndexAny(s, "+*"); i >= 0 {
			return i
		}
		return 1 << 30 // an exact path has no wildcard
	}
	star := func(s string) bool { return strings.HasSuffix(s, "*") }
	plus := func(s string) int { return strings.Count(s, "+") }
	switch {
	case first(p) != first(q):
		return first(p) < first(q)
	case star(p) != star(q):
		return star(p)
	case plus(p) != plus(q):
		return plus(p) > plus(q)
	case len(p) != len(q):
		return len(p) < len(q)
	}
	return p < q
}

func refBest(patterns []string, path string) string {
	best := ""
	for _, p := range patterns {
		if refMatches(p, path) && (best == "" || refLower(best, p)) {
			best = p
		}
	}
	return best
}

// refDecides returns the pattern that decides, "" for none.
func refDecides(patterns []string, denied func(string) bool, list bool, path string) string {
	if !list {
		return refBest(patterns, path)
	}
	path = strings.TrimSuffix(path, "/")
	dir := refBest(patterns, path+"/")
	if dir != "" && denied(dir) {
		return dir
	}
	if path == "" {
		return dir
	}
	plain := refBest(patterns, path)
	if plain != "" && denied(plain) {
		return plain
	}
	exact := plain == path && !strings.ContainsAny(plain, "+*")
	if dir == "" || (exact && dir != path+"/") {
		return plain
	}
	return dir
}

// randomPath draws from few segments, so that matches are common.
func randomPath(r *rand.Rand) string {
	segments := []string{"a", "b", "ab", "abc", "bc", ""}
	n := 1 + r.IntN(4)
	out := make([]string, n)
	for i := range out {
		// An empty segment only at the end, as the slash of a directory.
		out[i] = segments[r.IntN(len(segments)-1)]
	}
	if r.IntN(4) == 0 {
		out = append(out, "")
	}
	return strings.Join(out, "/")
}

func randomPattern(r *rand.Rand) string {
	segments := strings.Split(randomPath(r), "/")
	for i := range segments {
		if segments[i] != "" && r.IntN(3) == 0 {
			segments[i] = "+"
		}
	}
	p := strings.Join(segments, "/")
	switch r.IntN(5) {
	case 0, 1:
		if !strings.HasSuffix(p, "+") {
			p += "*"
		}
	case 2:
		p = strings.TrimSuffix(p, "/") + "/*"
	}
	if r.IntN(40) == 0 {
		return "*"
	}
	return p
}

// checkAgainstReference compares the compiled tree with the reference for one
// set of patterns and one path.
func checkAgainstReference(t *testing.T, acl *policy.ACL, patterns []string, denied func(string) bool, path string) {
	t.Helper()
	for _, op := range []policy.Op{policy.Read, policy.List} {
		want := refDecides(patterns, denied, op == policy.List, path)
		d := acl.Check(op, path, nil, 0)
		allowed := want != "" && !denied(want)
		if d.Pattern != want || d.Allowed != allowed {
			t.Fatalf("%v %q with %q: decided by %q (allowed %v), the reference says %q (allowed %v)",
				op, path, patterns, d.Pattern, d.Allowed, want, allowed)
		}
	}
}

func TestTreeAgreesWithReference(t *testing.T) {
	pairs := 1_000_000
	if testing.Short() {
		pairs = 100_000
	}
	r := rand.New(rand.NewPCG(7, 11))
	const pathsPerPolicy = 50
	for range pairs / pathsPerPolicy / 2 {
		var patterns []string
		for range 1 + r.IntN(10) {
			patterns = append(patterns, randomPattern(r))
		}
		slices.Sort(patterns)
		patterns = slices.Compact(patterns)
		acl := compile(t, policyOf(patterns))
		for range pathsPerPolicy {
			checkAgainstReference(t, acl, patterns, deniedByLength, randomPath(r))
		}
	}
}

// deniedByLength makes a fixed share of the patterns deny.
func deniedByLength(pattern string) bool { return len(pattern)%3 == 0 }

func policyOf(patterns []string) string {
	var b strings.Builder
	for _, p := range patterns {
		capabilities := `["read", "list"]`
		if deniedByLength(p) {
			capabilities = `["deny"]`
		}
		fmt.Fprintf(&b, "path %q { capabilities = %s }\n", p, capabilities)
	}
	return b.String()
}

func FuzzTreeAgreesWithReference(f *testing.F) {
	f.Add("a/*\na/+/c\na/b/*", "a/b/c")
	f.Add("m/*\nm/private/*", "m/private/")
	f.Add("+/+\n+/*\n*\nte*\nt*", "team/x")
	f.Add("a/\na", "a")
	f.Fuzz(func(t *testing.T, list, path string) {
		var patterns []string
		for p := range strings.SplitSeq(list, "\n") {
			if len(patterns) == 50 {
				break
			}
			if strings.ContainsAny(p, "{}\"\\$") || strings.HasPrefix(p, "/") {
				continue
			}
			if _, _, err := policy.Parse("p", policyOf([]string{p})); err == nil {
				patterns = append(patterns, p)
			}
		}
		slices.Sort(patterns)
		patterns = slices.Compact(patterns)
		checkAgainstReference(t, compile(t, policyOf(patterns)), patterns, deniedByLength, path)
	})
}

// benchmarkACL is a token with the default policy and a few dozen rules.
func benchmarkACL(tb testing.TB) *policy.ACL {
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "path \"secret/data/team-%d/*\" { capabilities = [\"read\", \"list\"] }\n", i)
		fmt.Fprintf(&text, "path \"secret/metadata/team-%d/+/config\" { capabilities = [\"read\"] }\n", i)
	}
	team, _, err := policy.Parse("team", text.String())
	if err != nil {
		tb.Fatal(err)
	}
	def, err := policy.Default().Render(func(string) (string, bool) { return "0a1b2c3d", true })
	if err != nil {
		tb.Fatal(err)
	}
	acl, err := policy.Compile([]*policy.Policy{team, def}, noon)
	if err != nil {
		tb.Fatal(err)
	}
	return acl
}

var benchmarkPaths = map[string]struct {
	op   policy.Op
	path string
}{
	"exact":  {policy.Read, "auth/token/lookup-self"},
	"prefix": {policy.Read, "secret/data/team-17/app/db/password"},
	"plus":   {policy.Read, "secret/metadata/team-17/app/config"},
	"list":   {policy.List, "secret/data/team-17/app"},
	"denied": {policy.Delete, "sys/mounts/secret"},
}

func BenchmarkCheck(b *testing.B) {
	acl := benchmarkACL(b)
	for name, c := range benchmarkPaths {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				acl.Check(c.op, c.path, nil, 0)
			}
		})
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	acl := benchmarkACL(t)
	for name, c := range benchmarkPaths {
		if n := testing.AllocsPerRun(1000, func() { acl.Check(c.op, c.path, nil, time.Minute) }); n != 0 {
			t.Errorf("%s: %v allocations per check, want none", name, n)
		}
	}
}
