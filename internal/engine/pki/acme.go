package pki

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// acmeServer is what ACME has in memory.
type acmeServer struct {
	network acme.Network
	nonces  *acme.Nonces
	// room bounds the validations that run at the same time.
	room chan struct{}
}

// maxValidations is how many challenges are validated at the same time.
const maxValidations = 64

func newACME(e *Engine, n acme.Network) *acmeServer {
	return &acmeServer{network: n, nonces: acme.NewNonces(e.host.Rand), room: make(chan struct{}, maxValidations)}
}

// The media types of ACME's answers.
const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
)

type acmeRequest struct {
	Body wire.Object `body:"*"`
}

// signed is a request whose signature and nonce have been checked.
type signed struct {
	*directory
	call    *route.Call
	request *acme.Request
	payload []byte
	// account is nil for a request that carries its key.
	account *account
}

// acmeRoutes are ACME's endpoints, for each form of directory. They are public:
// requests are signed, and checked here.
func acmeRoutes() []route.Endpoint {
	var eps []route.Endpoint
	for n, prefix := range []string{"acme", "roles/{role}/acme", "issuer/{issuer_ref}/acme", "issuer/{issuer_ref}/roles/{role}/acme"} {
		more := func(opts ...route.Option) []route.Option {
			if n > 0 { // documented once
				opts = append(opts, route.Hidden())
			}
			return opts
		}
		post := func(path string, h func(*Engine, context.Context, *signed) (*acmeAnswer, error), doc string) {
			eps = append(eps, route.Raw(route.VerbWrite, prefix+"/"+path, func(e *Engine, ctx context.Context, c *route.Call, in acmeRequest) (route.Bytes, error) {
				return e.serveACME(ctx, c, in, h)
			}, more(route.Public(), route.Doc{Summary: doc})...))
		}
		eps = append(eps,
			route.Raw(route.VerbRead, prefix+"/directory", (*Engine).acmeDirectory, more(route.Public(), route.Doc{Summary: "ACME: where everything is."})...),
			route.Raw(route.VerbRead, prefix+"/new-nonce", (*Engine).acmeNonce, more(route.Public(), route.Head(), route.Effect(), route.Doc{Summary: "ACME: get a nonce."})...),
			route.Write(prefix+"/new-eab", (*Engine).newEAB, more(route.Doc{Summary: "Make a key of an external account, for a new ACME account to be bound to."})...),
		)
		post("new-account", (*Engine).acmeNewAccount, "ACME: make an account, or find it.")
		post("account/{kid}", (*Engine).acmeAccount, "ACME: read, change or deactivate an account.")
		post("account/{kid}/orders", (*Engine).acmeOrders, "ACME: list the orders of an account.")
		post("orders", (*Engine).acmeOrders, "ACME: list the orders of an account.")
		post("key-change", (*Engine).acmeKeyChange, "ACME: change the key of an account.")
		post("new-order", (*Engine).acmeNewOrder, "ACME: order a certificate.")
		post("order/{order_id}", (*Engine).acmeOrder, "ACME: read an order.")
		post("order/{order_id}/finalize", (*Engine).acmeFinalize, "ACME: have the certificate of an order issued.")
		post("order/{order_id}/cert", (*Engine).acmeCert, "ACME: fetch the certificate of an order.")
		post("authorization/{auth_id}", (*Engine).acmeAuthorization, "ACME: read or deactivate an authorisation.")
		post("challenge/{auth_id}/{challenge_type}", (*Engine).acmeChallenge, "ACME: have a challenge validated.")
		post("revoke-cert", (*Engine).acmeRevoke, "ACME: revoke a certificate.")
	}
	return append(eps,
		route.Read("config/acme", (*Engine).readACMEConfig, route.Doc{Summary: "Read the settings of ACME."}),
		route.Write("config/acme", (*Engine).writeACMEConfig, route.Doc{Summary: "Set who may use ACME, and how."}),
		route.List("eab", (*Engine).listEAB, route.Doc{Summary: "List the keys of external accounts that are not used yet."}),
		route.Full(route.VerbDelete, "eab/{key_id}", (*Engine).deleteEAB, route.Doc{Summary: "Delete a key of an external account."}),
	)
}

// acmeAnswer is an answer to a signed request.
type acmeAnswer struct {
	status   int
	body     any    // encoded as JSON
	raw      []byte // instead of body
	kind     string
	location string
	up       string // URL of the resource that this one belongs to
}

func (e *Engine) acmeDirectory(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	d, err := e.directoryOf(ctx, c)
	if err != nil {
		return e.acmeFailed(c, nil, err)
	}
	body, err := json.Marshal(map[string]any{
		"newNonce": d.base + "/new-nonce", "newAccount": d.base + "/new-account", "newOrder": d.base + "/new-order", "revokeCert": d.base + "/revoke-cert",
		"keyChange": d.base + "/key-change", "meta": map[string]any{"externalAccountRequired": d.config.EABPolicy != eabNotRequired},
	})
	return route.Bytes{ContentType: typeJSON, Body: body}, err
}

