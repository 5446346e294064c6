// Package btree is a persistent ordered map from strings to values: a B+ tree
// whose nodes are copied before they are changed, unless they were made since
// the last snapshot. A snapshot therefore costs nothing, is never changed
// afterwards, and may be read by any number of goroutines while the original
// goes on.
package btree

import "sort"

// fanout is the most items of a leaf and the most children of an inner node.
// A copied node is then about 1.5 KiB, and a million rows are four levels.
const fanout = 64

// owner is the identity of the writer that may change a node in place. It has
// a size so that two owners never share an address.
type owner struct{ _ byte }

// node is a leaf (children is nil: keys[i] maps to values[i]) or an inner node
// (keys[i] is a lower bound of everything under children[i]; keys[0] is not
// looked at).
type node[V any] struct {
	own      *owner
	keys     []string
	values   []V
	children []*node[V]
}

// Map is the tree. The zero value is an empty map. A Map must not be copied
// except by [Map.Snapshot], and is not safe for concurrent use; its snapshots
// are, as long as nobody changes them.
type Map[V any] struct {
	root *node[V]
	size int
	own  *owner
}

// Len returns the number of rows.
func (m *Map[V]) Len() int { return m.size }

// Snapshot returns the map as it is now. Both may be changed afterwards
// without effect on the other. Taking a snapshot of a snapshot that nobody
// changes is safe for concurrent use.
func (m *Map[V]) Snapshot() Map[V] {
	if m.own != nil {
		m.own = nil
	}
	return Map[V]{root: m.root, size: m.size}
}

// Get returns the value at key.
func (m *Map[V]) Get(key string) (V, bool) {
	n := m.root
	if n == nil {
		var none V
		return none, false
	}
	for n.children != nil {
		n = n.children[n.childFor(key)]
	}
	i, found := n.search(key)
	if !found {
		var none V
		return none, false
	}
	return n.values[i], true
}

