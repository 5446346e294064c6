package httpd

import (
	"errors"
	"net/http"

	"github.com/cofferhq/coffer/internal/fault"
)

// statuses is the one table from kinds of faults to HTTP.
var statuses = map[fault.Kind]int{
	fault.Internal:        http.StatusInternalServerError,
	fault.Invalid:         http.StatusBadRequest,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Unsupported:     http.StatusMethodNotAllowed,
	fault.Precondition:    http.StatusPreconditionFailed,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.RateLimited:     http.StatusTooManyRequests,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Sealed:          http.StatusServiceUnavailable,
	fault.Standby:         http.StatusServiceUnavailable,
	fault.Upstream:        http.StatusInternalServerError, // as clients know it; a 502 looks like a broken proxy in front of the server
	fault.Unauthenticated: http.StatusBadRequest,
	fault.Full:            http.StatusInsufficientStorage,
	fault.Conflict:        http.StatusServiceUnavailable,
	fault.MediaType:       http.StatusUnsupportedMediaType,
}

// statusOf returns the status and the client's text for an error. A plain error
// says nothing of itself: the cause is in the log, under the request's id.
func statusOf(err error, requestID string) (status int, text string) {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge, "the request body is too large"
	}
	kind := fault.KindOf(err)
	status, ok := statuses[kind]
	if !ok {
		kind, status = fault.Internal, http.StatusInternalServerError
	}
	text = fault.Message(err)
	if kind == fault.Internal {
		text = "internal error; the server's log has the cause under request " + requestID
	}
	if text == "" && (kind == fault.Unavailable || kind == fault.Full || kind == fault.Upstream) {
		text = kind.String()
	}
	return status, text
}
