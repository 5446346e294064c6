package jwt

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// deviceGrant is the grant type of RFC 8628, section 3.4.
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// The limits of a login on another device.
const (
	maxDeviceTime = 15 * time.Minute
	usualInterval = 5
)

// beginDevice begins a login on another device (RFC 8628): the user opens a page
// of the provider and enters a code there. Whoever begins the login gets the
// token, so the client must keep something that only it knows.
func (m *method) beginDevice(ctx context.Context, t *trust, r *role, name, clientNonce string) (authURLAnswer, error) {
	if clientNonce == "" {
		return authURLAnswer{}, fault.New(fault.Invalid, "missing client_nonce: the device flow needs one")
	}
	rp, err := t.relyingParty(ctx, r, "")
	if err != nil {
		return authURLAnswer{}, err
	}
	if rp.provider.DeviceAuthURL == "" {
		return authURLAnswer{}, fault.New(fault.Invalid, "the provider does not offer the device flow: use callback_mode=client")
	}
	d, err := rp.authorizeDevice(ctx)
	if err != nil {
		return authURLAnswer{}, err
	}
	f := m.begin(name, clientNonce)
	f.Device = d.DeviceCode
	f.Expires = m.clock.Now().Add(maxDeviceTime)
	state, err := m.seal(ctx, f)
	if err != nil {
		return authURLAnswer{}, err
	}
	a := authURLAnswer{AuthURL: d.VerificationURIComplete, State: state, UserCode: d.UserCode, PollInterval: strconv.FormatInt(max(d.Interval, usualInterval), 10)}
	if a.AuthURL == "" {
		a.AuthURL = d.VerificationURI
	}
	return a, nil
}

// deviceAnswer is a device authorization response (RFC 8628, section 3.2).
type deviceAnswer struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	Interval                int64  `json:"interval"`
}

// authorizeDevice asks the provider for the codes of a login. Coffer shows who it
// is as at the token endpoint, which the library leaves out.
func (rp *relying) authorizeDevice(ctx context.Context) (d deviceAnswer, err error) {
	form := url.Values{"client_id": {rp.oauth.ClientID}, "scope": {strings.Join(rp.oauth.Scopes, " ")}}
	header := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
	switch secret := rp.oauth.ClientSecret; {
	case rp.oauth.Endpoint.AuthStyle == oauth2.AuthStyleInHeader:
		pair := url.QueryEscape(rp.oauth.ClientID) + ":" + url.QueryEscape(secret)
		header["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	case secret != "":
		form.Set("client_secret", secret)
	}
	status, body, err := rp.issuer.client.Send(ctx, authn.Message{Method: "POST", URL: rp.provider.DeviceAuthURL, Header: header, Body: form.Encode()})
	if err != nil {
		return d, err
	}
	if status/100 != 2 || json.Unmarshal(body, &d) != nil || d.DeviceCode == "" || d.VerificationURI == "" {
		return d, fault.Wrap(fault.Upstream, fmt.Errorf("status %d", status), "the provider refuses to begin the device flow")
	}
	return d, nil
}

// pending are the errors that say that the user is not done yet. Clients know
// them.
func pending(code string) bool { return code == "authorization_pending" || code == "slow_down" }

// poll asks the provider once whether the user is done.
func (m *method) poll(ctx context.Context, c *route.Call, in pollRequest) (authn.Identity, error) {
	f, err := m.open(ctx, in.State, in.ClientNonce.Reveal())
	if err != nil {
		return authn.Identity{}, err
	}
	if f.Device == "" {
		return authn.Identity{}, errState
	}
	t, r, name, err := m.setup(ctx, f.Role)
	if err != nil {
		return authn.Identity{}, err
	}
	rp, err := t.relyingParty(ctx, &r, "")
	if err != nil {
		return authn.Identity{}, err
	}
	token, err := rp.oauth.Exchange(rp.client(ctx), "", oauth2.SetAuthURLParam("grant_type", deviceGrant), oauth2.SetAuthURLParam("device_code", f.Device))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && pending(refused.ErrorCode):
		return authn.Identity{}, fault.New(fault.Invalid, refused.ErrorCode)
	case err != nil:
		return authn.Identity{}, exchangeFailed(err)
	}
	return m.finish(ctx, c, rp, &r, name, f, token)
}
