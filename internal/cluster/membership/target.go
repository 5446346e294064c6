package membership

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// Target is a node of a cluster to join, and how to trust it.
type Target struct {
	// Address is the URL of its API.
	Address string
	// CA is the PEM of who has issued its certificate, "" for the system's
	// authorities. Certificate and Key are the PEM of this node's own, if it must
	// show one.
	CA, Certificate, Key string
	// ServerName is the name in its certificate, "" for the address's host.
	ServerName string
}

// client makes the client for requests to the target.
func (t Target) client() (*http.Client, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, fault.New(fault.Invalid, "leader_ca_cert holds no PEM certificate")
		}
	}
	if t.Certificate != "" || t.Key != "" {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key))
		if err != nil {
			return nil, fault.New(fault.Invalid, "leader_client_cert and leader_client_key do not fit together, or are no PEM")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{
		Timeout: joinTime,
		Transport: &http.Transport{
			TLSClientConfig: c, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			DialContext: (&net.Dialer{Timeout: callTime}).DialContext,
		},
	}, nil
}

// joinTime bounds one request to a target.
const joinTime = 20 * time.Second

// post makes a request to a target and decodes its data. What the target
// refuses is refused with its own words.
func (s *Service) post(ctx context.Context, t Target, path string, in, out any) error {
	u, err := url.Parse(t.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fault.New(fault.Invalid, `leader_api_addr must be a URL such as "https://10.0.0.2:8200"`)
	}
	client, err := s.Client(t)
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath("v1", path).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "the node to join did not answer; check leader_api_addr and its TLS settings, and see this node's log")
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxCall))
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "the node to join broke off its answer")
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.StatusCode, text)
	}
	var envelope struct {
		Data json.RawMessage `json:"data"`
	}
	if err := errors.Join(json.Unmarshal(text, &envelope), json.Unmarshal(envelope.Data, out)); err != nil {
		return fault.Wrap(fault.Unavailable, err, "what answers at leader_api_addr is no node of a Coffer cluster")
	}
	return nil
}

// refusal is what a target has refused.
func refusal(status int, text []byte) error {
	var told struct {
		Errors []string `json:"errors"`
	}
	_ = json.Unmarshal(text, &told) // without it there is the status
	kind := fault.Unavailable
	switch {
	case status == http.StatusForbidden:
		kind = fault.Denied
	case status/100 == 4 && status != http.StatusTooManyRequests:
		kind = fault.Invalid
	}
	if len(told.Errors) == 0 {
		return fault.Newf(kind, "the node to join answers with status %d", status)
	}
	const most = 500
	reason := strings.Join(told.Errors, "; ")
	if len(reason) > most {
		reason = reason[:most]
	}
	return fault.New(kind, fmt.Sprintf("the node to join answers: %s", strings.ToValidUTF8(reason, "?")))
}
