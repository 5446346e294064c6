package httpd_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// nobody is a response writer that keeps nothing.
type nobody struct{ h http.Header }

func (n nobody) Header() http.Header         { return n.h }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}

func BenchmarkListener(b *testing.B) {
	n := newNode(b)
	l := n.listener(nil)
	r := httptest.NewRequest("GET", "/v1/sys/health", nil)
	r.Header.Set("X-Vault-Token", "hvs.some-token")
	w := nobody{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		l.ServeHTTP(w, r)
	}
}

func FuzzForms(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "a=%zz", "=&=", "%22=%0a", "a", "&&", "\xff=\xfe", "a=1;b=2"} {
		f.Add(seed)
	}
	l := newNode(f).listener(nil)
	f.Fuzz(func(t *testing.T, body string) {
		w := ask(l, "POST", "sys/echo/x", body, "Content-Type", "application/x-www-form-urlencoded")
		if w.Code != 200 && w.Code != 400 && w.Code != 413 {
			t.Fatalf("%q: got %d %s", body, w.Code, w.Body)
		}
	})
}
