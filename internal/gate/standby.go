package gate

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Replica is this node's place in a cluster.
type Replica interface {
	// Begin counts a request with an effect in on the leader, End out. Begin
	// reports false if the next leader is to answer it.
	Begin() bool
	End()
	// Mark is an index that includes what was written here so far, zero if no
	// other node could be behind it.
	Mark() store.Index
	// Applied is the index of the newest commit that reads on this node see.
	Applied() store.Index
	// Stale returns an error if this node's copy is too old to be read from.
	Stale() error
	// Fresh waits until this node's copy has everything that was acknowledged
	// before, and reports whether it has grown since index seen.
	Fresh(ctx context.Context, seen store.Index) (grown bool, err error)
}

// ErrElsewhere says that the leader has to answer a request. It is found out
// before anything is done.
var ErrElsewhere = fault.New(fault.Standby, "the request was passed on to the leader")

// follow prepares a request that came to a node which follows another.
func (x *exchange) follow() error {
	x.standby = true
	x.seen = x.g.Replica.Applied()
	return x.g.Replica.Stale()
}

// elsewhere reports whether the request is the leader's to answer: it has an
// effect, or is one of which this node does not know whether it has.
func (x *exchange) elsewhere() bool {
	e := x.endpoint
	switch {
	case x.req.Help:
		return false
	case e == nil:
		return x.req.Verb >= route.VerbWrite
	case e.Local:
		return false
	}
	return e.Effect || e.Leader || e.Login || x.req.WrapTTL > 0
}

// refind looks at the absence of a namespace: it may be new.
func (x *exchange) refind(ctx context.Context, err error) error {
	if !stateful(err) {
		return err
	}
	switch grown, ferr := x.g.Replica.Fresh(ctx, x.seen); {
	case ferr != nil:
		return ferr
	case !grown:
		return err
	}
	x.leave()
	return x.find(ctx)
}

// readmit looks at a refusal of a standby: if the copy of the data that it comes
// from was behind, the request is admitted or refused anew. So is the absence of
// an endpoint, whose mount may be new.
func (x *exchange) readmit(ctx context.Context, err error) error {
	if err == nil && x.endpoint == nil && !x.req.Help {
		err = x.missing()
	}
	if err == ErrElsewhere || !stateful(err) { //nolint:errorlint // nobody wraps it
		return err
	}
	grown, ferr := x.g.Replica.Fresh(ctx, x.seen)
	switch {
	case ferr != nil:
		return ferr
	case !grown:
		return err
	}
	x.seen = x.g.Replica.Applied()
	x.leave()
	*x = exchange{g: x.g, req: x.req, standby: true, seen: x.seen, quota: x.quota}
	if err := x.find(ctx); err != nil {
		return err
	}
	if x.elsewhere() {
		return ErrElsewhere
	}
	x.begin()
	if err := x.admit(ctx); err != nil || x.endpoint != nil || x.req.Help {
		return err
	}
	return x.missing()
}

// stateful reports whether an error may be another one, or none, on newer data.
func stateful(err error) bool {
	switch fault.KindOf(err) {
	case fault.Denied, fault.NotFound:
		return err != nil
	}
	return false
}

// rehandle looks at what a handler of a standby has answered. A negative answer
// is found again if the copy of the data that it comes from was behind.
func (x *exchange) rehandle(ctx context.Context, reply *route.Reply, err error) (*route.Reply, error) {
	switch {
	case errors.Is(err, fault.Standby):
		return nil, ErrElsewhere // the handler wanted to write
	case err == nil && !reply.Missing:
		return reply, nil
	case err != nil && !stateful(err) && fault.KindOf(err) != fault.Invalid:
		return nil, err
	}
	grown, ferr := x.g.Replica.Fresh(ctx, x.seen)
	switch {
	case ferr != nil && fault.KindOf(err) != fault.Invalid:
		return nil, ferr
	case !grown:
		return reply, err
	}
	if reply, err = x.handle(ctx); errors.Is(err, fault.Standby) {
		return nil, ErrElsewhere
	}
	return reply, err
}

// conclude adds to an answer what it has because there are other nodes.
func (x *exchange) conclude(a *Answer) {
	switch {
	case a.Err == ErrElsewhere: //nolint:errorlint // nobody wraps it
		*a = Answer{Elsewhere: true}
	case !x.standby && a.Err == nil && x.endpoint != nil && x.effect():
		a.Index = x.g.Replica.Mark()
	}
}
