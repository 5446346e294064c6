package faults_test

import (
	"context"
	"fmt"
	"net/http"
)

// ledger is what is known of tokens.
type ledger struct {
	alive, dead []string
	checked     int // how many of the dead were checked in earlier rounds
}

// check looks the tokens up: the living must live, and the dead stay dead.
func (l *ledger) check(n *node, all bool) error {
	from := l.checked
	if all {
		from = 0
	}
	for _, token := range l.dead[from:] {
		if alive, err := lives(n, token); err != nil || alive {
			return fmt.Errorf("a revoked token lives: %t (%w)", alive, orNone(err))
		}
	}
	l.checked = len(l.dead)
	for _, token := range l.alive {
		if alive, err := lives(n, token); err != nil || !alive {
			return fmt.Errorf("an acknowledged token lives: %t (%w)", alive, orNone(err))
		}
	}
	return nil
}

type none struct{}

// Error says that there is nothing to add.
func (none) Error() string { return "no error" }

func orNone(err error) error {
	if err == nil {
		return none{}
	}
	return err
}

// lives reports whether a token can be used.
func lives(n *node, token string) (bool, error) {
	switch a := n.call(http.MethodGet, "auth/token/lookup-self", token, nil); a.Status {
	case http.StatusOK:
		return true, nil
	case http.StatusForbidden:
		return false, nil
	default:
		return false, unexpected(a)
	}
}

// take removes the first of the living.
func (l *ledger) take() string {
	token := l.alive[0]
	l.alive = l.alive[1:]
	return token
}

// tokenWorker makes tokens that make tokens, and revokes the former.
type tokenWorker struct {
	n        *node
	ledger   ledger     // the lone ones
	families [][]string // a parent and its child each, all alive
	open     []string   // a family whose revocation has no answer
	made     int
}

const families = 20 // how many of each the worker lets live

func (w *tokenWorker) work(ctx context.Context) (bool, error) {
	var family []string
	token := w.n.Root
	for range 2 {
		text, a := w.create(ctx, token)
		if text == "" {
			return false, refusal(a)
		}
		family = append(family, text)
		token = text
	}
	w.made++
	w.families = append(w.families, family)
	if len(w.families) <= families {
		return true, nil
	}
	family = w.families[0]
	w.families = w.families[1:]
	a := w.n.callWith(ctx, http.MethodPost, "auth/token/revoke", w.n.Root, object{"token": family[0]})
	if !a.acknowledged() {
		w.open = family
		return false, refusal(a)
	}
	w.ledger.dead = append(w.ledger.dead, family...)
	return true, nil
}

func (w *tokenWorker) create(ctx context.Context, by string) (string, answer) {
	a := w.n.callWith(ctx, http.MethodPost, "auth/token/create", by, object{"ttl": "1h", "policies": []string{"minter"}})
	if !a.acknowledged() {
		return "", a
	}
	e, err := a.open()
	if err != nil {
		a.Err = err
	}
	return e.Auth.Token, a
}

// refusal is nil if no answer came, which is what a kill does.
func refusal(a answer) error {
	if a.Err != nil {
		return nil
	}
	return unexpected(a)
}

func (w *tokenWorker) settle() error {
	if w.open != nil {
		parent, err := lives(w.n, w.open[0])
		if err != nil {
			return err
		}
		child, err := lives(w.n, w.open[1])
		if err != nil {
			return err
		}
		if parent != child {
			return fmt.Errorf("a tree was revoked in part: the parent lives: %t, its child: %t", parent, child)
		}
		if parent {
			w.families = append(w.families, w.open)
		} else {
			w.ledger.dead = append(w.ledger.dead, w.open...)
		}
		w.open = nil
	}
	return w.check(false)
}

func (w *tokenWorker) check(all bool) error {
	w.ledger.alive = nil
	for _, f := range w.families {
		w.ledger.alive = append(w.ledger.alive, f...)
	}
	return w.ledger.check(w.n, all)
}

func (w *tokenWorker) verify() error { return w.check(true) }

// String tells what the worker has done.
func (w *tokenWorker) String() string {
	return fmt.Sprintf("tokens: %d families, %d tokens revoked", w.made, len(w.ledger.dead))
}

// loginWorker logs in with secret ids that can be used a limited number of
// times.
type loginWorker struct {
	n      *node
	role   string
	secret string // the secret id in use, "" for none
	used   int    // logins with it that were acknowledged
	unsure int    // logins with it that had no answer
	ledger ledger
	logins int
}

const (
	secretUses = 25 // of each secret id
	living     = 50 // tokens that the worker lets live
)

func (w *loginWorker) work(ctx context.Context) (bool, error) {
	if w.secret == "" {
		return w.newSecret(ctx)
	}
	a := w.n.callWith(ctx, http.MethodPost, "auth/approle/login", "", object{"role_id": w.role, "secret_id": w.secret})
	switch {
	case a.Err != nil:
		w.unsure++
		return false, nil
	case a.Status == http.StatusBadRequest:
		if w.used+w.unsure < secretUses {
			return false, fmt.Errorf("a secret id of %d uses was spent after %d logins and %d without an answer", secretUses, w.used, w.unsure)
		}
		w.secret = ""
		return true, nil
	case !a.acknowledged():
		return false, unexpected(a)
	}
	e, err := a.open()
	if err != nil {
		return false, err
	}
	w.logins++
	if w.used++; w.used > secretUses {
		return false, fmt.Errorf("a secret id of %d uses was good for %d", secretUses, w.used)
	}
	w.ledger.alive = append(w.ledger.alive, e.Auth.Token)
	return w.retire(ctx)
}

func (w *loginWorker) newSecret(ctx context.Context) (bool, error) {
	a := w.n.callWith(ctx, http.MethodPost, "auth/approle/role/app/secret-id", w.n.Root, object{"num_uses": secretUses})
	if !a.acknowledged() {
		return false, refusal(a)
	}
	made, err := data[struct {
		ID string `json:"secret_id"`
	}](a)
	w.secret, w.used, w.unsure = made.ID, 0, 0
	return err == nil, err
}

// retire revokes the oldest token by itself.
func (w *loginWorker) retire(ctx context.Context) (bool, error) {
	if len(w.ledger.alive) <= living {
		return true, nil
	}
	token := w.ledger.take()
	a := w.n.callWith(ctx, http.MethodPost, "auth/token/revoke-self", token, nil)
	if !a.acknowledged() {
		return false, refusal(a) // unknown whether it lives: it is forgotten
	}
	w.ledger.dead = append(w.ledger.dead, token)
	return true, nil
}

func (w *loginWorker) settle() error { return w.ledger.check(w.n, false) }
func (w *loginWorker) verify() error { return w.ledger.check(w.n, true) }

// String tells what the worker has done.
func (w *loginWorker) String() string {
	return fmt.Sprintf("logins: %d, %d tokens revoked", w.logins, len(w.ledger.dead))
}
