package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"time"
)

// Parsers of what servers and the kernel write.
var (
	ParseCPU      = parseCPU
	ParseResident = parseResident
)

// ReadAnswer reads an answer from b and returns its status, the kept part of its
// body and what of b is left behind it.
func ReadAnswer(b []byte) (status int, text, rest []byte, err error) {
	r := bufio.NewReaderSize(bytes.NewReader(b), 16<<10)
	a, err := readAnswer(r)
	rest = make([]byte, r.Buffered())
	_, _ = r.Read(rest) // what is buffered
	return a.status, a.text, rest, err
}

// Reachable reports with an error why an address is not loaded.
func Reachable(address string, remote bool) error {
	_, err := newTarget(address, &tls.Config{MinVersion: tls.VersionTLS12}, remote)
	return err
}

// Summary returns the result of rounds with these latencies each, which lasted
// a second and used a millisecond of CPU time per answer.
func Summary(rounds ...[]time.Duration) Result {
	var r Result
	measured := make([]round, len(rounds))
	for i, took := range rounds {
		measured[i] = round{took: time.Second, sorted: took, cpu: time.Duration(len(took)) * time.Millisecond, resident: 50_000_000}
	}
	r.summarize(measured)
	return r
}
