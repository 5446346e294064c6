package namespace

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of sys/namespaces and sys/internal/ui/namespaces.
// Their receiver is a *[Store].
var Routes = []route.Endpoint{
	route.List("namespaces", (*Store).list, route.Doc{Summary: "List the namespaces directly below this one."}),
	route.Scan("namespaces", (*Store).scan, route.Doc{Summary: "List all namespaces below this one."}),
	route.Read("namespaces/{path...}", (*Store).read, route.Doc{Summary: "Show a namespace directly below this one."}),
	route.Write("namespaces/{path...}", (*Store).write, route.Doc{Summary: "Create a namespace directly below this one, or replace its custom metadata."}),
	route.Patch("namespaces/{path...}", (*Store).change, route.Doc{Summary: "Change the custom metadata of a namespace."}),
	route.Full(route.VerbDelete, "namespaces/{path...}", (*Store).remove, route.Doc{
		Summary:     "Delete a namespace with everything in it.",
		Description: "What was granted in it is revoked first, in the systems behind it too. The answer comes at once; the namespace can be read until it is gone.",
	}),

	route.Write("namespaces/api-lock/lock", (*Store).lock, route.Sudo(), route.Doc{Summary: "Lock the API of this namespace and those below it."}),
	route.Write("namespaces/api-lock/lock/{below...}", (*Store).lock, route.Sudo(), route.Doc{Summary: "Lock the API of a namespace below this one."}),
	route.Write("namespaces/api-lock/unlock", (*Store).unlock, route.Sudo(), route.Doc{Summary: "Unlock the API of this namespace."}),
	route.Write("namespaces/api-lock/unlock/{below...}", (*Store).unlock, route.Sudo(), route.Doc{Summary: "Unlock the API of a namespace below this one."}),

	route.Read("internal/ui/namespaces", (*Store).visible, route.Public(),
		route.Doc{Summary: "List the namespaces below this one that the caller may use, for the web interface."}),
}
