package cli

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// recordedRequest is a request that was not made. It travels as an error from
// the transport to the end of the command.
type recordedRequest struct {
	method string
	url    string
	path   string // below /v1
	list   bool
	header http.Header
	body   string
}

func (r *recordedRequest) Error() string { return "request recorded, not made" }

// recordRequests returns a transport that makes no request.
func recordRequests(http.RoundTripper) http.RoundTripper { return recorder{} }

type recorder struct{}

func (recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r := &recordedRequest{
		method: req.Method,
		url:    req.URL.String(),
		header: req.Header,
		list:   req.Method == "LIST" || req.URL.Query().Get("list") == "true",
	}
	_, r.path, _ = strings.Cut(req.URL.Path, "/v1/")
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		r.body = string(body)
	}
	return nil, r
}

// curl prints the request as a command line. The token is not shown: a
// substitution asks the program called name for it.
func (r *recordedRequest) curl(name string) string {
	parts := []string{"curl"}
	if r.method != http.MethodGet {
		parts = append(parts, "-X", r.method)
	}
	names := make([]string, 0, len(r.header))
	for h := range r.header {
		names = append(names, h)
	}
	slices.Sort(names)
	for _, h := range names {
		for _, v := range r.header[h] {
			if h == "X-Vault-Token" {
				parts = append(parts, "-H", fmt.Sprintf(`"%s: $(%s print token)"`, h, name))
				continue
			}
			parts = append(parts, "-H", shellQuote(h+": "+v, `"`))
		}
	}
	if r.body != "" {
		parts = append(parts, "-d", shellQuote(r.body, "'"))
	}
	return strings.Join(append(parts, shellQuote(r.url, "")), " ")
}

// shellQuote quotes s for a shell; prefer is the kind of quote to use where both would do.
func shellQuote(s, prefer string) string {
	switch {
	case prefer == `"` && !strings.ContainsAny(s, "\"\\$`!"):
		return `"` + s + `"`
	case prefer == "" && !strings.ContainsAny(s, " \t\n'\"\\$`!&|;<>()*?[]{}~#"):
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// policy prints the rule that allows the request.
func (r *recordedRequest) policy() string {
	var capabilities []string
	switch {
	case r.list:
		capabilities = []string{"list"}
	case r.method == "SCAN":
		capabilities = []string{"scan"}
	case r.method == http.MethodGet || r.method == http.MethodHead:
		capabilities = []string{"read"}
	case r.method == http.MethodDelete:
		capabilities = []string{"delete"}
	case r.method == http.MethodPatch:
		capabilities = []string{"patch"}
	default:
		capabilities = []string{"create", "update"}
	}
	if needsSudo(r.path) {
		capabilities = append(capabilities, "sudo")
	}
	return fmt.Sprintf("path %q {\n  capabilities = [\"%s\"]\n}\n", r.path, strings.Join(capabilities, `", "`))
}

// sudoPaths are the paths that only a policy with sudo opens; a final * stands
// for any rest.
var sudoPaths = []string{
	"auth/token/accessors*", "auth/token/create-orphan", "sys/audit", "sys/audit/*", "sys/auth/*",
	"sys/config/auditing/*", "sys/config/cors", "sys/config/ui/*", "sys/internal/inspect/*",
	"sys/leases/lookup/*", "sys/leases/revoke-force/*", "sys/leases/revoke-prefix/*", "sys/pprof*",
	"sys/plugins/catalog/*", "sys/raw*", "sys/remount", "sys/rotate*", "sys/seal", "sys/step-down",
	"sys/storage/raft/snapshot-force",
}

func needsSudo(path string) bool {
	return slices.ContainsFunc(sudoPaths, func(p string) bool {
		prefix, wild := strings.CutSuffix(p, "*")
		return path == p || wild && strings.HasPrefix(path, prefix)
	})
}