// search returns the position of the first key that is not below key.
func (n *node[V]) search(key string) (int, bool) {
	lo, hi := 0, len(n.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if n.keys[mid] < key {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(n.keys) && n.keys[lo] == key
}

// childFor returns the index of the child that holds key if any does.
func (n *node[V]) childFor(key string) int {
	i, found := n.search(key)
	if found || i == 0 {
		return i
	}
	return i - 1
}

// mutable returns n if the map owns it, else a copy that it owns.
func (m *Map[V]) mutable(n *node[V]) *node[V] {
	if n.own == m.own {
		return n
	}
	c := &node[V]{own: m.own, keys: append(make([]string, 0, fanout), n.keys...)}
	if n.children != nil {
		c.children = append(make([]*node[V], 0, fanout), n.children...)
	} else {
		c.values = append(make([]V, 0, fanout), n.values...)
	}
	return c
}

// Set puts value at key.
func (m *Map[V]) Set(key string, value V) {
	if m.own == nil {
		m.own = new(owner)
	}
	if m.root == nil {
		m.root = &node[V]{own: m.own}
	}
	m.root = m.mutable(m.root)
	right := m.set(m.root, key, value)
	if right != nil {
		m.root = &node[V]{own: m.own, keys: []string{m.root.keys[0], right.keys[0]}, children: []*node[V]{m.root, right}}
	}
}

// set puts the row under n, which the map owns. If n had to be split it
// returns the new right half.
func (m *Map[V]) set(n *node[V], key string, value V) *node[V] {
	if n.children == nil {
		i, found := n.search(key)
		if found {
			n.values[i] = value
			return nil
		}
		m.size++
		n.keys = insertAt(n.keys, i, key)
		n.values = insertAt(n.values, i, value)
		return m.split(n, i)
	}
	i := n.childFor(key)
	if key < n.keys[i] {
		n.keys[i] = key
	}
	child := m.mutable(n.children[i])
	n.children[i] = child
	right := m.set(child, key, value)
	if right == nil {
		return nil
	}
	n.keys = insertAt(n.keys, i+1, right.keys[0])
	n.children = insertAt(n.children, i+1, right)
	return m.split(n, i+1)
}

// split halves n if it is over-full. A node that overflows at its end is split
// near its end, so that rows written in order fill their nodes.
func (m *Map[V]) split(n *node[V], at int) *node[V] {
	if len(n.keys) <= fanout {
		return nil
	}
	mid := len(n.keys) / 2
	if at == len(n.keys)-1 {
		mid = len(n.keys) - 2
	}
	right := &node[V]{own: m.own, keys: append(make([]string, 0, fanout), n.keys[mid:]...)}
	n.keys = truncate(n.keys, mid)
	if n.children != nil {
		right.children = append(make([]*node[V], 0, fanout), n.children[mid:]...)
		n.children = truncate(n.children, mid)
	} else {
		right.values = append(make([]V, 0, fanout), n.values[mid:]...)
		n.values = truncate(n.values, mid)
	}
	return right
}

// Delete removes the row at key and reports whether there was one.
func (m *Map[V]) Delete(key string) bool {
	if _, found := m.Get(key); !found {
		return false
	}
	if m.own == nil {
		m.own = new(owner)
	}
	m.root = m.mutable(m.root)
	m.remove(m.root, key)
	m.size--
	for m.root != nil && m.root.children != nil && len(m.root.children) == 1 {
		m.root = m.root.children[0]
	}
	if m.root != nil && len(m.root.keys) == 0 {
		m.root = nil
	}
	return true
}

// remove deletes the row, which exists, from under n, which the map owns.
// Small neighbours are merged; a node that empties is unlinked.
func (m *Map[V]) remove(n *node[V], key string) {
	if n.children == nil {
		i, _ := n.search(key)
		n.keys = removeAt(n.keys, i)
		n.values = removeAt(n.values, i)
		return
	}
	i := n.childFor(key)
	child := m.mutable(n.children[i])
	n.children[i] = child
	m.remove(child, key)
	switch {
	case len(child.keys) == 0:
		n.keys = removeAt(n.keys, i)
		n.children = removeAt(n.children, i)
	case len(child.keys) >= fanout/4:
	case i > 0 && len(n.children[i-1].keys)+len(child.keys) <= fanout/2:
		m.merge(n, i-1)
	case i+1 < len(n.children) && len(n.children[i+1].keys)+len(child.keys) <= fanout/2:
		m.merge(n, i)
	}
}

// merge moves everything of child i+1 into child i.
func (m *Map[V]) merge(n *node[V], i int) {
	left, right := m.mutable(n.children[i]), n.children[i+1]
	n.children[i] = left
	if left.children != nil {
		// The first key of an inner node is no bound by itself; its parent's is.
		left.keys = append(left.keys, n.keys[i+1])
		left.keys = append(left.keys, right.keys[1:]...)
		left.children = append(left.children, right.children...)
	} else {
		left.keys = append(left.keys, right.keys...)
		left.values = append(left.values, right.values...)
	}
	n.keys = removeAt(n.keys, i+1)
	n.children = removeAt(n.children, i+1)
}

// Ascend calls yield for the rows from start (inclusive) to end (exclusive;
// empty is no bound) in order, until it returns false.
func (m *Map[V]) Ascend(start, end string, yield func(string, V) bool) {
	if m.root != nil {
		m.root.ascend(start, end, yield)
	}
}

func (n *node[V]) ascend(start, end string, yield func(string, V) bool) bool {
	if n.children == nil {
		i, _ := n.search(start)
		for ; i < len(n.keys); i++ {
			if end != "" && n.keys[i] >= end {
				return false
			}
			if !yield(n.keys[i], n.values[i]) {
				return false
			}
		}
		return true
	}
	for i := n.childFor(start); i < len(n.children); i++ {
		if !n.children[i].ascend(start, end, yield) {
			return false
		}
	}
	return true
}

// Descend is Ascend in reverse order.
func (m *Map[V]) Descend(start, end string, yield func(string, V) bool) {
	if m.root != nil {
		m.root.descend(start, end, yield)
	}
}

func (n *node[V]) descend(start, end string, yield func(string, V) bool) bool {
	last := len(n.keys) - 1
	if n.children == nil {
		if end != "" {
			last = sort.SearchStrings(n.keys, end) - 1
		}
		for i := last; i >= 0; i-- {
			if n.keys[i] < start {
				return false
			}
			if !yield(n.keys[i], n.values[i]) {
				return false
			}
		}
		return true
	}
	if end != "" {
		last = n.childFor(end)
	}
	for i := last; i >= 0; i-- {
		if !n.children[i].descend(start, end, yield) {
			return false
		}
	}
	return true
}

func insertAt[T any](s []T, i int, v T) []T {
	s = append(s, v)
	copy(s[i+1:], s[i:])
	s[i] = v
	return s
}

func removeAt[T any](s []T, i int) []T {
	copy(s[i:], s[i+1:])
	return truncate(s, len(s)-1)
}

// truncate shortens s and clears the rest, so that nothing is kept alive.
func truncate[T any](s []T, n int) []T {
	clear(s[n:])
	return s[:n]
}
