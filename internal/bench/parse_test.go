package bench_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/bench"
)

func TestReadAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		status int
		text   string
		rest   string
		fails  bool
	}{
		"with a length":                    {in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", status: 200, rest: "HTTP"},
		"in chunks":                        {in: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n.", status: 200, rest: "."},
		"without a body":                   {in: "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\nnext", status: 204, rest: "next"},
		"an error, whose text is kept":     {in: "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", status: 403, text: "no"},
		"cut off":                          {in: "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc", status: 200, fails: true},
		"another protocol":                 {in: "SSH-2.0-OpenSSH_9.9\r\n", fails: true},
		"with a negative length":           {in: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", status: 200, fails: true},
		"with a chunk of no length":        {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", status: 200, fails: true},
		"with a chunk longer than it says": {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", status: 200, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			status, text, rest, err := bench.ReadAnswer([]byte(c.in))
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			if status != c.status || !c.fails && (string(text) != c.text || string(rest) != c.rest) {
				t.Errorf("status %d, text %q, rest %q", status, text, rest)
			}
		})
	}
}

// FuzzReadAnswer wants that an answer which net/http reads as well is as long as
// it says.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		status, text, rest, err := bench.ReadAnswer(in)
		if err != nil {
			return
		}
		if len(text) > 512 || len(rest) > len(in) {
			t.Fatalf("%d bytes of text and %d left of %d", len(text), len(rest), len(in))
		}
		r := bufio.NewReader(bytes.NewReader(in))
		want, err := http.ReadResponse(r, nil)
		if err != nil || want.Close || want.Uncompressed {
			return
		}
		if n, err := io.Copy(io.Discard, want.Body); err != nil || n == 0 {
			return
		}
		if status != want.StatusCode {
			t.Errorf("status %d, net/http reads %d", status, want.StatusCode)
		}
	})
}

func TestProcessFiguresAreParsed(t *testing.T) {
	cpu, err := bench.ParseCPU([]byte("17 (a )b c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 9\n"))
	if err != nil || cpu != 3*time.Second {
		t.Errorf("CPU time %v, %v, want 3s", cpu, err)
	}
	resident, err := bench.ParseResident([]byte("Name:\tcoffer\nVmRSS:\t   40960 kB\nRssAnon:\t 1 kB\n"))
	if err != nil || resident != 40<<20 {
		t.Errorf("resident %d, %v, want 40 MiB", resident, err)
	}
	for _, bad := range []string{"", "17 (x", "17 (x) S 1", "17 (x) S 1 2 3 4 5 6 7 8 9 10 a b 0"} {
		if _, err := bench.ParseCPU([]byte(bad)); err == nil {
			t.Errorf("%q has a CPU time", bad)
		}
	}
	if _, err := bench.ParseResident([]byte("Name:\tx\n")); err == nil {
		t.Error("memory without VmRSS")
	}
}
