// Package acme is the protocol of RFC 8555 as a server speaks it, without
// storage and without HTTP: signed requests, nonces, problems, and the
// validation of challenges (RFC 8555, RFC 8737, RFC 8738).
package acme

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Problem is an error as clients get it (RFC 7807; RFC 8555, section 6.7). Its
// detail is safe to show.
type Problem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
	// Status is the answer's.
	Status int `json:"-"`
}

// Error returns the problem's text.
func (p *Problem) Error() string { return p.Type + ": " + p.Detail }

// JSON encodes the problem.
func (p *Problem) JSON() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		return []byte(`{}`) // texts can always be encoded
	}
	return b
}

// ErrorType is a type of problem: the part after "urn:ietf:params:acme:error:".
type ErrorType string

// The types of problems that this server answers.
const (
	AccountDoesNotExist     ErrorType = "accountDoesNotExist"
	AlreadyRevoked          ErrorType = "alreadyRevoked"
	BadCSR                  ErrorType = "badCSR"
	BadNonce                ErrorType = "badNonce"
	BadPublicKey            ErrorType = "badPublicKey"
	BadRevocationReason     ErrorType = "badRevocationReason"
	BadSignatureAlgorithm   ErrorType = "badSignatureAlgorithm"
	Connection              ErrorType = "connection"
	DNS                     ErrorType = "dns"
	ExternalAccountRequired ErrorType = "externalAccountRequired"
	IncorrectResponse       ErrorType = "incorrectResponse"
	InvalidContact          ErrorType = "invalidContact"
	Malformed               ErrorType = "malformed"
	OrderNotReady           ErrorType = "orderNotReady"
	RejectedIdentifier      ErrorType = "rejectedIdentifier"
	ServerInternal          ErrorType = "serverInternal"
	TLS                     ErrorType = "tls"
	Unauthorized            ErrorType = "unauthorized"
	UnsupportedIdentifier   ErrorType = "unsupportedIdentifier"
)

// status is the answer's status for a type; the others are 400.
func (t ErrorType) status() int {
	switch t {
	case ExternalAccountRequired, Unauthorized, OrderNotReady:
		return http.StatusForbidden
	case ServerInternal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// Errorf makes a problem. Arguments become part of what clients see.
func Errorf(t ErrorType, format string, args ...any) *Problem {
	return &Problem{Type: "urn:ietf:params:acme:error:" + string(t), Detail: fmt.Sprintf(format, args...), Status: t.status()}
}
