package faults_test

import (
	"context"
	"fmt"
	"net/http"
)

// credential is a database user under a lease.
type credential struct{ lease, user string }

// databaseWorker asks for database users and gives most of them back.
type databaseWorker struct {
	n           *node
	alive, gone []credential
	made        int
}

const users = 10 // how many the worker keeps

func (w *databaseWorker) work(ctx context.Context) (bool, error) {
	got, a := issue(ctx, w.n, "database")
	if !a.acknowledged() {
		return false, refusal(a)
	}
	w.made++
	w.alive = append(w.alive, got)
	if len(w.alive) <= users {
		return true, nil
	}
	oldest := w.alive[0]
	w.alive = w.alive[1:]
	a = w.n.callWith(ctx, http.MethodPut, "sys/leases/revoke", w.n.Root, object{"lease_id": oldest.lease})
	if !a.acknowledged() {
		return false, refusal(a) // unknown whether it lives: it is forgotten
	}
	w.gone = append(w.gone, oldest)
	return true, nil
}

// issue asks for a user of the role app.
func issue(ctx context.Context, n *node, mount string) (credential, answer) {
	a := n.callWith(ctx, http.MethodGet, mount+"/creds/app", n.Root, nil)
	if !a.acknowledged() {
		return credential{}, a
	}
	e, err := a.open()
	if err == nil {
		var got struct{ Username string }
		got, err = data[struct{ Username string }](a)
		return credential{e.LeaseID, got.Username}, a
	}
	a.Err = err
	return credential{}, a
}

// leased reports whether a lease is there.
func leased(n *node, id string) (bool, error) {
	switch a := n.call(http.MethodPut, "sys/leases/lookup", n.Root, object{"lease_id": id}); a.Status {
	case http.StatusOK:
		return true, nil
	case http.StatusBadRequest, http.StatusNotFound:
		return false, nil
	default:
		return false, unexpected(a)
	}
}

func (w *databaseWorker) settle() error {
	for _, c := range w.alive {
		if ok, err := leased(w.n, c.lease); err != nil || !ok {
			return fmt.Errorf("lease %s is there: %t (%w)", c.lease, ok, orNone(err))
		}
	}
	return nil
}

func (w *databaseWorker) verify() error {
	for _, c := range w.gone {
		if ok, err := leased(w.n, c.lease); err != nil || ok {
			return fmt.Errorf("revoked lease %s is there: %t (%w)", c.lease, ok, orNone(err))
		}
	}
	return w.settle()
}

// String tells what the worker has done.
func (w *databaseWorker) String() string {
	return fmt.Sprintf("database users: %d made, %d revoked", w.made, len(w.gone))
}
