package identity_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/store"
)

// model is what identity should hold, kept in the plainest way.
type model struct {
	s        *site
	rand     *rand.Rand
	entities map[string]*modelEntity // by id
	groups   map[string]*modelGroup  // by id
	merged   map[string]string
}

type modelEntity struct {
	name     string
	policies []string
	disabled bool
	aliases  map[string]string // name by accessor
}

type modelGroup struct {
	name             string
	policies         []string
	entities, groups []string
}

// TestLookupsAgreeWithAModel makes random changes, good and bad ones, and after
// each compares the status, a random lookup and a random entity's rights with
// what a plain model says.
func TestLookupsAgreeWithAModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &model{
				s: newSite(t), rand: rand.New(rand.NewPCG(seed, 1)), entities: map[string]*modelEntity{}, groups: map[string]*modelGroup{},
				merged: map[string]string{},
			}
			for range 400 {
				m.step()
				if m.s.t.Failed() {
					t.FailNow()
				}
			}
			m.wipe()
		})
	}
}

func (m *model) step() {
	steps := []func(){
		m.writeEntity, m.writeEntity, m.changeEntity, m.deleteEntity, m.writeAlias, m.writeAlias, m.moveOrDropAlias, m.writeGroup, m.writeGroup,
		m.changeGroup, m.changeGroup, m.deleteGroup, m.merge,
	}
	steps[m.rand.IntN(len(steps))]()
	m.lookUp()
	m.compareEntity()
	m.compareGroup()
}

// name returns a name of a few, in some case, so that they clash.
func (m *model) name() string {
	name := string(rune('a' + m.rand.IntN(8)))
	if m.rand.IntN(3) == 0 {
		return strings.ToUpper(name)
	}
	return name
}

func (m *model) policies() []string {
	return slices.Sorted(maps.Keys(map[string]bool{fmt.Sprint("p", m.rand.IntN(5)): true, fmt.Sprint("p", m.rand.IntN(5)): true}))
}

func (m *model) accessor() string { return []string{m.s.dir, m.s.other}[m.rand.IntN(2)] }

// anyOf returns a random key in an order that the seed decides, or "none".
func anyOf[V any](m *model, all map[string]V) string {
	if len(all) == 0 || m.rand.IntN(12) == 0 {
		return "none"
	}
	return slices.Sorted(maps.Keys(all))[m.rand.IntN(len(all))]
}

// taken returns whose a name is, whatever its case.
func (m *model) takenEntity(name string) string {
	for id, e := range m.entities {
		if strings.EqualFold(e.name, name) {
			return id
		}
	}
	return ""
}

func (m *model) takenGroup(name string) string {
	for id, g := range m.groups {
		if strings.EqualFold(g.name, name) {
			return id
		}
	}
	return ""
}

func (m *model) owner(accessor, name string) string {
	for id, e := range m.entities {
		if have, ok := e.aliases[accessor]; ok && strings.EqualFold(have, name) {
			return id
		}
	}
	return ""
}

// do makes a request and wants success, or a refusal.
func (m *model) do(good bool, method, path string, body any) object {
	m.s.t.Helper()
	a := m.s.Do(method, "identity/"+path, "root", body)
	if good != (a.Status/100 == 2) || !good && a.Status != bad {
		m.s.t.Fatalf("%s %s %v: got %s, want success: %v", method, path, body, a, good)
	}
	return a.Data()
}

func (m *model) writeEntity() {
	name, policies := m.name(), m.policies()
	owner := m.takenEntity(name)
	good := owner == "" || m.entities[owner].name == name
	path, body := "entity", object{"name": name, "policies": policies}
	if m.rand.IntN(2) == 0 {
		path, body = "entity/name/"+name, object{"policies": policies}
	}
	data := m.do(good, post, path, body)
	switch {
	case !good:
	case owner != "":
		m.entities[owner].policies = policies
	default:
		m.entities[data["id"].(string)] = &modelEntity{name: name, policies: policies, aliases: map[string]string{}}
	}
}

func (m *model) changeEntity() {
	id, name, disabled := anyOf(m, m.entities), m.name(), m.rand.IntN(2) == 0
	e, owner := m.entities[id], m.takenEntity(name)
	good := e != nil && (owner == "" || owner == id)
	m.do(good, post, "entity/id/"+id, object{"name": name, "disabled": disabled})
	if good {
		e.name, e.disabled = name, disabled
	}
}

