package pki

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// The timers of tidying: one for the next page of a tidy that runs, one for the
// next tidy of its own accord.
const (
	timerTidy = "tidy"
	timerAuto = "auto-tidy"
)

// tidyOptions are what a tidy does.
type tidyOptions struct {
	CertStore          bool          `json:"tidy_cert_store"`
	Revoked            bool          `json:"tidy_revoked_certs"`
	Associations       bool          `json:"tidy_revoked_cert_issuer_associations"`
	ExpiredIssuers     bool          `json:"tidy_expired_issuers"`
	Invalid            bool          `json:"tidy_invalid_certs"`
	Legacy             bool          `json:"tidy_move_legacy_ca_bundle"`
	ACME               bool          `json:"tidy_acme"`
	SafetyBuffer       wire.Duration `json:"safety_buffer"`
	RevokedBuffer      wire.Duration `json:"revoked_safety_buffer"`
	IssuerSafetyBuffer wire.Duration `json:"issuer_safety_buffer"`
	AccountBuffer      wire.Duration `json:"acme_account_safety_buffer"`
	PageSize           int           `json:"page_size"`
	Pause              string        `json:"pause_duration"`
}

func defaultTidy() tidyOptions {
	return tidyOptions{SafetyBuffer: hours(72), RevokedBuffer: hours(72), IssuerSafetyBuffer: hours(365 * 24), AccountBuffer: hours(30 * 24), PageSize: 1000, Pause: "0s"}
}

// autoTidy are the settings of tidying of its own accord.
type autoTidy struct {
	tidyOptions
	Enabled  bool          `json:"enabled"`
	Interval wire.Duration `json:"interval_duration"`
	Maintain bool          `json:"maintain_stored_certificate_counts"`
	Publish  bool          `json:"publish_stored_certificate_count_metrics"`
}

func defaultAutoTidy() autoTidy { return autoTidy{tidyOptions: defaultTidy(), Interval: hours(12)} }

// tidyRequest is what the endpoints of tidying share.
type tidyRequest struct {
	CertStore          wire.Opt[bool]          `json:"tidy_cert_store" doc:"Remove certificates that have ended."`
	Revoked            wire.Opt[bool]          `json:"tidy_revoked_certs" alias:"tidy_revocation_list" doc:"Remove revocations of certificates that have ended."`
	Associations       wire.Opt[bool]          `json:"tidy_revoked_cert_issuer_associations" doc:"Nothing to do: every revocation names its issuer."`
	ExpiredIssuers     wire.Opt[bool]          `json:"tidy_expired_issuers" doc:"Remove issuers that have ended, but the default."`
	Invalid            wire.Opt[bool]          `json:"tidy_invalid_certs" doc:"Remove certificates that cannot be read."`
	Legacy             wire.Opt[bool]          `json:"tidy_move_legacy_ca_bundle" doc:"Nothing to do: there is no older form."`
	ACME               wire.Opt[bool]          `json:"tidy_acme" doc:"Remove orders that have ended, and accounts without orders."`
	SafetyBuffer       wire.Opt[wire.Duration] `json:"safety_buffer" doc:"How long after their end certificates stay."`
	RevokedBuffer      wire.Opt[wire.Duration] `json:"revoked_safety_buffer" doc:"How long after their end revocations stay; safety_buffer if not given."`
	IssuerSafetyBuffer wire.Opt[wire.Duration] `json:"issuer_safety_buffer" doc:"How long after their end issuers stay."`
	AccountBuffer      wire.Opt[wire.Duration] `json:"acme_account_safety_buffer" doc:"How long accounts without orders stay."`
	PageSize           wire.Opt[int]           `json:"page_size" doc:"Rows looked at in one transaction."`
	Pause              wire.Opt[string]        `json:"pause_duration" doc:"Rest between two pages."`
}

