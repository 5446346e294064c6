package httpd_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/cofferhq/coffer/internal/httpd"
)

func mustURL(t *testing.T, path string) *url.URL {
	t.Helper()
	u, err := url.Parse("http://host" + path)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCORS(t *testing.T) {
	on := httpd.CORS{Enabled: true, Origins: []string{"https://ui.example"}, Headers: []string{"X-Vault-Token", "X-Custom"}}
	for _, tt := range []struct {
		name           string
		cors           httpd.CORS
		method, origin string
		preflight      bool
		status         int
		allowed        string
	}{
		{"off", httpd.CORS{}, "GET", "https://evil.example", false, 200, ""},
		{"off, preflight", httpd.CORS{}, "OPTIONS", "https://ui.example", true, 400, ""},
		{"no origin", on, "GET", "", false, 200, ""},
		{"an allowed origin", on, "GET", "https://ui.example", false, 200, "https://ui.example"},
		{"another origin", on, "GET", "https://evil.example", false, 403, ""},
		{"a longer origin", on, "GET", "https://ui.example.evil", false, 403, ""},
		{"another scheme", on, "GET", "http://ui.example", false, 403, ""},
		{"the null origin", on, "GET", "null", false, 403, ""},
		{"preflight", on, "OPTIONS", "https://ui.example", true, 200, "https://ui.example"},
		{"preflight of another origin", on, "OPTIONS", "https://evil.example", true, 403, ""},
		{"no preflight", on, "OPTIONS", "https://ui.example", false, 400, "https://ui.example"},
		{"all origins", httpd.CORS{Enabled: true, Origins: []string{"*"}}, "GET", "https://any.example", false, 200, "https://any.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.cors = tt.cors
			headers := []string{"Origin", tt.origin}
			if tt.preflight {
				headers = append(headers, "Access-Control-Request-Method", "PUT")
			}
			w := ask(n.listener(nil), tt.method, "sys/echo/x", "", headers...)
			if w.Code != tt.status || w.Header().Get("Access-Control-Allow-Origin") != tt.allowed {
				t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
			}
			if w.Code == 200 && tt.preflight {
				if got := w.Header().Get("Access-Control-Allow-Headers"); got != "X-Vault-Namespace,X-Vault-Token,X-Custom" {
					t.Errorf("headers %q", got)
				}
			}
			if tt.allowed != "" && w.Header().Get("Vary") != "Origin" {
				t.Error("the answer may be cached for another origin")
			}
		})
	}
}

func TestRequestsInFlight(t *testing.T) {
	n := newNode(t)
	began, end := make(chan struct{}), make(chan struct{})
	n.stream = func(_ context.Context, w io.Writer) error {
		close(began)
		<-end
		_, err := io.WriteString(w, "done")
		return err
	}
	l := n.listener(nil)
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- ask(l, "GET", "sys/stream/x?secret=1", "") }()
	<-began
	all := l.InFlight.All()
	if len(all) != 1 {
		t.Fatalf("%d requests are in flight", len(all))
	}
	for id, f := range all {
		if len(id) != 36 || f.Path != "/v1/sys/stream/x" || f.Method != "GET" || f.ClientAddr != "192.0.2.1:1234" || f.StartTime.IsZero() {
			t.Errorf("%s: %+v", id, f)
		}
	}
	close(end)
	if w := <-done; w.Body.String() != "done" {
		t.Errorf("got %s", w.Body)
	}
	if n := len(l.InFlight.All()); n != 0 {
		t.Errorf("%d requests are still in flight", n)
	}
}

func TestStreamsReachTheClientAtOnceAndEndWithIt(t *testing.T) {
	n := newNode(t)
	ended := make(chan error, 1)
	n.stream = func(ctx context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, "first"); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	srv := httptest.NewServer(n.listener(nil))
	defer srv.Close()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/v1/sys/stream/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
		t.Errorf("got %q, %v", first, err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the stream's context did not end")
	}
}
