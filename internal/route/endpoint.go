package route

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// Verb is what a request does, by its method: GET reads, LIST or ?list=true
// lists, SCAN lists recursively, POST and PUT write, DELETE and PATCH are
// themselves.
type Verb uint8

// The verbs.
const (
	VerbRead Verb = iota
	VerbList
	VerbScan
	VerbWrite
	VerbDelete
	VerbPatch
	numVerbs
)

var verbNames = [numVerbs]string{"read", "list", "scan", "write", "delete", "patch"}

// String returns the verb's name.
func (v Verb) String() string {
	if v < numVerbs {
		return verbNames[v]
	}
	return "unknown"
}

// Doc documents an endpoint. It is an [Option].
type Doc struct {
	// Summary is one sentence.
	Summary string
	// Description says more, in plain text.
	Description string
}

func (d Doc) apply(e *Endpoint) { e.Doc = d }

// Option refines an endpoint.
type Option interface{ apply(*Endpoint) }

type option func(*Endpoint)

func (o option) apply(e *Endpoint) { o(e) }

// Public lets an endpoint be called without a token. A golden file lists them.
func Public() Option { return option(func(e *Endpoint) { e.Public = true }) }

// WhileSealed lets a public endpoint be called while the server is sealed; it
// is served outside the gate and not audited, as Vault does for the same ones.
func WhileSealed() Option {
	return option(func(e *Endpoint) { e.Public, e.Sealed = true, true })
}

// Sudo demands the sudo capability on the path.
func Sudo() Option { return option(func(e *Endpoint) { e.Sudo = true }) }

// Pure declares that a Write or Delete endpoint changes nothing, so that a
// follower may serve it. Reads and lists are pure anyway.
func Pure() Option { return option(func(e *Endpoint) { e.Effect = false }) }

// OnThisNode declares that the endpoint is about the node that it is asked at
// (its seal, its log), so that a follower never sends it on to the leader.
func OnThisNode() Option { return option(func(e *Endpoint) { e.Local = true }) }

// OnLeader declares that the leader answers a Read, because what it shows is in
// the leader's memory.
func OnLeader() Option { return option(func(e *Endpoint) { e.Leader = true }) }

// Effect declares that a Read has an effect (it issues a credential).
func Effect() Option { return option(func(e *Endpoint) { e.Effect = true }) }

// Flat repeats the members of `data` at the top of the envelope, as Vault does
// for its oldest endpoints.
func Flat() Option { return option(func(e *Endpoint) { e.Flat = true }) }

// RootOnly refuses the endpoint in every namespace but the root.
func RootOnly() Option { return option(func(e *Endpoint) { e.RootOnly = true }) }

// Own declares that the endpoint looks after the caller's own token, so that a
// request in a namespace above the token's is served in the token's.
func Own() Option { return option(func(e *Endpoint) { e.Own = true }) }

// Hidden leaves the endpoint out of OpenAPI and the reference documentation:
// an older spelling of another one.
func Hidden() Option { return option(func(e *Endpoint) { e.Hidden = true }) }

// Head lets a read be asked for with HEAD; [Call.Head] tells the handler.
// Elsewhere HEAD is refused.
func Head() Option { return option(func(e *Endpoint) { e.Head = true }) }

// Opaque declares that the body is not JSON: the handler finds it in [Call.Raw].
func Opaque() Option { return option(func(e *Endpoint) { e.Opaque = true }) }

// Streamed declares that the body is not JSON and may be of any size: the handler
// reads it from [Call.Stream]. Such a body cannot be passed on, so the node that
// is asked answers.
func Streamed() Option {
	return option(func(e *Endpoint) { e.Streamed, e.Opaque, e.Local = true, true, true })
}

// Credentials declares that the handler makes sure of its caller by the
// Authorization header, which it finds in [Call.Credentials]: the caller is a
// client of another protocol and holds no token.
func Credentials() Option { return option(func(e *Endpoint) { e.Credentials = true }) }

