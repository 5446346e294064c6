package kv

import (
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
)

// Type is the mount type "kv".
var Type = engine.Type{
	Name:     "kv",
	Versions: map[string]*engine.Type{"": V1, "1": V1, "2": V2},
	Doc:      "Stores secrets that people and programs write themselves, with or without versions.",
}

// V1 keeps one value per path.
var V1 = &engine.Type{
	Name:   "kv",
	Routes: plainRoutes(),
	New:    func(h engine.Host) (any, error) { return &plain{h.Storage}, nil },
	Doc:    "Stores one value per path.",
}

// V2 keeps numbered versions per path.
var V2 = &engine.Type{
	Name:   "kv",
	Routes: versionedRoutes(),
	New:    func(h engine.Host) (any, error) { return &versioned{h.Storage}, nil },
	Doc:    "Stores numbered versions of secrets.",
}

func plainRoutes() []route.Endpoint {
	return []route.Endpoint{
		route.Full(route.VerbRead, "{path...}", (*plain).read,
			route.Doc{Summary: "Read the secret at a path.", Description: `A member called "ttl" or "lease" that is a duration becomes the answer's lease_duration.`}),
		route.Write("{path...}", (*plain).write, route.Exists((*plain).exists),
			route.Doc{Summary: "Store a JSON object at a path, replacing what was there."}),
		route.Delete("{path...}", (*plain).delete, route.Doc{Summary: "Delete the secret at a path."}),
		route.List("{path...}", (*plain).list, route.Doc{Summary: "List the secrets and folders under a path."}),
		route.Scan("{path...}", (*plain).scan, route.Doc{Summary: "List all secrets under a path, recursively."}),
		route.Full(route.VerbRead, "", (*plain).root, route.Hidden()),
		route.Full(route.VerbWrite, "", (*plain).root, route.Hidden(), route.Pure()),
		route.Full(route.VerbDelete, "", (*plain).root, route.Hidden(), route.Pure()),
	}
}

func versionedRoutes() []route.Endpoint {
	eps := []route.Endpoint{
		route.Read("config", (*versioned).readConfig, route.Doc{Summary: "Read the mount's settings."}),
		route.Write("config", (*versioned).writeConfig, route.Doc{Summary: "Change the mount's settings."}),

		route.Full(route.VerbRead, "data/{path...}", (*versioned).readData,
			route.Doc{Summary: "Read a version of a secret.", Description: "A version that is deleted or destroyed is answered with status 404 and its metadata."}),
		route.Write("data/{path...}", (*versioned).writeData, route.Exists((*versioned).dataExists),
			route.Doc{Summary: "Store a new version of a secret."}),
		route.Full(route.VerbPatch, "data/{path...}", (*versioned).patchData,
			route.Doc{Summary: "Store a new version: the current one changed by a JSON merge patch (RFC 7396)."}),
		route.Delete("data/{path...}", (*versioned).deleteData,
			route.Doc{Summary: "Delete the current version of a secret; it can be undeleted."}),

		route.Write("delete/{path...}", (*versioned).deleteVersions,
			route.Doc{Summary: "Delete versions of a secret; they can be undeleted."}),
		route.Write("undelete/{path...}", (*versioned).undeleteVersions,
			route.Doc{Summary: "Bring deleted versions of a secret back."}),
		route.Write("destroy/{path...}", (*versioned).destroyVersions,
			route.Doc{Summary: "Remove the data of versions of a secret for ever."}),

		route.Full(route.VerbRead, "subkeys/{path...}", (*versioned).readSubkeys,
			route.Doc{Summary: "Read the names within a version of a secret, without the values."}),

		route.Read("metadata/{path...}", (*versioned).readMetadata,
			route.Doc{Summary: "Read the settings and versions of a secret."}),
		route.Write("metadata/{path...}", (*versioned).writeMetadata, route.Exists((*versioned).metadataExists),
			route.Doc{Summary: "Change the settings of a secret, or create a secret without versions."}),
		route.Full(route.VerbPatch, "metadata/{path...}", (*versioned).patchMetadata,
			route.Doc{Summary: "Change the settings of a secret by a JSON merge patch (RFC 7396).", Description: "A null takes a setting, or a member of the custom metadata, away."}),
		route.Delete("metadata/{path...}", (*versioned).deleteMetadata,
			route.Doc{Summary: "Delete a secret with all its versions for ever."}),
		route.List("metadata/{path...}", (*versioned).list, route.Doc{Summary: "List the secrets and folders under a path."}),
		route.Scan("metadata/{path...}", (*versioned).scan, route.Doc{Summary: "List all secrets under a path, recursively."}),
		route.List("detailed-metadata/{path...}", (*versioned).listDetailed,
			route.Doc{Summary: "List the secrets and folders under a path, with the metadata of the secrets."}),
		route.Scan("detailed-metadata/{path...}", (*versioned).scanDetailed,
			route.Doc{Summary: "List all secrets under a path, recursively, with their metadata."}),
	}
	return append(eps, refusals(eps)...)
}

// refusals complete the table so that everything under the mount has an
// answer: "unsupported operation" where a known path lacks a verb, and
// [versioned.misdirected] for a path that belongs to no endpoint, which is
// mostly a client that takes the mount for version 1.
func refusals(eps []route.Endpoint) []route.Endpoint {
	type slot struct {
		verb    route.Verb
		pattern string
	}
	taken := map[slot]bool{}
	for _, e := range eps {
		taken[slot{e.Verb, e.Pattern}] = true
	}
	var more []route.Endpoint
	for verb := route.VerbRead; verb <= route.VerbPatch; verb++ {
		for _, e := range eps {
			if s := (slot{verb, e.Pattern}); !taken[s] {
				taken[s] = true
				more = append(more, route.Full(verb, e.Pattern, (*versioned).unsupported, route.Hidden(), route.Pure()))
			}
		}
		more = append(more, route.Full(verb, "{path...}", (*versioned).misdirected, route.Hidden(), route.Pure()))
		if verb != route.VerbList && verb != route.VerbScan {
			more = append(more, route.Full(verb, "", (*versioned).misdirected, route.Hidden(), route.Pure()))
		}
	}
	return more
}