func (e *Engine) acmeNonce(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	d, err := e.directoryOf(ctx, c)
	if err != nil {
		return e.acmeFailed(c, nil, err)
	}
	h, err := e.acmeHeader(d)
	status := 204
	if c.Head {
		status = 200
	}
	return route.Bytes{Status: status, Header: h}, err
}

// acmeHeader are the headers that every answer to a signed request has.
func (e *Engine) acmeHeader(d *directory) (map[string]string, error) {
	nonce, err := e.acme.nonces.New(e.host.Clock.Now())
	if err != nil {
		return nil, err
	}
	h := map[string]string{"Replay-Nonce": nonce}
	if d != nil {
		h["Link"] = "<" + d.base + `/directory>;rel="index"`
	}
	return h, nil
}

// acmeFailed answers a failure as a problem. What is no [acme.Problem] and no
// bad input is not the client's to know.
func (e *Engine) acmeFailed(c *route.Call, d *directory, err error) (route.Bytes, error) {
	if errors.Is(err, errACMEOff) {
		return route.Bytes{Status: 404}, nil
	}
	var p *acme.Problem
	var f *fault.Error
	switch {
	case errors.As(err, &p):
	case errors.As(err, &f) && f.Kind == fault.Invalid:
		p = acme.Errorf(acme.Malformed, "%s", f.Msg)
	default:
		return route.Bytes{}, err
	}
	h, err := e.acmeHeader(d)
	return route.Bytes{Status: p.Status, ContentType: typeProblem, Body: p.JSON(), Header: h}, err
}

// serveACME checks a signed request and answers it.
func (e *Engine) serveACME(ctx context.Context, c *route.Call, in acmeRequest, h func(*Engine, context.Context, *signed) (*acmeAnswer, error)) (route.Bytes, error) {
	d, err := e.directoryOf(ctx, c)
	if err != nil {
		return e.acmeFailed(c, d, err)
	}
	s, err := e.checkSigned(ctx, c, d, in.Body.Raw)
	if err != nil {
		return e.acmeFailed(c, d, err)
	}
	a, err := h(e, ctx, s)
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			e.host.Log.Warn("an ACME request failed", slog.String("request", c.ID), slog.Any("error", err))
		}
		return e.acmeFailed(c, d, err)
	}
	header, err := e.acmeHeader(d)
	if err != nil {
		return route.Bytes{}, err
	}
	if a.location != "" {
		header["Location"] = a.location
	}
	if a.up != "" {
		header["Link"] += ", <" + a.up + `>;rel="up"`
	}
	out := route.Bytes{Status: a.status, ContentType: a.kind, Body: a.raw, Header: header}
	if a.body != nil {
		out.ContentType = typeJSON
		out.Body, err = json.Marshal(a.body)
	}
	if out.Status == 0 {
		out.Status = 200
	}
	return out, err
}

// checkSigned finds the key of a request and checks signature, URL and nonce, in
// this order: what is not signed by its key costs nobody's nonce.
func (e *Engine) checkSigned(ctx context.Context, c *route.Call, d *directory, body []byte) (*signed, error) {
	r, err := acme.Parse(body)
	if err != nil {
		return nil, err
	}
	s := &signed{directory: d, call: c, request: r}
	key := r.JWK
	if r.KeyID != "" {
		if s.account, err = e.accountAt(ctx, r.KeyID); err != nil {
			return nil, err
		}
		if s.account.Status != statusValid {
			return nil, acme.Errorf(acme.Unauthorized, "the account is %s", s.account.Status)
		}
		if d.config.EABPolicy == eabAlways && s.account.External == "" {
			return nil, acme.Errorf(acme.ExternalAccountRequired, "the account is not bound to an external account")
		}
		key = &s.account.Key
	}
	if s.payload, err = r.Verify(key); err != nil {
		return nil, err
	}
	if want := strings.TrimSuffix(d.base, d.prefix) + c.Path; r.URL != want {
		return nil, acme.Errorf(acme.Unauthorized, "the request is signed for another URL")
	}
	if !e.acme.nonces.Use(r.Nonce, c.Now) {
		return nil, acme.Errorf(acme.BadNonce, "the nonce is unknown, has expired or was used: take the one of this answer")
	}
	return s, nil
}

// needAccount refuses a request that carries its key.
func (s *signed) needAccount() error {
	if s.account == nil {
		return acme.Errorf(acme.Malformed, "the request must name its account (kid)")
	}
	return nil
}

// decode reads the payload; an empty one is a POST-as-GET (RFC 8555, section
// 6.3) and leaves v alone.
func (s *signed) decode(v any) error {
	if len(s.payload) == 0 {
		return nil
	}
	if json.Unmarshal(s.payload, v) != nil {
		return acme.Errorf(acme.Malformed, "the payload is not what this resource takes")
	}
	return nil
}

// The states of accounts, orders, authorisations and challenges (RFC 8555,
// section 7.1.6).
const (
	statusPending     = "pending"
	statusReady       = "ready"
	statusValid       = "valid"
	statusInvalid     = "invalid"
	statusExpired     = "expired"
	statusDeactivated = "deactivated"
	statusRevoked     = "revoked"
)
