package pki

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/mail"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/store"
)

// account is an ACME account as it is stored, at ("account", id). The row
// ("thumb", thumbprint of its key) holds its id.
type account struct {
	ID      string
	Key     jose.JSONWebKey
	Status  string
	Contact []string
	// External is the id of the external account's key that it is bound to.
	External string `json:",omitempty"`
	Created  time.Time
	// Directory is the prefix of the directory that it was made at.
	Directory string
}

type accountJSON struct {
	Contact []string `json:"contact"`
	Orders  string   `json:"orders"`
	Status  string   `json:"status"`
}

func (s *signed) accountAnswer(status int, a *account) *acmeAnswer {
	url := s.base + "/account/" + a.ID
	contact := a.Contact
	if contact == nil {
		contact = []string{}
	}
	return &acmeAnswer{status: status, location: url, body: accountJSON{Contact: contact, Orders: url + "/orders", Status: a.Status}}
}

// accountAt reads the account that a URL names.
func (e *Engine) accountAt(ctx context.Context, url string) (*account, error) {
	ca, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	missing := acme.Errorf(acme.AccountDoesNotExist, "there is no such account")
	path, ok := strings.CutPrefix(url, ca.cluster.Path+"/")
	_, id, found := strings.Cut(path, "acme/account/")
	if !ok || !found || id == "" {
		return nil, missing
	}
	var a account
	err = e.view(ctx, func(r store.Reader) (err error) {
		a, err = store.GetJSON[account](r, e.key(kindACME, "account", id))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	return &a, err
}

type newAccountPayload struct {
	Contact  []string        `json:"contact"`
	Existing bool            `json:"onlyReturnExisting"`
	Status   string          `json:"status"`
	External json.RawMessage `json:"externalAccountBinding"`
}

// maxContacts bounds the contacts of an account.
const maxContacts = 10

func checkContacts(list []string) error {
	if len(list) > maxContacts {
		return acme.Errorf(acme.InvalidContact, "an account has at most %d contacts", maxContacts)
	}
	for _, c := range list {
		address, ok := strings.CutPrefix(c, "mailto:")
		if _, err := mail.ParseAddress(address); !ok || err != nil || len(c) > 320 || strings.ContainsAny(address, "?,<> ") {
			return acme.Errorf(acme.InvalidContact, "contacts are of the form mailto:somebody@example.org")
		}
	}
	return nil
}

// acmeNewAccount makes the account of a key, or finds it.
func (e *Engine) acmeNewAccount(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if s.request.JWK == nil {
		return nil, acme.Errorf(acme.Malformed, "the request must carry its key (jwk)")
	}
	var p newAccountPayload
	if err := s.decode(&p); err != nil {
		return nil, err
	}
	thumb, err := acme.Thumbprint(s.request.JWK)
	if err != nil {
		return nil, err
	}
	if err := checkContacts(p.Contact); err != nil {
		return nil, err
	}
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	var a account
	status := 201
	err = e.update(ctx, func(tx store.Txn) error {
		status = 201
		old, err := tx.Get(e.key(kindACME, "thumb", thumb))
		if err == nil {
			status = 200
			a, err = store.GetJSON[account](tx, e.key(kindACME, "account", string(old)))
			return err
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if p.Existing {
			return acme.Errorf(acme.AccountDoesNotExist, "there is no account with this key")
		}
		a = account{ID: id, Key: *s.request.JWK, Status: statusValid, Contact: p.Contact, Created: s.call.Now, Directory: s.prefix}
		if a.External, err = e.bind(tx, s, p.External); err != nil {
			return err
		}
		if err := tx.Put(e.key(kindACME, "thumb", thumb), []byte(id)); err != nil {
			return err
		}
		return store.PutJSON(tx, e.key(kindACME, "account", id), a)
	})
	if err != nil {
		return nil, err
	}
	if a.Status != statusValid {
		return nil, acme.Errorf(acme.Unauthorized, "the account of this key is %s", a.Status)
	}
	return s.accountAnswer(status, &a), nil
}

// bind checks a binding to an external account, and uses its key up.
func (e *Engine) bind(tx store.Txn, s *signed, binding json.RawMessage) (string, error) {
	if len(binding) == 0 || string(binding) == "null" {
		if s.config.EABPolicy != eabNotRequired {
			return "", acme.Errorf(acme.ExternalAccountRequired, "a new account must be bound to an external account")
		}
		return "", nil
	}
	id, err := acme.BoundKeyID(binding)
	if err != nil {
		return "", err
	}
	k, err := store.GetJSON[eabKey](tx, e.key(kindACME, "eab", id))
	if errors.Is(err, store.ErrNotFound) {
		return "", acme.Errorf(acme.Unauthorized, "the external account binding is invalid")
	}
	if err != nil {
		return "", err
	}
	if k.Directory != s.prefix {
		return "", acme.Errorf(acme.Unauthorized, "the external account's key is for another directory")
	}
	mac, err := base64.RawURLEncoding.DecodeString(k.Key)
	if err != nil {
		return "", err
	}
	if err := acme.CheckBinding(binding, mac, s.request.JWK, s.request.URL); err != nil {
		return "", err
	}
	return id, tx.Delete(e.key(kindACME, "eab", id))
}

// acmeAccount reads, changes or deactivates the caller's account.
func (e *Engine) acmeAccount(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	if s.call.Param("kid") != s.account.ID {
		return nil, acme.Errorf(acme.Unauthorized, "the account is another one's")
	}
	var p struct {
		Contact *[]string `json:"contact"`
		Status  string    `json:"status"`
	}
	if err := s.decode(&p); err != nil {
		return nil, err
	}
	if p.Contact == nil && p.Status == "" {
		return s.accountAnswer(200, s.account), nil
	}
	if p.Status != "" && p.Status != statusValid && p.Status != statusDeactivated {
		return nil, acme.Errorf(acme.Malformed, "an account's status can only be changed to deactivated")
	}
	var a account
	err := e.update(ctx, func(tx store.Txn) (err error) {
		if a, err = store.GetJSON[account](tx, e.key(kindACME, "account", s.account.ID)); err != nil {
			return err
		}
		if p.Contact != nil {
			if err := checkContacts(*p.Contact); err != nil {
				return err
			}
			a.Contact = *p.Contact
		}
		if p.Status == statusDeactivated {
			a.Status = statusDeactivated
		}
		return store.PutJSON(tx, e.key(kindACME, "account", a.ID), a)
	})
	return s.accountAnswer(200, &a), err
}

// acmeKeyChange gives the caller's account another key (RFC 8555, section
// 7.3.5). The inner request is signed by the new one.
func (e *Engine) acmeKeyChange(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	inner, err := acme.Parse(s.payload)
	if err != nil {
		return nil, err
	}
	if inner.JWK == nil || inner.URL != s.request.URL || inner.Nonce != "" {
		return nil, acme.Errorf(acme.Malformed, "the inner request must carry the new key, have the same URL and no nonce")
	}
	payload, err := inner.Verify(inner.JWK)
	if err != nil {
		return nil, err
	}
	var p struct {
		Account string          `json:"account"`
		OldKey  jose.JSONWebKey `json:"oldKey"`
	}
	if json.Unmarshal(payload, &p) != nil || p.Account != s.request.KeyID {
		return nil, acme.Errorf(acme.Malformed, "the inner request is for another account")
	}
	oldThumb, err := acme.Thumbprint(&s.account.Key)
	if err != nil {
		return nil, err
	}
	if given, err := acme.Thumbprint(&p.OldKey); err != nil || given != oldThumb {
		return nil, acme.Errorf(acme.Malformed, "the inner request has another old key than the account")
	}
	newThumb, err := acme.Thumbprint(inner.JWK)
	if err != nil {
		return nil, err
	}
	var a account
	err = e.update(ctx, func(tx store.Txn) error {
		if _, err := tx.Get(e.key(kindACME, "thumb", newThumb)); !errors.Is(err, store.ErrNotFound) {
			if err != nil {
				return err
			}
			return &acme.Problem{Type: acme.Errorf(acme.Malformed, "").Type, Detail: "another account has the new key", Status: 409}
		}
		if a, err = store.GetJSON[account](tx, e.key(kindACME, "account", s.account.ID)); err != nil {
			return err
		}
		a.Key = *inner.JWK
		if err := tx.Delete(e.key(kindACME, "thumb", oldThumb)); err != nil {
			return err
		}
		if err := tx.Put(e.key(kindACME, "thumb", newThumb), []byte(a.ID)); err != nil {
			return err
		}
		return store.PutJSON(tx, e.key(kindACME, "account", a.ID), a)
	})
	if err != nil {
		return nil, err
	}
	return s.accountAnswer(200, &a), nil
}

// acmeOrders lists the orders of the caller's account.
func (e *Engine) acmeOrders(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	if kid := s.call.Param("kid"); kid != "" && kid != s.account.ID {
		return nil, acme.Errorf(acme.Unauthorized, "the account is another one's")
	}
	urls := []string{}
	err := e.view(ctx, func(r store.Reader) error {
		urls = urls[:0]
		rng := store.Under(e.key(kindACME, "order", s.account.ID))
		rng.Limit = maxListedOrders
		for entry, err := range r.Scan(rng) {
			if err != nil {
				return err
			}
			urls = append(urls, s.base+"/order/"+entry.Key.Last())
		}
		return nil
	})
	return &acmeAnswer{body: map[string][]string{"orders": urls}}, err
}

// maxListedOrders bounds the list of an account's orders.
const maxListedOrders = 1000