func (q *tidyRequest) into(o *tidyOptions) error {
	for _, f := range []struct {
		from wire.Opt[bool]
		to   *bool
	}{{q.CertStore, &o.CertStore}, {q.Revoked, &o.Revoked}, {q.Associations, &o.Associations}, {q.ExpiredIssuers, &o.ExpiredIssuers}, {q.Invalid, &o.Invalid}, {q.Legacy, &o.Legacy}, {q.ACME, &o.ACME}} {
		f.from.Into(f.to)
	}
	if q.SafetyBuffer.Set && !q.RevokedBuffer.Set {
		o.RevokedBuffer = q.SafetyBuffer.Value
	}
	for _, f := range []struct {
		from wire.Opt[wire.Duration]
		to   *wire.Duration
	}{{q.SafetyBuffer, &o.SafetyBuffer}, {q.RevokedBuffer, &o.RevokedBuffer}, {q.IssuerSafetyBuffer, &o.IssuerSafetyBuffer}, {q.AccountBuffer, &o.AccountBuffer}} {
		f.from.Into(f.to)
	}
	if q.PageSize.Set {
		o.PageSize = q.PageSize.Value
	}
	if q.Pause.Set {
		d, err := wire.ParseDurationText(q.Pause.Value)
		if err != nil {
			return fault.Newf(fault.Invalid, "field %q: %s", "pause_duration", err)
		}
		o.Pause = d.String()
	}
	switch {
	case o.SafetyBuffer.D() < time.Second, o.RevokedBuffer.D() < time.Second, o.IssuerSafetyBuffer.D() < time.Second:
		return fault.New(fault.Invalid, "the safety buffers must be at least one second")
	case o.PageSize < 1 || o.PageSize > 10_000:
		return fault.New(fault.Invalid, "page_size must be between 1 and 10000")
	}
	return nil
}

func (o *tidyOptions) any() bool {
	return o.CertStore || o.Revoked || o.Associations || o.ExpiredIssuers || o.Invalid || o.Legacy || o.ACME
}

// The states of a tidy.
const (
	tidyInactive  = "Inactive"
	tidyRunning   = "Running"
	tidyFinished  = "Finished"
	tidyCancelled = "Cancelled"
)

// tidyState is where tidying stands: it outlives the node that does it.
type tidyState struct {
	State    string
	Options  tidyOptions
	Auto     bool
	Stage    int    // of [stages]
	From     []byte // the key of the row that comes next; nil begins
	Started  time.Time
	Finished time.Time
	LastAuto time.Time
	Certs    int // what was removed
	Revoked  int
	Orders   int
	Accounts int
}

func (e *Engine) tidyState(r store.Reader) (tidyState, error) {
	s, err := store.GetJSON[tidyState](r, e.key(kindTidy))
	if errors.Is(err, store.ErrNotFound) {
		return tidyState{State: tidyInactive, Options: defaultTidy()}, nil
	}
	return s, err
}

func (e *Engine) tidy(ctx context.Context, c *route.Call, in tidyRequest) (*route.Reply, error) {
	busy := false
	err := e.update(ctx, func(tx store.Txn) error {
		o := defaultTidy()
		if err := in.into(&o); err != nil {
			return err
		}
		if !o.any() {
			return fault.New(fault.Invalid, "nothing to do: switch on at least one of the tidy_ parameters")
		}
		s, err := e.tidyState(tx)
		if busy = s.State == tidyRunning; busy || err != nil {
			return err
		}
		return e.beginTidy(tx, s, o, false)
	})
	if err != nil {
		return nil, err
	}
	if busy {
		return &route.Reply{Accepted: true, Warn: "A tidy is running already; its state is at tidy-status."}, nil
	}
	return &route.Reply{Accepted: true, Warn: "Tidying has begun; its state is at tidy-status."}, nil
}

