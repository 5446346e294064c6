package identity

import (
	"encoding/json"
	"slices"
	"strings"
)

// Claim returns what a name stands for in templates of claims, as JSON, and
// false for a name that no template can have. What the entity lacks is an empty
// string, object or list.
//
// Names are those of policies' templates, and besides
//
//	identity.entity.metadata                        an object
//	identity.entity.aliases.ACCESSOR.metadata       an object
//	identity.entity.aliases.ACCESSOR.custom_metadata  an object
//	identity.entity.groups.ids, .names              lists, of all groups
func (p *Principal) Claim(name string) (json.RawMessage, bool) {
	switch name {
	case "identity.entity.metadata":
		return object(p.entity.Metadata), true
	case "identity.entity.groups.ids":
		return list(p.groupIDs), true
	case "identity.entity.groups.names":
		names := make([]string, len(p.groups))
		for i, g := range p.groups {
			names[i] = g.Name
		}
		slices.Sort(names)
		return list(names), true
	}
	if rest, ok := strings.CutPrefix(name, "identity.entity.aliases."); ok {
		accessor, attribute, _ := strings.Cut(rest, ".")
		if attribute == "metadata" || attribute == "custom_metadata" {
			return p.aliasMetadata(accessor, attribute), true
		}
	}
	if !claimable(name) {
		return nil, false
	}
	v, _ := p.value(name)
	return text(v), true
}

func (p *Principal) aliasMetadata(accessor, attribute string) json.RawMessage {
	for _, a := range p.aliases {
		switch {
		case a.Accessor != accessor:
		case attribute == "metadata":
			return object(a.Metadata)
		default:
			return object(a.Custom)
		}
	}
	return object(nil)
}

// claimable reports whether a name is that of a single value.
func claimable(name string) bool {
	if name == "identity.entity.id" || name == "identity.entity.name" {
		return true
	}
	if key, ok := strings.CutPrefix(name, "identity.entity.metadata."); ok {
		return key != ""
	}
	rest, ok := strings.CutPrefix(name, "identity.entity.aliases.")
	if !ok {
		return false
	}
	_, attribute, _ := strings.Cut(rest, ".")
	for _, prefix := range []string{"metadata.", "custom_metadata."} {
		if key, ok := strings.CutPrefix(attribute, prefix); ok {
			return key != ""
		}
	}
	return attribute == "id" || attribute == "name"
}

// InGroup reports whether the entity is in the group, itself or by another one.
func (p *Principal) InGroup(id string) bool {
	_, ok := slices.BinarySearch(p.groupIDs, id)
	return ok
}

// What cannot be encoded does not exist for these types.

func text(s string) json.RawMessage { b, _ := json.Marshal(s); return b }

func list(s []string) json.RawMessage {
	if s == nil {
		s = []string{}
	}
	b, _ := json.Marshal(s)
	return b
}

func object(m map[string]string) json.RawMessage {
	if m == nil {
		m = map[string]string{}
	}
	b, _ := json.Marshal(m)
	return b
}