func (m *model) deleteEntity() {
	id := anyOf(m, m.entities)
	m.do(true, del, "entity/id/"+id, nil)
	m.forget(id)
}

func (m *model) forget(id string) {
	delete(m.entities, id)
	for _, g := range m.groups {
		g.entities = slices.DeleteFunc(g.entities, func(e string) bool { return e == id })
	}
	maps.DeleteFunc(m.merged, func(_, to string) bool { return to == id })
}

func (m *model) writeAlias() {
	id, accessor, name := anyOf(m, m.entities), m.accessor(), m.name()
	owner := m.owner(accessor, name)
	e := m.entities[id]
	good := e != nil
	if good && owner != id {
		_, second := e.aliases[accessor]
		good = !second
	}
	m.do(good, post, "entity-alias", object{"name": name, "mount_accessor": accessor, "canonical_id": id})
	if good {
		if owner != "" && owner != id { // moved, as the request says
			delete(m.entities[owner].aliases, accessor)
		}
		e.aliases[accessor] = name
	}
}

func (m *model) moveOrDropAlias() {
	id, accessor, name := anyOf(m, m.entities), m.accessor(), m.name()
	e := m.entities[id]
	if e == nil || e.aliases[accessor] == "" {
		return
	}
	found := m.do(true, post, "lookup/entity", object{"id": id})
	for _, item := range found["aliases"].([]any) {
		alias := item.(object)
		if alias["mount_accessor"] != any(accessor) {
			continue
		}
		path := "entity-alias/id/" + alias["id"].(string)
		if m.rand.IntN(3) == 0 {
			m.do(true, del, path, nil)
			delete(e.aliases, accessor)
			return
		}
		owner := m.owner(accessor, name)
		good := owner == "" || owner == id
		m.do(good, post, path, object{"name": name})
		if good {
			e.aliases[accessor] = name
		}
		return
	}
	m.s.t.Fatalf("entity %s has no alias at %s: %v", id, accessor, found)
}

// members returns some ids, seldom one that is not there, and whether all are.
func members[V any](m *model, all map[string]V) (ids []string, there bool) {
	there, ids = true, []string{}
	for range m.rand.IntN(4) {
		id := anyOf(m, all)
		_, have := all[id]
		there = there && have
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), there
}

func (m *model) writeGroup() {
	name, policies := m.name(), m.policies()
	entities, there := members(m, m.entities)
	owner := m.takenGroup(name)
	good := there && (owner == "" || m.groups[owner].name == name)
	data := m.do(good, post, "group", object{"name": name, "policies": policies, "member_entity_ids": entities})
	switch {
	case !good:
	case owner != "":
		m.groups[owner].policies, m.groups[owner].entities = policies, entities
	default:
		m.groups[data["id"].(string)] = &modelGroup{name: name, policies: policies, entities: entities}
	}
}

func (m *model) changeGroup() {
	id := anyOf(m, m.groups)
	inner, there := members(m, m.groups)
	g := m.groups[id]
	good := g != nil && there
	if good {
		for _, in := range inner {
			good = good && in != id && !m.within(id, in)
		}
	}
	m.do(good, post, "group/id/"+id, object{"member_group_ids": inner})
	if good {
		g.groups = inner
	}
}

// within reports whether a group is in another at any depth.
func (m *model) within(group, outer string) bool {
	for _, in := range m.groups[outer].groups {
		if in == group || m.within(group, in) {
			return true
		}
	}
	return false
}

func (m *model) deleteGroup() {
	if m.rand.IntN(3) > 0 {
		return // else there were too few for anything to happen
	}
	id := anyOf(m, m.groups)
	m.do(true, del, "group/id/"+id, nil)
	delete(m.groups, id)
	for _, g := range m.groups {
		g.groups = slices.DeleteFunc(g.groups, func(in string) bool { return in == id })
	}
}

func (m *model) merge() {
	from, to := anyOf(m, m.entities), anyOf(m, m.entities)
	f, t := m.entities[from], m.entities[to]
	good := f != nil && t != nil && from != to
	if good {
		for accessor := range f.aliases {
			_, conflict := t.aliases[accessor]
			good = good && !conflict
		}
	}
	m.do(good, post, "entity/merge", object{"from_entity_ids": []string{from}, "to_entity_id": to})
	if !good {
		return
	}
	maps.Copy(t.aliases, f.aliases)
	for _, g := range m.groups {
		if slices.Contains(g.entities, from) && !slices.Contains(g.entities, to) {
			g.entities = append(g.entities, to)
		}
	}
	for old, now := range m.merged {
		if now == from {
			m.merged[old] = to
		}
	}
	m.forget(from)
	m.merged[from] = to
}

