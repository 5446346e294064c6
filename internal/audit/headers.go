package audit

import (
	"context"
	"iter"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// headerRule is one audited request header.
type headerRule struct {
	name string // lower case, as it is stored, listed and written
	hmac bool
}

// headerSet is the list of headers that entries show: the configured ones and
// those that are always shown. It is immutable.
type headerSet struct {
	rules map[string]headerRule // by canonical name, as HTTP servers give it
	names []string              // the canonical names, sorted
}

// alwaysAudited are shown in clear unless the configuration says otherwise:
// they tell tools and requests apart and carry no secret.
var alwaysAudited = [...]string{"user-agent", "correlation-id", "x-correlation-id"}

// credentialHeaders carry secrets by definition. They are hashed whatever the
// configuration says.
var credentialHeaders = [...]string{"authorization", "cookie", "proxy-authorization", "x-vault-token"}

func newHeaderSet(configured iter.Seq2[string, bool]) *headerSet {
	s := &headerSet{rules: make(map[string]headerRule)}
	for _, name := range alwaysAudited {
		s.rules[textproto.CanonicalMIMEHeaderKey(name)] = headerRule{name, false}
	}
	for name, hmac := range configured {
		name = strings.ToLower(name)
		hmac = hmac || slices.Contains(credentialHeaders[:], name)
		s.rules[textproto.CanonicalMIMEHeaderKey(name)] = headerRule{name, hmac}
	}
	s.names = slices.Sorted(maps.Keys(s.rules))
	return s
}

// lookup returns how the header called name is written, if it is.
func (s *headerSet) lookup(name string) (written string, hmac, ok bool) {
	if s == nil {
		return "", false, false
	}
	r, ok := s.rules[name]
	if !ok {
		// Callers pass canonical names; this is for those that do not.
		r, ok = s.rules[textproto.CanonicalMIMEHeaderKey(name)]
	}
	return r.name, r.hmac, ok
}

// SelectHeaders appends to dst those headers of a request that entries show.
// get returns the values of a header by its canonical name, as
// net/http.Header.Values does.
func (b *Broker) SelectHeaders(dst []Header, get func(name string) []string) []Header {
	v := b.view.Load()
	if v == nil {
		return dst
	}
	for _, name := range v.headers.names {
		if values := get(name); len(values) > 0 {
			dst = append(dst, Header{Name: name, Values: values})
		}
	}
	return dst
}

// headerRow is an audited header as it is stored.
type headerRow struct {
	HMAC bool `json:"hmac"`
}

func headerKey(parts ...string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindAuditHeader, parts...)
}

// Headers yields the configured request headers, by name in lower case, and
// whether their values are hashed.
func (b *Broker) Headers(ctx context.Context) (iter.Seq2[string, bool], error) {
	var rows map[string]headerRow
	err := b.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		rows, err = readRows(r, headerKey(), headerRow{HMAC: true})
		return err
	})
	return func(yield func(string, bool) bool) {
		for _, name := range slices.Sorted(maps.Keys(rows)) {
			if !yield(name, rows[name].HMAC) {
				return
			}
		}
	}, err
}

// AuditHeader adds a request header to those that entries show.
func (b *Broker) AuditHeader(ctx context.Context, name string, hmac bool) error {
	if err := checkHeader(name); err != nil {
		return err
	}
	_, err := b.cfg.Store.Update(ctx, func(tx store.Txn) error {
		return store.PutJSON(tx, headerKey(strings.ToLower(name)), headerRow{HMAC: hmac})
	})
	return err
}

// DropHeader removes a header from those that entries show.
func (b *Broker) DropHeader(ctx context.Context, name string) error {
	if err := checkHeader(name); err != nil {
		return err
	}
	_, err := b.cfg.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(headerKey(strings.ToLower(name))) })
	return err
}

// checkHeader wants a token of RFC 9110, section 5.6.2.
func checkHeader(name string) error {
	bad := func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	}
	if name == "" || len(name) > 256 || strings.ContainsFunc(name, bad) {
		return fault.New(fault.Invalid, "that is not a header's name")
	}
	return nil
}
