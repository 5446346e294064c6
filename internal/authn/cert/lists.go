package cert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// listRow is what is known of a revocation list without reading it.
type listRow struct {
	// Version changes with the list, so that an instance knows whether the one
	// that it has parsed is in force.
	Version string  `json:"version"`
	Source  *source `json:"source,omitempty"`
}

// source is where a list is fetched from.
type source struct {
	URL        string    `json:"url"`
	ValidUntil time.Time `json:"valid_until"`
}

// list is a parsed revocation list.
type list struct {
	version string
	crl     *x509.RevocationList
	serials map[string]struct{}
	// verified remembers whose signature of the list was found good.
	verified map[[sha256.Size]byte]bool // guarded by the method's mu
}

func (m *method) listKey(name string) store.Key { return m.storage.Key(kindList, name) }
func (m *method) derKey(name string) store.Key  { return m.storage.Key(kindDER, name) }

var errNoList = fault.New(fault.Invalid, "no such revocation list")

func (m *method) listLists(ctx context.Context, _ *route.Call, _ listRequest) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kindList), "", 0)
		return err
	})
	return keys, err
}

func (m *method) readList(ctx context.Context, _ *route.Call, in listName) (a listAnswer, err error) {
	if err := authn.CheckName("revocation list", in.Name); err != nil {
		return a, err
	}
	var row listRow
	var l *list
	err = m.storage.View(ctx, func(r store.Reader) (err error) {
		if row, err = store.GetJSON[listRow](r, m.listKey(in.Name)); err != nil {
			return err
		}
		l, err = m.list(r, in.Name, row)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return a, errNoList
	}
	if err != nil {
		return a, err
	}
	return listAnswer{Serials: l.serials, CDP: row.Source}, nil
}

func (m *method) writeList(ctx context.Context, _ *route.Call, in listWrite) (route.None, error) {
	if err := authn.CheckName("revocation list", in.Name); err != nil {
		return route.None{}, err
	}
	switch {
	case (in.CRL == "") == (in.URL == ""):
		return route.None{}, fault.New(fault.Invalid, "give either crl or url")
	case in.URL != "" && !isURL(in.URL):
		return route.None{}, fault.New(fault.Invalid, `url is one such as "http://ca.example/ca.crl"`)
	case in.URL != "":
		der, err := m.fetch(ctx, in.URL)
		if errors.Is(err, fault.Upstream) {
			err = fault.Wrap(fault.Invalid, err, "the revocation list cannot be fetched from url")
		}
		if err != nil {
			return route.None{}, err
		}
		return route.None{}, m.keep(ctx, in.Name, der, &source{URL: in.URL}, false)
	}
	der := []byte(in.CRL)
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	return route.None{}, m.keep(ctx, in.Name, der, nil, false)
}

// fetch gets a list, in DER or PEM form.
func (m *method) fetch(ctx context.Context, url string) ([]byte, error) {
	body, err := m.outbound.Fetch(ctx, url, "application/pkix-crl")
	if block, _ := pem.Decode(body); block != nil {
		body = block.Bytes
	}
	return body, err
}

// The limits of when a list is fetched again.
const (
	soonest = 10 * time.Minute
	latest  = 24 * time.Hour
)

// keep stores a list. A list that is fetched in the place of another must still
// have its row: it may have been deleted meanwhile.
func (m *method) keep(ctx context.Context, name string, der []byte, from *source, refetched bool) error {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return fault.New(fault.Invalid, "failed to parse CRL: give an X.509 revocation list in PEM form")
	}
	version, err := wire.NewUUID(m.rand)
	if err != nil {
		return err
	}
	now := m.clock.Now()
	if from != nil {
		from.ValidUntil = crl.NextUpdate
	}
	return m.storage.Update(ctx, func(tx store.Txn) error {
		if refetched {
			row, err := store.GetJSON[listRow](tx, m.listKey(name))
			if errors.Is(err, store.ErrNotFound) || err == nil && (row.Source == nil || row.Source.URL != from.URL) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		if err := tx.Put(m.derKey(name), der); err != nil {
			return err
		}
		if err := store.PutJSON(tx, m.listKey(name), listRow{Version: version, Source: from}); err != nil {
			return err
		}
		if from == nil {
			return m.timers.Cancel(tx, name)
		}
		return m.timers.Schedule(tx, name, nextFetch(now, crl.NextUpdate))
	})
}

// nextFetch is when a list is fetched again: when its next update is due, but
// neither at once nor much later.
func nextFetch(now, due time.Time) time.Time {
	switch {
	case due.Before(now.Add(soonest)):
		return now.Add(soonest)
	case due.After(now.Add(latest)):
		return now.Add(latest)
	}
	return due
}

// Fire fetches the list called name again. A list that cannot be fetched stays in
// force as it is, and is tried again.
func (m *method) Fire(ctx context.Context, name string) error {
	var row listRow
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		row, err = store.GetJSON[listRow](r, m.listKey(name))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && row.Source == nil {
		return nil
	}
	if err != nil {
		return err
	}
	der, err := m.fetch(ctx, row.Source.URL)
	if err != nil {
		return err
	}
	return m.keep(ctx, name, der, &source{URL: row.Source.URL}, true)
}

func (m *method) deleteList(ctx context.Context, _ *route.Call, in listName) (route.None, error) {
	if err := authn.CheckName("revocation list", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		if err := tx.Delete(m.listKey(in.Name)); err != nil {
			return err
		}
		if err := tx.Delete(m.derKey(in.Name)); err != nil {
			return err
		}
		return m.timers.Cancel(tx, in.Name)
	})
}

