package pki

import (
	"context"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// crlConfig are the settings of revocation lists and OCSP.
type crlConfig struct {
	Expiry       wire.Duration
	AutoRebuild  bool
	Grace        wire.Duration // how long before a list's end the next one is made
	Delta        bool
	DeltaEvery   wire.Duration
	Disable      bool
	OCSPDisable  bool
	OCSPExpiry   wire.Duration
	AllowExpired bool
	// Rotated and DeltaRotated are when lists were last asked to be made anew,
	// in nanoseconds.
	Rotated, DeltaRotated int64
	// Texts are the durations as they were given, which is how they are shown.
	Texts crlTexts
}

type crlTexts struct{ Expiry, Grace, DeltaEvery, OCSPExpiry string }

func defaultCRL() crlConfig {
	return crlConfig{
		Expiry: hours(72), Grace: hours(12), DeltaEvery: wire.Duration(15 * time.Minute), OCSPExpiry: hours(12),
		Texts: crlTexts{Expiry: "72h", Grace: "12h", DeltaEvery: "15m", OCSPExpiry: "12h"},
	}
}

func hours(n int) wire.Duration { return wire.Duration(time.Duration(n) * time.Hour) }

// cut is when the current complete list begins: since then nothing has changed
// it, and it does not end too soon.
func (c *crlConfig) cut(made, latest, now time.Time) time.Time {
	cut := made
	if rotated := time.Unix(0, c.Rotated); rotated.After(cut) {
		cut = rotated
	}
	every := c.Expiry.D() / 2
	if c.AutoRebuild {
		every = c.Expiry.D() - c.Grace.D()
	}
	cut = lastMultiple(cut, every, now)
	if !c.AutoRebuild && latest.After(cut) {
		cut = latest
	}
	return cut.UTC()
}

// deltaCut is when the current delta list begins.
func (c *crlConfig) deltaCut(base, now time.Time) time.Time {
	cut := base
	if rotated := time.Unix(0, c.DeltaRotated); rotated.After(cut) {
		cut = rotated
	}
	return lastMultiple(cut, c.DeltaEvery.D(), now).UTC()
}

func lastMultiple(from time.Time, every time.Duration, now time.Time) time.Time {
	if gone := now.Sub(from); gone > 0 && every > 0 {
		return from.Add(gone / every * every)
	}
	return from
}

type crlConfigResponse struct {
	AllowExpired bool   `json:"allow_expired_cert_revocation"`
	AutoRebuild  bool   `json:"auto_rebuild"`
	Grace        string `json:"auto_rebuild_grace_period"`
	DeltaEvery   string `json:"delta_rebuild_interval"`
	Disable      bool   `json:"disable"`
	Delta        bool   `json:"enable_delta"`
	Expiry       string `json:"expiry"`
	OCSPDisable  bool   `json:"ocsp_disable"`
	OCSPExpiry   string `json:"ocsp_expiry"`
}

func (c *crlConfig) response() *crlConfigResponse {
	return &crlConfigResponse{
		AllowExpired: c.AllowExpired, AutoRebuild: c.AutoRebuild, Grace: c.Texts.Grace, DeltaEvery: c.Texts.DeltaEvery, Disable: c.Disable, Delta: c.Delta,
		Expiry: c.Texts.Expiry, OCSPDisable: c.OCSPDisable, OCSPExpiry: c.Texts.OCSPExpiry,
	}
}

type crlConfigRequest struct {
	AllowExpired wire.Opt[bool]   `json:"allow_expired_cert_revocation" doc:"Let certificates be revoked after their end."`
	AutoRebuild  wire.Opt[bool]   `json:"auto_rebuild" doc:"Make lists anew at intervals, not with each revocation."`
	Grace        wire.Opt[string] `json:"auto_rebuild_grace_period" doc:"How long before the end of a list the next one is made."`
	DeltaEvery   wire.Opt[string] `json:"delta_rebuild_interval" doc:"How often a delta list is made."`
	Disable      wire.Opt[bool]   `json:"disable" doc:"Leave all revocations out of the lists."`
	Delta        wire.Opt[bool]   `json:"enable_delta" doc:"Make delta lists between the complete ones; needs auto_rebuild."`
	Expiry       wire.Opt[string] `json:"expiry" doc:"How long a list is good for."`
	OCSPDisable  wire.Opt[bool]   `json:"ocsp_disable" doc:"Answer no OCSP requests."`
	OCSPExpiry   wire.Opt[string] `json:"ocsp_expiry" doc:"How long an OCSP answer is good for; 0 does not say."`
}

func (q *crlConfigRequest) into(c *crlConfig) error {
	q.AllowExpired.Into(&c.AllowExpired)
	q.AutoRebuild.Into(&c.AutoRebuild)
	q.Disable.Into(&c.Disable)
	q.Delta.Into(&c.Delta)
	q.OCSPDisable.Into(&c.OCSPDisable)
	for _, f := range []struct {
		name string
		from wire.Opt[string]
		to   *wire.Duration
		text *string
	}{
		{"expiry", q.Expiry, &c.Expiry, &c.Texts.Expiry}, {"auto_rebuild_grace_period", q.Grace, &c.Grace, &c.Texts.Grace},
		{"delta_rebuild_interval", q.DeltaEvery, &c.DeltaEvery, &c.Texts.DeltaEvery}, {"ocsp_expiry", q.OCSPExpiry, &c.OCSPExpiry, &c.Texts.OCSPExpiry},
	} {
		if !f.from.Set {
			continue
		}
		d, err := wire.ParseDurationText(f.from.Value)
		if err != nil {
			return fault.Newf(fault.Invalid, "field %q: %s", f.name, err)
		}
		*f.to, *f.text = wire.Duration(d), f.from.Value
	}
	switch {
	case c.Expiry.D() < time.Minute:
		return fault.New(fault.Invalid, "expiry must be at least one minute")
	case c.AutoRebuild && c.Grace >= c.Expiry:
		return fault.New(fault.Invalid, "auto_rebuild_grace_period must be shorter than expiry")
	case c.Delta && !c.AutoRebuild:
		return fault.New(fault.Invalid, "enable_delta needs auto_rebuild: a delta list is made between two complete ones")
	case c.Delta && (c.DeltaEvery.D() < time.Second || c.DeltaEvery >= c.Expiry):
		return fault.New(fault.Invalid, "delta_rebuild_interval must be shorter than expiry, and at least one second")
	}
	return nil
}

func (e *Engine) readCRLConfig(ctx context.Context, _ *route.Call, _ struct{}) (*crlConfigResponse, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	return a.crl.response(), nil
}

func (e *Engine) writeCRLConfig(ctx context.Context, _ *route.Call, in crlConfigRequest) (*crlConfigResponse, error) {
	// A change of settings begins new lists, so that their number rises.
	c, err := e.changeCRL(ctx, func(c *crlConfig) error {
		c.Rotated = e.host.Clock.Now().UnixNano()
		return in.into(c)
	})
	if err != nil {
		return nil, err
	}
	return c.response(), nil
}

// changeCRL changes the settings.
func (e *Engine) changeCRL(ctx context.Context, fn func(*crlConfig) error) (*crlConfig, error) {
	var c crlConfig
	err := e.update(ctx, func(tx store.Txn) error {
		c = defaultCRL()
		if err := setting(e, tx, "crl", &c); err != nil {
			return err
		}
		if err := fn(&c); err != nil {
			return err
		}
		return e.putSetting(tx, "crl", c)
	})
	return &c, err
}

type successResponse struct {
	Success bool `json:"success"`
}

func (e *Engine) rotateCRL(ctx context.Context, _ *route.Call, _ struct{}) (*successResponse, error) {
	_, err := e.changeCRL(ctx, func(c *crlConfig) error {
		c.Rotated = e.host.Clock.Now().UnixNano()
		return nil
	})
	return &successResponse{true}, err
}

func (e *Engine) rotateDelta(ctx context.Context, _ *route.Call, _ struct{}) (*successResponse, error) {
	_, err := e.changeCRL(ctx, func(c *crlConfig) error {
		c.DeltaRotated = e.host.Clock.Now().UnixNano()
		return nil
	})
	return &successResponse{true}, err
}

// crlBytes answers a list as bytes; 204 if there is none.
func (e *Engine) crlBytes(ctx context.Context, c *route.Call, ref string, delta, text bool) (route.Bytes, error) {
	l, err := e.list(ctx, ref, delta)
	if fault.KindOf(err) == fault.NotFound && err != nil || err == errNoDefault { //nolint:errorlint // it is that very value
		return route.Bytes{}, nil
	}
	if err != nil {
		return route.Bytes{}, asMissing(err)
	}
	if unmodified(c, l.cut) {
		return notModified, nil
	}
	out := route.Bytes{ContentType: typeCRL, Body: l.der, Header: map[string]string{"Last-Modified": httpTime(l.cut)}}
	if text {
		out.ContentType, out.Body = typePEM, []byte(l.pem())
	}
	return out, nil
}

func (e *Engine) crlDER(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.crlBytes(ctx, c, refDefault, false, false)
}

func (e *Engine) crlPEM(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.crlBytes(ctx, c, refDefault, false, true)
}

func (e *Engine) deltaDER(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.crlBytes(ctx, c, refDefault, true, false)
}

func (e *Engine) deltaPEM(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.crlBytes(ctx, c, refDefault, true, true)
}

func (e *Engine) issuerCRLDER(ctx context.Context, c *route.Call, in issuerRequest) (route.Bytes, error) {
	return e.crlBytes(ctx, c, in.Ref, false, false)
}

func (e *Engine) issuerCRLPEM(ctx context.Context, c *route.Call, in issuerRequest) (route.Bytes, error) {
	return e.crlBytes(ctx, c, in.Ref, false, true)
}

func (e *Engine) issuerDeltaDER(ctx context.Context, c *route.Call, in issuerRequest) (route.Bytes, error) {
	return e.crlBytes(ctx, c, in.Ref, true, false)
}

func (e *Engine) issuerDeltaPEM(ctx context.Context, c *route.Call, in issuerRequest) (route.Bytes, error) {
	return e.crlBytes(ctx, c, in.Ref, true, true)
}

type crlResponse struct {
	CRL string `json:"crl"`
}

func (e *Engine) issuerCRL(ctx context.Context, _ *route.Call, in issuerRequest) (*crlResponse, error) {
	return e.crlText(ctx, in.Ref, false)
}

func (e *Engine) issuerDelta(ctx context.Context, _ *route.Call, in issuerRequest) (*crlResponse, error) {
	return e.crlText(ctx, in.Ref, true)
}

func (e *Engine) crlText(ctx context.Context, ref string, delta bool) (*crlResponse, error) {
	l, err := e.list(ctx, ref, delta)
	if err != nil {
		return nil, asMissing(err)
	}
	return &crlResponse{l.pem() + "\n"}, nil
}
