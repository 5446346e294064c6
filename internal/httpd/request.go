package httpd

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// errBare is a refusal whose answer has no text, as clients know it.
var errBare = fault.New(fault.Invalid, "")

// verbOf maps a method, and the query of a GET, to a verb.
func verbOf(method string, q url.Values) (route.Verb, error) {
	switch method {
	case http.MethodGet, http.MethodHead:
		list, err := flagOf(q, "list")
		if err != nil {
			return 0, err
		}
		scan, err := flagOf(q, "scan")
		switch {
		case err != nil:
			return 0, err
		case list:
			return route.VerbList, nil
		case scan:
			return route.VerbScan, nil
		}
		return route.VerbRead, nil
	case "LIST":
		return route.VerbList, nil
	case "SCAN":
		return route.VerbScan, nil
	case http.MethodPost, http.MethodPut:
		return route.VerbWrite, nil
	case http.MethodDelete:
		return route.VerbDelete, nil
	case http.MethodPatch:
		return route.VerbPatch, nil
	}
	return 0, fault.New(fault.Unsupported, "")
}

// flagOf reads a boolean of the query.
func flagOf(q url.Values, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, errBare
	}
	return on, nil
}

// first is [http.Header.Get] for a name in canonical form, without the work of
// making it so.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// tokenOf returns the client's token from its header or from a bearer
// authorization.
func tokenOf(h http.Header) string {
	if t := first(h, "X-Vault-Token"); t != "" {
		return strings.TrimSpace(t)
	}
	if rest, ok := strings.CutPrefix(first(h, "Authorization"), "Bearer "); ok {
		return strings.TrimSpace(rest)
	}
	return ""
}

// wrapOf returns the lifetime that the client wants its answer wrapped for.
func wrapOf(h http.Header) (time.Duration, error) {
	text := first(h, "X-Vault-Wrap-Ttl")
	if text == "" {
		return 0, nil
	}
	d, err := wire.ParseDurationText(text)
	if err != nil {
		return 0, fault.Newf(fault.Invalid, "header X-Vault-Wrap-TTL: %s", err)
	}
	return d, nil
}

// within returns the path of the namespace that a request names: below the
// listener's own, if it has one.
func (l *Listener) within(h http.Header) string {
	header := first(h, namespaceHeader)
	own := l.Config.Namespace
	if own == "" {
		return header
	}
	if header = strings.Trim(strings.TrimSpace(header), "/"); header == "" || header == namespace.Root.UUID {
		return own
	}
	return own + "/" + header
}

const namespaceHeader = "X-Vault-Namespace"

// parse makes the gate's request. The body is left unread.
func (in *inbound) parse() error {
	l, r := in.listener, in.flight.http
	path, err := canonical(r.URL)
	if err != nil {
		return err
	}
	var q url.Values
	if r.URL.RawQuery != "" {
		if q, err = url.ParseQuery(r.URL.RawQuery); err != nil {
			return fault.New(fault.Invalid, "the query is malformed")
		}
	}
	verb, err := verbOf(r.Method, q)
	if err != nil {
		return err
	}
	req := &in.request
	*req = gate.Request{
		ID: in.flight.id, Within: l.within(r.Header), Verb: verb, Path: path, Query: q, TLS: r.TLS, Token: tokenOf(r.Header), Headers: r.Header.Values,
		WrapJWT: strings.EqualFold(first(r.Header, "X-Vault-Wrap-Format"), "jwt"),
		Help:    len(q) > 0 && q.Get("help") != "" && verb == route.VerbRead,
		Open:    l.opens(path), Limits: l.limits,
		Head: r.Method == http.MethodHead,
	}
	if len(req.Token) > int(l.tokenLimit()) {
		return fault.New(fault.Invalid, "the token is too long")
	}
	if req.WrapTTL, err = wrapOf(r.Header); err != nil {
		return err
	}
	if req.Remote, req.RemotePort, err = l.remote(r); err != nil {
		return err
	}
	if hasBody(r) {
		req.Body, req.Stream = in.body, in.stream
	}
	return nil
}

func (in *inbound) body() ([]byte, error) {
	return in.listener.readBody(in.flight.http, in.request.Verb)
}

// stream returns the body as the client sends it. It may take its time: the
// limits of other requests are not for it.
func (in *inbound) stream() io.Reader {
	// What the server cannot set free keeps its limit.
	_ = http.NewResponseController(in.writer).SetReadDeadline(time.Time{})
	return in.whole
}

func (l *Listener) tokenLimit() int64 {
	if n := l.Config.Limits.TokenHeaderSize; n > 0 {
		return n
	}
	return 8 << 10
}

func hasBody(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return r.Body != nil && r.ContentLength != 0
	}
	return false
}

// readBody reads the body within the listener's limit, and turns a form into
// the JSON object that it stands for.
func (l *Listener) readBody(r *http.Request, verb route.Verb) ([]byte, error) {
	kind := first(r.Header, "Content-Type")
	if kind != jsonType[0] {
		var err error
		if kind, _, err = mime.ParseMediaType(kind); err != nil {
			kind = ""
		}
	}
	if verb == route.VerbPatch && kind != "application/merge-patch+json" {
		return nil, fault.New(fault.MediaType, "PATCH takes a body of type application/merge-patch+json")
	}
	if n := l.Config.Limits.RequestSize; n > 0 && r.ContentLength > n {
		return nil, fault.Newf(fault.TooLarge, "a request has at most %d bytes", n)
	}
	body, err := readWhole(r)
	if err != nil {
		return nil, fault.Wrap(readKind(err), err, "reading the request body: it is too large, or broke off")
	}
	// curl calls a body a form unless told otherwise, and people send JSON with
	// it: a form of fields does not begin with a brace.
	if kind == "application/x-www-form-urlencoded" && !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		if len(body) > maxForm {
			return nil, fault.Newf(fault.TooLarge, "a form has at most %d bytes; send larger bodies as JSON", maxForm)
		}
		return formObject(string(body))
	}
	return body, nil
}

// readWhole reads a body, into memory of the right size if the client has said
// how long it is, and if that is a length to take its word for.
func readWhole(r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n > 0 && n < 1<<20 {
		body := make([]byte, n)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	return io.ReadAll(r.Body)
}

func readKind(err error) fault.Kind {
	if _, ok := err.(*http.MaxBytesError); ok { //nolint:errorlint // the reader returns it bare
		return fault.TooLarge
	}
	return fault.Invalid
}

// maxForm is the longest form that is read, in bytes. A form is copied while it
// is decoded, unlike JSON.
const maxForm = 10 << 20

// formObject writes a form's fields as a JSON object; of a repeated field the
// first counts.
func formObject(text string) ([]byte, error) {
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the form in the request body is malformed")
	}
	b := []byte{'{'}
	for name, values := range form {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = wire.AppendQuoted(b, name)
		b = append(b, ':')
		b = wire.AppendQuoted(b, values[0])
	}
	return append(b, '}'), nil
}