func (e *Engine) beginTidy(tx store.Txn, last tidyState, o tidyOptions, auto bool) error {
	s := tidyState{State: tidyRunning, Options: o, Auto: auto, Started: e.host.Clock.Now(), LastAuto: last.LastAuto}
	if err := store.PutJSON(tx, e.key(kindTidy), s); err != nil {
		return err
	}
	return e.host.Timers.Schedule(tx, timerTidy, e.host.Clock.Now())
}

func (e *Engine) cancelTidy(ctx context.Context, c *route.Call, _ struct{}) (*route.Reply, error) {
	running := false
	err := e.update(ctx, func(tx store.Txn) error {
		s, err := e.tidyState(tx)
		if running = s.State == tidyRunning; !running || err != nil {
			return err
		}
		s.State, s.Finished = tidyCancelled, e.host.Clock.Now()
		if err := e.host.Timers.Cancel(tx, timerTidy); err != nil {
			return err
		}
		return store.PutJSON(tx, e.key(kindTidy), s)
	})
	if err != nil {
		return nil, err
	}
	if !running {
		c.Warn("No tidy is running.")
		return &route.Reply{NoContent: true}, nil
	}
	status, err := e.readTidyStatus(ctx, c, struct{}{})
	if err != nil {
		return nil, err
	}
	return route.Data(status)
}

type tidyStatus struct {
	tidyOptions
	AccountsDeleted int     `json:"acme_account_deleted_count"`
	AccountsRevoked int     `json:"acme_account_revoked_count"`
	OrdersDeleted   int     `json:"acme_orders_deleted_count"`
	TotalAccounts   int     `json:"total_acme_account_count"`
	CertsDeleted    int     `json:"cert_store_deleted_count"`
	RevokedDeleted  int     `json:"revoked_cert_deleted_count"`
	MissingIssuer   int     `json:"missing_issuer_cert_count"`
	CurrentCerts    *int    `json:"current_cert_store_count"`
	CurrentRevoked  *int    `json:"current_revoked_cert_count"`
	Error           *string `json:"error"`
	UUID            string  `json:"internal_backend_uuid"`
	LastAuto        string  `json:"last_auto_tidy_finished"`
	Message         *string `json:"message"`
	State           string  `json:"state"`
	Started         *string `json:"time_started"`
	Finished        *string `json:"time_finished"`
}

