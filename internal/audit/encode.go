package audit

import (
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/wire"
)

// maxPooledBuffer bounds the buffers that are kept for reuse, so that one huge
// request does not cost its size for ever.
const maxPooledBuffer = 64 << 10

// format says how one device writes entries.
type format struct {
	raw          bool
	hmacAccessor bool
	elide        bool
	prefix       string
}

// formatter makes encoders for one device: its format and its salt.
type formatter struct {
	opts format
	salt []byte
	pool sync.Pool
}

func newFormatter(opts format, salt []byte) *formatter {
	return &formatter{opts: opts, salt: salt}
}

func (f *formatter) acquire() *encoder {
	if e, ok := f.pool.Get().(*encoder); ok {
		return e
	}
	return &encoder{owner: f, opts: f.opts, hash: newHasher(f.salt), buf: make([]byte, 0, 2048)}
}

func (f *formatter) release(e *encoder) {
	e.hash.forget()
	clear(e.tmp)
	if cap(e.buf) <= maxPooledBuffer && cap(e.tmp) <= maxPooledBuffer && cap(e.hash.in) <= maxPooledBuffer {
		f.pool.Put(e)
	}
}

// encoder writes entries as JSON text by appending to buf. Members are written
// in a fixed order and left out when empty, as clients of Vault's audit log
// know them.
type encoder struct {
	owner *formatter
	opts  format
	hash  *hasher
	buf   []byte
	tmp   []byte
}

// entry encodes r, without the closing brace and line end: the device's writer
// closes the line with its place in the chain.
func (e *encoder) entry(r *Record, headers *headerSet) {
	e.buf = append(e.buf[:0], e.opts.prefix...)
	e.buf = append(e.buf, `{"time":"`...)
	e.buf = r.Time.UTC().AppendFormat(e.buf, time.RFC3339Nano)
	e.buf = append(e.buf, '"')
	e.str("type", string(r.Type))
	e.common(r, headers)
	if r.Response != nil {
		e.response(r.Response, r.Request, headers)
	}
	e.str("error", r.Error)
	if r.ForwardedFrom != "" {
		if r.Type == TypeResponse {
			e.flag("forwarded", true)
		} else {
			e.str("forwarded_from", r.ForwardedFrom)
		}
	}
}

// common encodes what both records of an exchange tell, unless the first one has
// left it in r.Common.
func (e *encoder) common(r *Record, headers *headerSet) {
	if r.Common != nil {
		if text, ok := r.Common.find(e.owner); ok {
			e.buf = append(e.buf, text...)
			return
		}
	}
	from := len(e.buf)
	if r.Auth != nil {
		e.auth("auth", r.Auth)
	} else {
		e.buf = append(e.buf, `,"auth":{}`...)
	}
	if r.Request != nil {
		e.request(r.Request, headers)
	}
	if r.Common != nil {
		r.Common.keep(e.owner, e.buf[from:])
	}
}

func (e *encoder) auth(name string, a *Auth) {
	e.open(name)
	e.identifier("client_token", a.Token, true)
	e.identifier("accessor", a.Accessor, e.opts.hmacAccessor)
	e.str("display_name", a.DisplayName)
	e.strs("policies", a.Policies)
	e.strs("token_policies", a.TokenPolicies)
	e.strs("identity_policies", a.IdentityPolicies)
	if len(a.ExternalNamespacePolicies) > 0 {
		e.open("external_namespace_policies")
		for _, p := range a.ExternalNamespacePolicies {
			e.foreignKey(p.NamespaceID)
			e.list(p.Policies)
		}
		e.close()
	}
	e.flag("no_default_policy", a.NoDefaultPolicy)
	e.policyResults(a.PolicyResults)
	if len(a.Metadata) > 0 {
		e.open("metadata")
		for _, p := range a.Metadata {
			e.foreignKey(p.Key)
			e.quote(p.Value)
		}
		e.close()
	}
	e.num("num_uses", int64(a.NumUses))
	e.num("remaining_uses", int64(a.RemainingUses))
	e.str("entity_id", a.EntityID)
	e.flag("entity_created", a.EntityCreated)
	e.str("token_type", a.TokenType)
	e.num("token_ttl", int64(a.TokenTTL/time.Second))
	e.time("token_issue_time", a.TokenIssueTime, time.RFC3339)
	e.close()
}

func (e *encoder) policyResults(r *PolicyResults) {
	if r == nil {
		return
	}
	e.open("policy_results")
	e.key("allowed")
	e.buf = strconv.AppendBool(e.buf, r.Allowed)
	if len(r.GrantingPolicies) > 0 {
		e.key("granting_policies")
		e.buf = append(e.buf, '[')
		for i, p := range r.GrantingPolicies {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			e.buf = append(e.buf, '{')
			e.str("name", p.Name)
			e.str("namespace_id", p.NamespaceID)
			e.str("namespace_path", p.NamespacePath)
			e.str("type", p.Type)
			e.close()
		}
		e.buf = append(e.buf, ']')
	}
	e.close()
}

func (e *encoder) request(r *Request, headers *headerSet) {
	e.open("request")
	e.str("id", r.ID)
	e.str("client_id", r.ClientID)
	e.str("replication_cluster", r.ReplicationCluster)
	e.str("operation", r.Operation)
	e.mount(&r.Mount, "mount_running_version")
	e.identifier("client_token", r.ClientToken, true)
	e.identifier("client_token_accessor", r.ClientTokenAccessor, e.opts.hmacAccessor)
	e.open("namespace")
	e.str("id", r.Namespace.ID)
	e.str("path", r.Namespace.Path)
	e.close()
	e.str("path", r.Path)
	if len(r.Data) > 0 {
		e.key("data")
		e.appendData(r.Data, r.NonHMACKeys, false)
	}
	e.flag("policy_override", r.PolicyOverride)
	e.str("remote_address", r.RemoteAddr)
	e.num("remote_port", int64(r.RemotePort))
	e.num("wrap_ttl", int64(r.WrapTTL/time.Second))
	e.headers(r.Headers, headers)
	e.str("client_certificate_serial_number", r.ClientCertificateSerialNumber)
	e.close()
}

