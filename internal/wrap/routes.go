package wrap

import (
	"context"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Routes are the endpoints of sys/wrapping. Looking up and unwrapping are
// public: a wrapping token is all the authority they need, and using it as the
// client token comes to the same.
var Routes = []route.Endpoint{
	route.Full(route.VerbWrite, "wrapping/wrap", (*Store).wrap, route.Pure(), route.Doc{Summary: "Wrap any JSON object."}),
	route.Full(route.VerbRead, "wrapping/wrap", (*Store).wrap, route.Pure(), route.Hidden()),
	route.Read("wrapping/lookup", (*Store).lookup, route.Public(), route.Doc{Summary: "Show where a wrapped answer comes from."}),
	route.Write("wrapping/lookup", (*Store).lookup, route.Public(), route.Pure(), route.Doc{Summary: "Show where a wrapped answer comes from."}),
	route.Full(route.VerbWrite, "wrapping/unwrap", (*Store).unwrap, route.Public(), route.Doc{Summary: "Get a wrapped answer. It can be had once."}),
	route.Full(route.VerbWrite, "wrapping/rewrap", (*Store).rewrap, route.Own(), route.Doc{Summary: "Wrap a wrapped answer anew, under another token."}),
}

type wrapRequest struct {
	Body wire.Object `body:"*"`
}

func (s *Store) wrap(_ context.Context, c *route.Call, in wrapRequest) (*route.Reply, error) {
	if c.WrapTTL <= 0 {
		return nil, fault.New(fault.Invalid, "endpoint requires response wrapping to be used: give its lifetime in the header X-Vault-Wrap-TTL")
	}
	data := in.Body.Raw
	if data == nil {
		data = []byte("{}")
	}
	return &route.Reply{Data: data}, nil
}

type tokenRequest struct {
	Token string `json:"token" doc:"The wrapping token; the client token if not given." sensitive:"true"`
}

func (in tokenRequest) text(c *route.Call) string {
	if in.Token != "" {
		return in.Token
	}
	return c.ClientToken.Reveal()
}

type lookupAnswer struct {
	Path    string    `json:"creation_path"`
	Created time.Time `json:"creation_time"`
	TTL     int64     `json:"creation_ttl"`
}

func (s *Store) lookup(ctx context.Context, c *route.Call, in tokenRequest) (*lookupAnswer, error) {
	handle, err := s.handle(in.text(c))
	if err != nil {
		return nil, err
	}
	ns, err := s.home(ctx, c.Namespace.ID, handle)
	if err != nil {
		return nil, err
	}
	var w row
	err = s.store.View(ctx, func(r store.Reader) error {
		w, err = s.peek(r, ns, handle)
		return err
	})
	return &lookupAnswer{w.Path, w.Created, int64(w.TTL / time.Second)}, err
}

func (s *Store) unwrap(ctx context.Context, c *route.Call, in tokenRequest) (*route.Reply, error) {
	body, err := s.Unwrap(ctx, c.Namespace.ID, in.text(c))
	if err != nil {
		return nil, err
	}
	return &route.Reply{Enveloped: body}, nil
}

func (s *Store) rewrap(ctx context.Context, c *route.Call, in tokenRequest) (*route.Reply, error) {
	handle, err := s.handle(in.text(c))
	if err != nil {
		return nil, err
	}
	ns, err := s.home(ctx, c.Namespace.ID, handle)
	if err != nil {
		return nil, err
	}
	info := &route.WrapInfo{}
	_, err = s.store.Update(ctx, func(tx store.Txn) error {
		w, err := s.take(tx, ns, handle)
		if err != nil {
			return err
		}
		*info = route.WrapInfo{TTL: w.TTL, CreationPath: w.Path, WrappedAccessor: w.Accessor}
		return s.insert(tx, ns, Answer{Body: w.Body, Path: w.Path, Accessor: w.Accessor, TTL: w.TTL}, info)
	})
	if err != nil {
		return nil, err
	}
	return &route.Reply{Wrap: info}, nil
}

// Response is the read of cubbyhole/response that older clients unwrap
// with.
func (s *Store) Response(ctx context.Context, c *route.Call) (*route.Reply, error) {
	body, err := s.Unwrap(ctx, c.Namespace.ID, c.ClientToken.Reveal())
	if err != nil {
		return nil, err
	}
	c.Warn("Reading from 'cubbyhole/response' is deprecated. Please use sys/wrapping/unwrap to unwrap responses, as it provides additional security checks and other benefits.")
	return route.Data(map[string]string{"response": string(body)})
}