// Exists tells create from update for a Write: when fn reports false the
// caller needs the create capability, else update. Without it a Write is an
// update.
func Exists[E, In any](fn func(E, context.Context, *Call, In) (bool, error)) Option {
	return option(func(e *Endpoint) {
		if e.in.typ != reflect.TypeFor[In]() {
			panic(fmt.Sprintf("route %s: Exists takes %v, the handler %v", e.Pattern, reflect.TypeFor[In](), e.in.typ))
		}
		e.exists = func(ctx context.Context, recv any, c *Call) (bool, error) {
			c.bound = nil // a call may be asked about again
			b, err := bindOnce[In](e.in, c)
			if err != nil {
				return false, err
			}
			c.bound = b // for the handler, which runs next
			return fn(recv.(E), ctx, c, b.value)
		}
	})
}

// Endpoint is a declared endpoint. Make one with a constructor of this package.
type Endpoint struct {
	Verb     Verb
	Pattern  string
	Doc      Doc
	Public   bool
	Sealed   bool
	Sudo     bool
	Effect   bool
	Flat     bool
	RootOnly bool
	Own      bool
	Hidden   bool
	// Head says that the endpoint answers HEAD too; Opaque that its body is not
	// JSON.
	Head, Opaque bool
	// Streamed says that the body has no limit.
	Streamed bool
	// Credentials says that the handler reads the Authorization header.
	Credentials bool
	// Local and Leader say which node answers; see [OnThisNode], [OnLeader].
	Local, Leader bool
	// Login and Issue say what the endpoint grants; authn.Login and
	// engine.Issue set them.
	Login, Issue bool
	// Out is the type of `data`, nil if there is none.
	Out reflect.Type

	recv   any
	in     *input
	params []string
	handle func(ctx context.Context, recv any, c *Call) (*Reply, error)
	exists func(ctx context.Context, recv any, c *Call) (bool, error)
}

// Bind returns the endpoints with their receiver set.
func Bind(recv any, eps []Endpoint) []Endpoint {
	bound := make([]Endpoint, len(eps))
	for i, e := range eps {
		e.recv = recv
		bound[i] = e
	}
	return bound
}

// With returns the endpoints with options applied to each.
func With(eps []Endpoint, opts ...Option) []Endpoint {
	out := slices.Clone(eps)
	for i := range out {
		for _, o := range opts {
			o.apply(&out[i])
		}
	}
	return out
}

// Handle binds the call's input and runs the handler. recv is the mount's
// instance; a bound endpoint uses its own receiver.
func (e *Endpoint) Handle(ctx context.Context, recv any, c *Call) (*Reply, error) {
	if e.recv != nil {
		recv = e.recv
	}
	return e.handle(ctx, recv, c)
}

// HasExists reports whether the endpoint tells create from update.
func (e *Endpoint) HasExists() bool { return e.exists != nil }

// Exists reports whether what a Write addresses is there already.
func (e *Endpoint) Exists(ctx context.Context, recv any, c *Call) (bool, error) {
	if e.recv != nil {
		recv = e.recv
	}
	return e.exists(ctx, recv, c)
}

// Read declares an endpoint that answers GET.
func Read[E, In, Out any](pattern string, h func(E, context.Context, *Call, In) (Out, error), opts ...Option) Endpoint {
	return data(VerbRead, pattern, h, opts)
}

// Write declares an endpoint that answers POST and PUT.
func Write[E, In, Out any](pattern string, h func(E, context.Context, *Call, In) (Out, error), opts ...Option) Endpoint {
	return data(VerbWrite, pattern, h, opts)
}

// Delete declares an endpoint that answers DELETE.
func Delete[E, In, Out any](pattern string, h func(E, context.Context, *Call, In) (Out, error), opts ...Option) Endpoint {
	return data(VerbDelete, pattern, h, opts)
}

// Patch declares an endpoint that answers PATCH with a JSON merge patch
// (RFC 7396).
func Patch[E, In, Out any](pattern string, h func(E, context.Context, *Call, In) (Out, error), opts ...Option) Endpoint {
	return data(VerbPatch, pattern, h, opts)
}