func (e *encoder) response(r *Response, req *Request, headers *headerSet) {
	e.open("response")
	if r.Auth != nil {
		e.auth("auth", r.Auth)
	}
	e.mount(&r.Mount, "mount_running_plugin_version")
	if r.LeaseID != "" {
		e.open("secret")
		e.str("lease_id", r.LeaseID)
		e.close()
	}
	if len(r.Data) > 0 {
		e.key("data")
		e.appendData(r.Data, r.NonHMACKeys, e.opts.elide && req != nil && req.Operation == "list")
	}
	e.strs("warnings", r.Warnings)
	e.str("redirect", r.Redirect)
	if wi := r.WrapInfo; wi != nil {
		e.open("wrap_info")
		e.num("ttl", int64(wi.TTL/time.Second))
		e.identifier("token", wi.Token, true)
		e.identifier("accessor", wi.Accessor, e.opts.hmacAccessor)
		e.time("creation_time", wi.CreationTime, time.RFC3339Nano)
		e.str("creation_path", wi.CreationPath)
		e.identifier("wrapped_accessor", wi.WrappedAccessor, e.opts.hmacAccessor)
		e.close()
	}
	e.headers(r.Headers, headers)
	e.close()
}

func (e *encoder) mount(m *Mount, versionName string) {
	e.str("mount_point", m.Point)
	e.str("mount_type", m.Type)
	e.str("mount_accessor", m.Accessor)
	e.str(versionName, m.RunningVersion)
	e.str("mount_running_sha256", m.RunningSHA256)
	e.str("mount_class", m.Class)
	e.flag("mount_is_external_plugin", m.IsExternalPlugin)
}

// headers writes those of the list that are audited. A header's hashing is the
// list's decision, even on a raw device.
func (e *encoder) headers(list []Header, audited *headerSet) {
	opened := false
	for i := range list {
		name, hmac, ok := audited.lookup(list[i].Name)
		if !ok || len(list[i].Values) == 0 {
			continue
		}
		if !opened {
			e.open("headers")
			opened = true
		}
		e.foreignKey(name)
		e.buf = append(e.buf, '[')
		for j, v := range list[i].Values {
			if j > 0 {
				e.buf = append(e.buf, ',')
			}
			if hmac {
				e.buf = append(e.buf, '"')
				e.buf = e.hash.appendString(e.buf, v)
				e.buf = append(e.buf, '"')
			} else {
				e.quote(v)
			}
		}
		e.buf = append(e.buf, ']')
	}
	if opened {
		e.close()
	}
}

// identifier writes a token or an accessor.
func (e *encoder) identifier(name, v string, hash bool) {
	if v == "" {
		return
	}
	if e.opts.raw || !hash {
		e.str(name, v)
		return
	}
	e.key(name)
	e.buf = append(e.buf, '"')
	e.buf = e.hash.appendIdentifier(e.buf, v)
	e.buf = append(e.buf, '"')
}

func (e *encoder) open(name string) {
	e.key(name)
	e.buf = append(e.buf, '{')
}

func (e *encoder) close() { e.buf = append(e.buf, '}') }

// key writes a member's name, after a comma unless it is an object's first.
// The name is one of this package's own, which need no escaping.
func (e *encoder) key(name string) {
	if e.buf[len(e.buf)-1] != '{' {
		e.buf = append(e.buf, ',')
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '"', ':')
}

// foreignKey is key for a name that comes from elsewhere.
func (e *encoder) foreignKey(name string) {
	if e.buf[len(e.buf)-1] != '{' {
		e.buf = append(e.buf, ',')
	}
	e.quote(name)
	e.buf = append(e.buf, ':')
}

func (e *encoder) str(name, v string) {
	if v != "" {
		e.key(name)
		e.quote(v)
	}
}

func (e *encoder) strs(name string, vs []string) {
	if len(vs) == 0 {
		return
	}
	e.key(name)
	e.list(vs)
}

func (e *encoder) list(vs []string) {
	e.buf = append(e.buf, '[')
	for i, v := range vs {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.quote(v)
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) num(name string, n int64) {
	if n != 0 {
		e.key(name)
		e.int(n)
	}
}

func (e *encoder) int(n int64) { e.buf = strconv.AppendInt(e.buf, n, 10) }

func (e *encoder) flag(name string, v bool) {
	if v {
		e.key(name)
		e.buf = append(e.buf, "true"...)
	}
}

func (e *encoder) time(name string, t time.Time, layout string) {
	if t.IsZero() {
		return
	}
	e.key(name)
	e.buf = append(e.buf, '"')
	e.buf = t.UTC().AppendFormat(e.buf, layout)
	e.buf = append(e.buf, '"')
}

// quote writes a string. Nearly all are plain ASCII, which is checked here and
// copied at once.
func (e *encoder) quote(s string) {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			e.buf = wire.AppendQuoted(e.buf, s)
			return
		}
	}
	e.buf = append(e.buf, '"')
	e.buf = append(e.buf, s...)
	e.buf = append(e.buf, '"')
}