// list parses a list, or returns it as it was parsed before.
func (m *method) list(r store.Reader, name string, row listRow) (*list, error) {
	m.mu.Lock()
	known := m.lists[name]
	m.mu.Unlock()
	if known != nil && known.version == row.Version {
		return known, nil
	}
	der, err := r.Get(m.derKey(name))
	if err != nil {
		return nil, err
	}
	crl, err := x509.ParseRevocationList(bytes.Clone(der))
	if err != nil {
		return nil, fmt.Errorf("parsing the revocation list %q: %w", name, err)
	}
	l := &list{version: row.Version, crl: crl, serials: make(map[string]struct{}, len(crl.RevokedCertificateEntries)), verified: map[[sha256.Size]byte]bool{}}
	for _, e := range crl.RevokedCertificateEntries {
		l.serials[e.SerialNumber.String()] = struct{}{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists[name] = l
	return l, nil
}

// listsInForce returns the revocation lists. They are read with each login, so
// none is missed by the first login after a start.
func (m *method) listsInForce(r store.Reader) ([]*list, error) {
	names, err := store.Children(r, m.storage.Key(kindList), "", 0)
	if err != nil {
		return nil, err
	}
	all := make([]*list, 0, len(names))
	for _, name := range names {
		row, err := store.GetJSON[listRow](r, m.listKey(name))
		if err != nil {
			return nil, err
		}
		l, err := m.list(r, name, row)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	m.forget(names)
	return all, nil
}

// forget drops what was parsed of lists that are no more.
func (m *method) forget(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.lists) <= len(names) {
		return
	}
	have := make(map[string]bool, len(names))
	for _, n := range names {
		have[n] = true
	}
	for n := range m.lists {
		if !have[n] {
			delete(m.lists, n)
		}
	}
}

// revokes reports whether a list revokes a certificate of an issuer. A list of
// the issuer's name and key that the issuer has not signed makes every login
// fail: somebody has put it there.
func (m *method) revokes(l *list, c, issuer *x509.Certificate) (bool, error) {
	if !bytes.Equal(l.crl.RawIssuer, c.RawIssuer) {
		return false, nil
	}
	if a, b := l.crl.AuthorityKeyId, issuer.SubjectKeyId; len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) {
		return false, nil // of an authority's earlier or later key
	}
	if !m.signed(l, issuer) {
		return false, fault.New(fault.Unauthenticated, "a revocation list bears the name of the certificate's issuer, who has not signed it")
	}
	_, revoked := l.serials[c.SerialNumber.String()]
	return revoked, nil
}

func (m *method) signed(l *list, issuer *x509.Certificate) bool {
	who := sha256.Sum256(issuer.Raw)
	m.mu.Lock()
	known := l.verified[who]
	m.mu.Unlock()
	if known {
		return true
	}
	if l.crl.CheckSignatureFrom(issuer) != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.verified[who] = true
	return true
}
