package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// target is where the load goes.
type target struct {
	network, address string
	host             string      // of the Host header
	tls              *tls.Config // nil for plain HTTP
	header           string      // lines that every request has
}

// newTarget reads the address of a server: http, https or unix. Only a machine's
// own addresses are taken, unless remote allows others.
func newTarget(address string, tlsConfig *tls.Config, remote bool) (target, error) {
	u, err := url.Parse(address)
	if err != nil {
		return target{}, errors.New("the address is not a URL")
	}
	if u.Scheme == "unix" {
		return target{network: "unix", address: u.Host + u.Path, host: "localhost"}, nil
	}
	t := target{network: "tcp", host: u.Host, address: u.Host}
	port := "80"
	if u.Scheme == "https" {
		t.tls = tlsConfig.Clone()
		t.tls.NextProtos = []string{"http/1.1"}
		if t.tls.ServerName == "" {
			t.tls.ServerName = u.Hostname()
		}
		port = "443"
	}
	if u.Port() == "" {
		t.address = net.JoinHostPort(u.Hostname(), port)
	}
	if !remote && !loopback(u.Hostname()) {
		return target{}, fmt.Errorf("%s is another machine: a load test can take a server out of service; say -allow-remote if that is wanted", u.Hostname())
	}
	return t, nil
}

// loopback reports whether a host is this machine by its name alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// conn is one client's connection.
type conn struct {
	net net.Conn
	r   *bufio.Reader
}

func (t target) dial(ctx context.Context) (*conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	if t.tls != nil {
		secure := tls.Client(c, t.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c = secure
	}
	return &conn{c, bufio.NewReaderSize(c, 16<<10)}, nil
}

// request renders a request.
func (t target) request(method, path string, body []byte) []byte {
	b := fmt.Appendf(nil, "%s /v1/%s HTTP/1.1\r\nHost: %s\r\n%s", method, path, t.host, t.header)
	if body != nil {
		b = fmt.Appendf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(b, "\r\n"...), body...)
}

// answerTime bounds the wait for one answer.
const answerTime = time.Minute

// send sends a request and reads the answer.
func (c *conn) send(request []byte, now time.Time) (answer, error) {
	if err := c.net.SetDeadline(now.Add(answerTime)); err != nil {
		return answer{}, err
	}
	if _, err := c.net.Write(request); err != nil {
		return answer{}, err
	}
	return readAnswer(c.r)
}

// answer is what came back.
type answer struct {
	status int
	closes bool   // the server closes the connection
	text   []byte // the beginning of the body, if status is an error's
}

const (
	maxHeaders = 200
	maxText    = 512
	maxBody    = 64 << 20
)

var errAnswer = errors.New("the answer is not HTTP/1.1")

// readAnswer reads an answer up to its end.
func readAnswer(r *bufio.Reader) (a answer, err error) {
	line, err := readLine(r)
	if err != nil {
		return a, err
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return a, errAnswer
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil || a.status < 200 {
		return a, errAnswer
	}
	length, chunked := 0, false
	for n := 0; ; n++ {
		if line, err = readLine(r); err != nil {
			return a, err
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || n == maxHeaders {
			return a, errAnswer
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxBody {
				return a, errAnswer
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			a.closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case a.status == 204 || a.status == 304:
	case chunked:
		err = a.readChunks(r)
	default:
		err = a.readBody(r, length)
	}
	return a, err
}

// readLine reads a line without its end. It is valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

func (a *answer) readBody(r *bufio.Reader, n int) error {
	if a.status >= 300 {
		keep := make([]byte, min(n, maxText-min(len(a.text), maxText)))
		if _, err := io.ReadFull(r, keep); err != nil {
			return err
		}
		a.text = append(a.text, keep...)
		n -= len(keep)
	}
	_, err := r.Discard(n)
	return err
}

func (a *answer) readChunks(r *bufio.Reader) error {
	for total := 0; ; {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return errAnswer
		}
		if total += int(n); total > maxBody {
			return errAnswer
		}
		if err := a.readBody(r, int(n)); err != nil {
			return err
		}
		if line, err = readLine(r); err != nil {
			return err
		}
		if len(line) > 0 {
			return errAnswer
		}
		if n == 0 {
			return nil
		}
	}
}
