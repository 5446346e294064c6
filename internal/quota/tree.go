package quota

import (
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/store"
)

// forest finds the quotas of one type that bind a request: a tree for each
// namespace that has written any, by its path. It is immutable once built.
type forest[T any] map[string]*tree[T]

// tree holds the quotas that one namespace has written.
type tree[T any] struct {
	namespaces map[string]handed[T]
	mounts     map[store.MountID]*branch[T]
}

// handed is a quota of a whole namespace.
type handed[T any] struct {
	quota       *T
	inheritable bool
}

// branch holds the quotas of one mount.
type branch[T any] struct {
	namespace string
	whole     *T
	exact     map[string]*T
	prefixes  []prefixed[T] // longest first
	roles     map[string]*T
	// admission bounds logins whose role is not known yet, nil for no bound.
	admission *T
}

type prefixed[T any] struct {
	prefix string
	quota  *T
}

func (f forest[T]) add(owner string, p Place, quota *T) {
	t := f[owner]
	if t == nil {
		t = &tree[T]{namespaces: map[string]handed[T]{}, mounts: map[store.MountID]*branch[T]{}}
		f[owner] = t
	}
	if p.Mount == 0 {
		t.namespaces[p.Namespace] = handed[T]{quota, p.Inheritable}
		return
	}
	b := t.mounts[p.Mount]
	if b == nil {
		b = &branch[T]{namespace: p.Namespace, exact: map[string]*T{}, roles: map[string]*T{}}
		t.mounts[p.Mount] = b
	}
	switch {
	case p.Role != "":
		b.roles[p.Role] = quota
	case p.Rest == "":
		b.whole = quota
	case p.Glob:
		b.prefixes = append(b.prefixes, prefixed[T]{p.Rest, quota})
		slices.SortFunc(b.prefixes, func(a, b prefixed[T]) int { return len(b.prefix) - len(a.prefix) })
	default:
		b.exact[p.Rest] = quota
	}
}

// find returns the most specific quota of the tree for a request, roles aside,
// and the branch of its mount; either may be nil.
func (t *tree[T]) find(at target) (*T, *branch[T]) {
	b := t.mounts[at.mount]
	if b != nil {
		if q := b.find(at.rest); q != nil {
			return q, b
		}
	}
	return t.handedTo(at.namespace), b
}

// handedTo returns the quota of a whole namespace, its own or handed down.
func (t *tree[T]) handedTo(namespace string) *T {
	if h, ok := t.namespaces[namespace]; ok {
		return h.quota
	}
	for p := parent(namespace); namespace != ""; p = parent(p) {
		if h, ok := t.namespaces[p]; ok && h.inheritable {
			return h.quota
		}
		if p == "" {
			break
		}
	}
	return nil
}

func (b *branch[T]) find(rest string) *T {
	if q := b.exact[rest]; q != nil {
		return q
	}
	for i := range b.prefixes {
		if strings.HasPrefix(rest, b.prefixes[i].prefix) {
			return b.prefixes[i].quota
		}
	}
	return b.whole
}

// parent returns the path of the namespace above: "a/" for "a/b/", "" for "a/".
func parent(namespace string) string {
	return namespace[:strings.LastIndexByte(strings.TrimSuffix(namespace, "/"), '/')+1]
}

// binding calls fn for what binds a request in every tree, from its own
// namespace up.
func (f forest[T]) binding(at target, fn func(quota *T, b *branch[T])) {
	for owner := at.namespace; ; owner = parent(owner) {
		if t := f[owner]; t != nil {
			if quota, b := t.find(at); quota != nil || b != nil {
				fn(quota, b)
			}
		}
		if owner == "" {
			return
		}
	}
}