// lookUp asks for an entity in a random way.
func (m *model) lookUp() {
	name, accessor := m.name(), m.accessor()
	want, by := "", object{"name": name}
	if m.rand.IntN(2) == 0 {
		by = object{"alias_name": name, "alias_mount_accessor": accessor}
		want = m.owner(accessor, name)
	} else if id := m.takenEntity(name); id != "" && m.entities[id].name == name {
		want = id
	}
	got, _ := m.do(true, post, "lookup/entity", by)["id"].(string)
	if got != want {
		m.s.t.Errorf("lookup by %v: got %q, want %q", by, got, want)
	}
}

// standing returns the groups that an entity is in.
func (m *model) standing(entity string) map[string]bool {
	in := map[string]bool{}
	for id, g := range m.groups {
		if slices.Contains(g.entities, entity) {
			in[id] = true
		}
	}
	for id := range m.groups {
		for inner := range maps.Clone(in) {
			if m.within(inner, id) {
				in[id] = true
			}
		}
	}
	return in
}

// compareEntity compares what is shown of a random entity, and what it may do.
func (m *model) compareEntity() {
	asked := anyOf(m, m.entities)
	if len(m.merged) > 0 && m.rand.IntN(4) == 0 {
		asked = anyOf(m, m.merged)
	}
	id := asked
	if to, ok := m.merged[asked]; ok {
		id = to
	}
	e := m.entities[id]
	p, err := m.s.Gate().Identity.Principal(m.s.t.Context(), store.RootNamespace, asked)
	if e == nil {
		if !errors.Is(err, store.ErrNotFound) {
			m.s.t.Errorf("principal of %s: got %v, %v, want none", asked, p, err)
		}
		return
	}
	if err != nil {
		m.s.t.Fatal(err)
	}
	groups, policies := m.standing(id), map[string]bool{}
	for _, name := range e.policies {
		policies[name] = true
	}
	for g := range groups {
		for _, name := range m.groups[g].policies {
			policies[name] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(policies)), p.Policies()); diff != "" || p.ID() != id || p.Disabled() != e.disabled {
		m.s.t.Errorf("principal of %s: got id %s, disabled %v; policies (-want +got)\n%s", asked, p.ID(), p.Disabled(), diff)
	}
	shown := m.do(true, post, "lookup/entity", object{"id": id})
	if diff := cmp.Diff(slices.Sorted(maps.Keys(groups)), slices.Sorted(slices.Values(texts(shown["group_ids"])))); diff != "" || shown["name"] != any(e.name) {
		m.s.t.Errorf("entity %v: want name %s; groups (-want +got)\n%s", shown, e.name, diff)
	}
	aliases := map[string]string{}
	for _, item := range shown["aliases"].([]any) {
		aliases[item.(object)["mount_accessor"].(string)] = item.(object)["name"].(string)
	}
	if diff := cmp.Diff(e.aliases, aliases); diff != "" {
		m.s.t.Errorf("aliases of %s: (-want +got)\n%s", id, diff)
	}
}

func (m *model) compareGroup() {
	id := anyOf(m, m.groups)
	g := m.groups[id]
	if g == nil {
		return
	}
	shown := m.do(true, post, "lookup/group", object{"name": g.name})
	for name, want := range map[string][]string{"member_entity_ids": g.entities, "member_group_ids": g.groups, "policies": g.policies} {
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(texts(shown[name])))); diff != "" {
			m.s.t.Errorf("%s of group %s: (-want +got)\n%s", name, id, diff)
		}
	}
}

// wipe deletes everything, after which no row may be left.
func (m *model) wipe() {
	for id := range m.entities {
		m.do(true, del, "entity/id/"+id, nil)
	}
	for id := range m.groups {
		m.do(true, del, "group/id/"+id, nil)
	}
	if rows := m.s.rows(); len(rows) > 0 {
		m.s.t.Errorf("rows are left behind:\n%s", strings.Join(rows, "\n"))
	}
}
