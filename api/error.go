package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Errors that an [*Error] matches with errors.Is, by its status.
var (
	ErrInvalid          = errors.New("invalid request")            // 400
	ErrPermissionDenied = errors.New("permission denied")          // 403
	ErrNotFound         = errors.New("not found")                  // 404
	ErrUnsupported      = errors.New("unsupported operation")      // 405
	ErrPrecondition     = errors.New("precondition failed")        // 412
	ErrRateLimited      = errors.New("too many requests")          // 429
	ErrUnavailable      = errors.New("server sealed or not ready") // 503
)

// Error is an answer with a status of 400 or above.
type Error struct {
	// Method and Path are those of the request; the path has no query.
	Method string
	Path   string
	// Status is the HTTP status.
	Status int
	// Errors are the server's messages; a plain "not found" has none.
	Errors []string
	// Secret is the envelope, when the answer had one: a deleted version of a
	// KV secret answers 404 and still says when it was deleted.
	Secret *Secret
}

// Error names the request, the status and the server's messages.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	for i, m := range e.Errors {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep + m)
	}
	return b.String()
}

// Is reports whether target is the package's error for the status.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusBadRequest:
		return target == ErrInvalid
	case http.StatusForbidden:
		return target == ErrPermissionDenied
	case http.StatusNotFound:
		return target == ErrNotFound
	case http.StatusMethodNotAllowed:
		return target == ErrUnsupported
	case http.StatusPreconditionFailed:
		return target == ErrPrecondition
	case http.StatusTooManyRequests:
		return target == ErrRateLimited
	case http.StatusServiceUnavailable:
		return target == ErrUnavailable
	}
	return false
}

// maxErrorBody bounds what is read of an answer that reports an error.
const maxErrorBody = 1 << 20

// errorFrom reads the body of res, which has a status of 400 or above, and
// closes it.
func errorFrom(req *Request, res *http.Response) *Error {
	defer res.Body.Close()
	e := &Error{Method: req.Method, Path: "/v1/" + req.path(), Status: res.StatusCode}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if err != nil || len(body) == 0 {
		return e
	}
	var answer struct {
		Errors []string `json:"errors"`
		Secret
	}
	if json.Unmarshal(body, &answer) != nil {
		// Something between us and the server, a proxy for instance, wrote this.
		if text := strings.TrimSpace(string(body)); len(text) <= 512 && !strings.HasPrefix(text, "<") {
			e.Errors = []string{text}
		}
		return e
	}
	e.Errors = answer.Errors
	if answer.RequestID != "" || answer.hasData() {
		e.Secret = &answer.Secret
	}
	return e
}
