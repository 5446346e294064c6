package server_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// nobody is a response writer that keeps nothing but the status.
type nobody struct {
	h      http.Header
	status int
}

func (n *nobody) Header() http.Header         { return n.h }
func (n *nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n *nobody) WriteHeader(status int)      { n.status = status }

// workload is a request that a benchmark repeats.
type workload struct {
	name, method, path, body string
	status                   int
	token                    string // the root token if ""
}

// workloads prepares a server and returns what to ask of it, as root.
func workloads(s *servertest.Server) []workload {
	const secret = `{"user":"alice","password":"s3cr3t-correct-horse"}`
	s.Must(204, "POST", "sys/mounts/kv1", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	s.Must(204, "POST", "kv1/app", secret)
	s.Must(200, "POST", "secret/data/app", `{"data":`+secret+`}`)
	list := []workload{
		{name: "kv2-read", method: "GET", path: "secret/data/app", status: 200},
		{name: "kv1-read", method: "GET", path: "kv1/app", status: 200},
		{name: "lookup-self", method: "GET", path: "auth/token/lookup-self", status: 200},
		{name: "kv2-write", method: "POST", path: "secret/data/app%d", body: `{"data":` + secret + `}`, status: 200},
		{name: "token-create", method: "POST", path: "auth/token/create", body: `{"policies":["default"],"ttl":"24h"}`, status: 200},
		// What a stranger sends must not be worth sending: the body is not read.
		{name: "refused", method: "POST", path: "secret/data/app", body: `{"data":{"a":"` + strings.Repeat("x", 1<<20) + `"}}`, status: 403, token: "cfs.nobody"},
	}
	for _, kind := range []string{"service", "batch"} {
		at := "auth/" + kind
		s.Must(204, "POST", "sys/"+at, map[string]any{"type": "approle"})
		s.Must(204, "POST", at+"/role/app", map[string]any{"token_policies": "default", "token_ttl": "1h", "token_type": kind})
		role := s.Must(200, "GET", at+"/role/app/role-id", nil).Data()["role_id"]
		secretID := s.Must(200, "POST", at+"/role/app/secret-id", "{}").Data()["secret_id"]
		list = append(list, workload{name: "approle-login-" + kind, method: "POST", path: at + "/login", body: fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, role, secretID), status: 200})
	}
	return list
}

// BenchmarkRequest takes 32 clients' requests through everything but the
// connection: storage on a disk, an audit file. What it reports per request is
// the processor's time, which other processes disturb least.
func BenchmarkRequest(b *testing.B) {
	s := servertest.New(b, servertest.Options{Dir: b.TempDir()})
	h := s.Handler()
	for _, w := range workloads(s) {
		b.Run(w.name, func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu()
			var clients sync.WaitGroup
			for range 32 {
				clients.Go(func() {
					out := &nobody{h: http.Header{}}
					for n := left.Add(-1); n >= 0; n = left.Add(-1) {
						clear(out.h)
						h.ServeHTTP(out, w.request(n))
						if out.status != w.status {
							b.Errorf("got status %d", out.status)
							return
						}
					}
				})
			}
			clients.Wait()
			b.ReportMetric(float64((cpu()-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

func (w workload) request(n int64) *http.Request {
	path := w.path
	if strings.Contains(path, "%d") {
		path = fmt.Sprintf(path, n%1000)
	}
	r := &http.Request{
		Method: w.method, URL: &url.URL{Path: "/v1/" + path}, RemoteAddr: "127.0.0.1:51234", Body: http.NoBody,
		Header: http.Header{"X-Vault-Token": {cmp.Or(w.token, servertest.RootToken)}, "Content-Type": {"application/json"}, "User-Agent": {"bench"}},
	}
	if w.body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(w.body)), int64(len(w.body))
	}
	return r
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