func (e *Engine) readTidyStatus(ctx context.Context, c *route.Call, _ struct{}) (*tidyStatus, error) {
	var s tidyState
	err := e.view(ctx, func(r store.Reader) (err error) {
		s, err = e.tidyState(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &tidyStatus{
		tidyOptions: s.Options, AccountsDeleted: s.Accounts, OrdersDeleted: s.Orders, CertsDeleted: s.Certs, RevokedDeleted: s.Revoked,
		UUID: c.Mount.UUID, LastAuto: rfc3339(s.LastAuto), State: s.State, Started: optionalTime(s.Started), Finished: optionalTime(s.Finished),
	}
	if s.State == tidyRunning {
		stage := stageNames[min(s.Stage, len(stageNames)-1)]
		out.Message = &stage
	}
	return out, nil
}

func optionalTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := rfc3339(t)
	return &text
}

type autoTidyRequest struct {
	tidyRequest
	Enabled  wire.Opt[bool]          `json:"enabled" doc:"Tidy at intervals."`
	Interval wire.Opt[wire.Duration] `json:"interval_duration" doc:"Time between two tidies."`
	Maintain wire.Opt[bool]          `json:"maintain_stored_certificate_counts" doc:"Kept and shown; nothing is counted."`
	Publish  wire.Opt[bool]          `json:"publish_stored_certificate_count_metrics" doc:"Kept and shown; nothing is counted."`
}

func (e *Engine) readAutoTidy(ctx context.Context, _ *route.Call, _ struct{}) (*autoTidy, error) {
	c := defaultAutoTidy()
	err := e.view(ctx, func(r store.Reader) error { return setting(e, r, "tidy", &c) })
	return &c, err
}

func (e *Engine) writeAutoTidy(ctx context.Context, _ *route.Call, in autoTidyRequest) (*autoTidy, error) {
	var c autoTidy
	err := e.update(ctx, func(tx store.Txn) error {
		c = defaultAutoTidy()
		if err := setting(e, tx, "tidy", &c); err != nil {
			return err
		}
		if err := in.into(&c.tidyOptions); err != nil {
			return err
		}
		in.Enabled.Into(&c.Enabled)
		in.Interval.Into(&c.Interval)
		in.Maintain.Into(&c.Maintain)
		in.Publish.Into(&c.Publish)
		switch {
		case c.Interval.D() < time.Second:
			return fault.New(fault.Invalid, "interval_duration must be at least one second")
		case c.Enabled && !c.any():
			return fault.New(fault.Invalid, "nothing to do: switch on at least one of the tidy_ parameters")
		case c.Publish && !c.Maintain:
			return fault.New(fault.Invalid, "publish_stored_certificate_count_metrics needs maintain_stored_certificate_counts")
		}
		if err := e.putSetting(tx, "tidy", c); err != nil {
			return err
		}
		if !c.Enabled {
			return e.host.Timers.Cancel(tx, timerAuto)
		}
		return e.host.Timers.Schedule(tx, timerAuto, e.host.Clock.Now().Add(c.Interval.D()))
	})
	return &c, err
}

// Fire does what a timer was set for.
func (e *Engine) Fire(ctx context.Context, name string) error {
	switch name {
	case timerAuto:
		return e.autoTidyDue(ctx)
	case timerTidy:
		return e.tidyPage(ctx)
	}
	return nil
}

func (e *Engine) autoTidyDue(ctx context.Context) error {
	return e.update(ctx, func(tx store.Txn) error {
		c := defaultAutoTidy()
		if err := setting(e, tx, "tidy", &c); err != nil || !c.Enabled {
			return err
		}
		s, err := e.tidyState(tx)
		if err != nil {
			return err
		}
		if s.State != tidyRunning {
			if err := e.beginTidy(tx, s, c.tidyOptions, true); err != nil {
				return err
			}
		}
		return e.host.Timers.Schedule(tx, timerAuto, e.host.Clock.Now().Add(c.Interval.D()))
	})
}

// stageNames say what is done, in this order.
var stageNames = []string{"Tidying certificate store", "Tidying revoked certificates", "Tidying unreadable certificates", "Tidying expired issuers", "Tidying ACME"}

// tidyPage does one page of the tidy that runs, in one transaction with the
// note of how far it is, and asks to be called for the next.
func (e *Engine) tidyPage(ctx context.Context) error {
	return e.update(ctx, func(tx store.Txn) error {
		s, err := e.tidyState(tx)
		if err != nil || s.State != tidyRunning {
			return err
		}
		stages := []struct {
			on bool
			do func(store.Txn, *tidyState) (next string, err error)
		}{{s.Options.CertStore, e.tidyCerts}, {s.Options.Revoked, e.tidyRevoked}, {s.Options.Invalid, e.tidyInvalid}, {s.Options.ExpiredIssuers, e.tidyIssuers}, {s.Options.ACME, e.tidyACME}}
		for s.Stage < len(stages) && !stages[s.Stage].on {
			s.Stage++
		}
		if s.Stage == len(stages) {
			return e.endTidy(tx, s)
		}
		next, err := stages[s.Stage].do(tx, &s)
		if err != nil {
			return err
		}
		if s.From = []byte(next); next == "" {
			s.Stage++
		}
		if err := store.PutJSON(tx, e.key(kindTidy), s); err != nil {
			return err
		}
		pause, err := time.ParseDuration(s.Options.Pause)
		if err != nil {
			pause = 0
		}
		return e.host.Timers.Schedule(tx, timerTidy, e.host.Clock.Now().Add(pause))
	})
}

func (e *Engine) endTidy(tx store.Txn, s tidyState) error {
	s.State, s.Finished = tidyFinished, e.host.Clock.Now()
	if s.Auto {
		s.LastAuto = s.Finished
	}
	if s.Revoked > 0 {
		// Rows have gone that lists took their number from: they begin anew.
		c := defaultCRL()
		if err := setting(e, tx, "crl", &c); err != nil {
			return err
		}
		c.Rotated = e.host.Clock.Now().UnixNano()
		if err := e.putSetting(tx, "crl", c); err != nil {
			return err
		}
	}
	return store.PutJSON(tx, e.key(kindTidy), s)
}

// page calls fn for the rows of a range, from where the last page ended, and
// returns where the next begins.
func (e *Engine) page(tx store.Txn, s *tidyState, rng store.Range, fn func(store.Entry) error) (next string, err error) {
	if len(s.From) > 0 && rng.Contains(store.Key(s.From)) {
		rng.Start = store.Key(s.From)
	}
	rng.Limit = s.Options.PageSize + 1
	var rows []store.Entry
	for entry, err := range tx.Scan(rng) {
		if err != nil {
			return "", err
		}
		rows = append(rows, store.Entry{Key: entry.Key, Value: append([]byte(nil), entry.Value...)})
	}
	for n, row := range rows {
		if n == s.Options.PageSize {
			return string(row.Key), nil
		}
		if err := fn(row); err != nil {
			return "", err
		}
	}
	return "", nil
}

// tidyCerts removes certificates that have ended: the head of their index.
func (e *Engine) tidyCerts(tx store.Txn, s *tidyState) (string, error) {
	rng := store.Under(e.key(kindExpiry))
	rng.End = e.key(kindExpiry, expiryPart(e.host.Clock.Now().Add(-s.Options.SafetyBuffer.D()).Unix()))
	return e.page(tx, s, rng, func(row store.Entry) error {
		serial := row.Key.Last()
		rec, err := e.cert(tx, new(big.Int).SetBytes([]byte(serial)))
		if errors.Is(err, store.ErrNotFound) {
			return tx.Delete(row.Key)
		}
		if err != nil {
			return err
		}
		s.Certs++
		return e.dropCert(tx, serial, rec)
	})
}

// tidyRevoked removes revocations of certificates that have ended. One that has
// not is never removed, whatever else is known of it.
func (e *Engine) tidyRevoked(tx store.Txn, s *tidyState) (string, error) {
	before := e.host.Clock.Now().Add(-s.Options.RevokedBuffer.D()).Unix()
	return e.page(tx, s, store.Under(e.key(kindRevoked)), func(row store.Entry) error {
		rev, err := store.GetJSON[revocation](tx, row.Key)
		if err != nil || rev.NotAfter >= before {
			return nil //nolint:nilerr // a row that cannot be read is kept
		}
		s.Revoked++
		return tx.Delete(row.Key)
	})
}

// tidyInvalid removes records that cannot be read.
func (e *Engine) tidyInvalid(tx store.Txn, s *tidyState) (string, error) {
	return e.page(tx, s, store.Under(e.key(kindCert)), func(row store.Entry) error {
		if _, err := store.GetJSON[record](tx, row.Key); err == nil {
			return nil
		}
		s.Certs++
		return e.dropCert(tx, row.Key.Last(), nil)
	})
}

// tidyIssuers removes issuers that have ended, but the default.
func (e *Engine) tidyIssuers(tx store.Txn, s *tidyState) (string, error) {
	a, err := e.load(tx)
	if err != nil {
		return "", err
	}
	before := e.host.Clock.Now().Add(-s.Options.IssuerSafetyBuffer.D())
	for _, i := range a.issuers {
		if i.cert.NotAfter.Before(before) && i.ID != a.issuing.Default {
			if err := tx.Delete(e.key(kindIssuer, i.ID)); err != nil {
				return "", err
			}
		}
	}
	return "", nil
}