// List declares an endpoint that answers LIST and GET with ?list=true.
func List[E, In any](pattern string, h func(E, context.Context, *Call, In) (Keys, error), opts ...Option) Endpoint {
	return keys(VerbList, pattern, h, opts)
}

// Scan declares an endpoint that answers SCAN and GET with ?scan=true.
func Scan[E, In any](pattern string, h func(E, context.Context, *Call, In) (Keys, error), opts ...Option) Endpoint {
	return keys(VerbScan, pattern, h, opts)
}

// Full declares an endpoint whose handler fills the reply itself.
func Full[E, In any](verb Verb, pattern string, h func(E, context.Context, *Call, In) (*Reply, error), opts ...Option) Endpoint {
	return build(verb, pattern, nil, h, opts)
}

// Raw declares an endpoint that answers bytes of its own media type, without
// envelope.
func Raw[E, In any](verb Verb, pattern string, h func(E, context.Context, *Call, In) (Bytes, error), opts ...Option) Endpoint {
	return build(verb, pattern, nil, func(e E, ctx context.Context, c *Call, in In) (*Reply, error) {
		b, err := h(e, ctx, c, in)
		if err != nil {
			return nil, err
		}
		return &Reply{Raw: &b}, nil
	}, opts)
}

func data[E, In, Out any](verb Verb, pattern string, h func(E, context.Context, *Call, In) (Out, error), opts []Option) Endpoint {
	return build(verb, pattern, reflect.TypeFor[Out](), func(e E, ctx context.Context, c *Call, in In) (*Reply, error) {
		out, err := h(e, ctx, c, in)
		if err != nil {
			return nil, err
		}
		return replyWith(out)
	}, opts)
}

func keys[E, In any](verb Verb, pattern string, h func(E, context.Context, *Call, In) (Keys, error), opts []Option) Endpoint {
	return build(verb, pattern, reflect.TypeFor[Keys](), func(e E, ctx context.Context, c *Call, in In) (*Reply, error) {
		list, err := h(e, ctx, c, in)
		if err != nil {
			return nil, err
		}
		if list, err = list.page(c); err != nil {
			return nil, err
		}
		if len(list.Keys) == 0 {
			return nil, fault.New(fault.NotFound, "")
		}
		return replyWith(list)
	}, opts)
}

func build[E, In any](verb Verb, pattern string, out reflect.Type, h func(E, context.Context, *Call, In) (*Reply, error), opts []Option) Endpoint {
	e := Endpoint{Verb: verb, Pattern: pattern, Out: out, Effect: verb >= VerbWrite}
	e.params = patternParams(pattern)
	e.in = inputOf(reflect.TypeFor[In](), pattern, e.params)
	in := e.in
	e.handle = func(ctx context.Context, recv any, c *Call) (*Reply, error) {
		b, err := bindOnce[In](in, c)
		if err != nil {
			return nil, err
		}
		reply, err := h(recv.(E), ctx, c, b.value)
		if err == nil && len(b.unknown) > 0 && reply != nil && !reply.NoContent {
			c.Warn("Endpoint ignored these unrecognized parameters: [" + strings.Join(b.unknown, " ") + "]")
		}
		return reply, err
	}
	for _, o := range opts {
		o.apply(&e)
	}
	return e
}

// bound is a call's input once it is bound, with the names that no field takes.
type bound[In any] struct {
	value   In
	unknown []string
}

// bindOnce binds a call's input, unless [Exists] has left it there. It takes it
// away: a handler that runs again finds nothing that it may have changed.
func bindOnce[In any](in *input, c *Call) (*bound[In], error) {
	if b, ok := c.bound.(*bound[In]); ok {
		c.bound = nil
		return b, nil
	}
	b := new(bound[In])
	return b, in.bind(c, reflect.ValueOf(&b.value).Elem(), &b.unknown)
}

// Input describes the endpoint's parameters, for documentation.
func (e *Endpoint) Input() []Parameter { return e.in.parameters() }

// Params are the names in the pattern, in order.
func (e *Endpoint) Params() []string { return e.params }
