// Package route declares endpoints. An endpoint is a value made by one of the
// constructors below from a verb, a pattern and a typed handler:
//
//	route.Read("roles/{name}", (*Engine).readRole, route.Doc{Summary: "Read a role."})
//
//	type readRoleRequest struct {
//		Name string `path:"name" doc:"Role to read."`
//	}
//	func (e *Engine) readRole(ctx context.Context, c *route.Call, in readRoleRequest) (Role, error)
//
// The receiver is the handler's first argument (a method expression), so one
// table serves every mount of an engine's type and costs nothing per mount.
// From the same value come the binder, the OpenAPI document, ?help=1, the
// reference documentation and the warning about unrecognised parameters.
//
// # Constructors
//
//   - [Read], [List], [Scan], [Write], [Delete], [Patch] return (Out, error).
//     Out is encoded as `data`. A nil pointer, or [None], is 204 No Content.
//   - [List] and [Scan] handlers return [Keys]; an empty list is 404, decided
//     here once, and `after` and `limit` are applied here.
//   - [Full] handlers return a *[Reply], for the few endpoints that fill other
//     parts of the envelope than `data`.
//   - [Raw] handlers return [Bytes]: an answer without envelope.
//   - engine.Issue and authn.Login, built on [Full], grant leases and tokens.
//
// # Patterns
//
// Segments are separated by '/'. "{name}" matches one segment that is not
// empty. "{name...}" matches the rest, or what lies before the literal segments
// that follow it ("mounts/{path...}/tune"); it matches nothing at all only for
// List and Scan. A literal beats a parameter, which beats a rest. A trailing
// slash is part of the path, except that List and Scan ignore it.
//
// # Input structs
//
// Tags: `path` (from the pattern), `json` (a member of the body; of the query
// for verbs without a body), `query` (always the query), `body:"*"` (the whole
// body, a [wire.Object]). More tags: `alias` (older names, comma-separated),
// `default`, `doc`, `sensitive:"true"`, `deprecated:"true"`. Embedded structs are
// flattened. Field types: string, wire.Secret, bool, integers, float64,
// []string, map[string]string, wire.Duration, wire.JSON, wire.Opt of any of
// these, and anything with UnmarshalJSON. A wrong tag or type panics when the
// table is built, which is in a test before it is anywhere else.
//
// # Receivers
//
// Engines and methods get theirs from the mount. The nouns behind sys/,
// auth/token/ and the like bind theirs with [Bind].
package route
