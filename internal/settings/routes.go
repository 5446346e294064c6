package settings

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of settings below sys/. Their receiver is a *[Store].
var Routes = []route.Endpoint{
	route.Read("config/cors", (*Store).readCORS, route.Flat(), route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Show what pages of other origins may do."}),
	route.Write("config/cors", (*Store).writeCORS, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Let pages of other origins make requests.", Description: "The settings replace those before."}),
	route.Delete("config/cors", (*Store).deleteCORS, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Let no page of another origin make requests."}),

	route.List("config/ui/headers", (*Store).listHeaders, route.RootOnly(),
		route.Doc{Summary: "List the response headers set for the web interface."}),
	route.Read("config/ui/headers/{header}", (*Store).readHeader, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Read a response header of the web interface."}),
	route.Full(route.VerbWrite, "config/ui/headers/{header}", (*Store).writeHeader, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Set a response header of the web interface."}),
	route.Delete("config/ui/headers/{header}", (*Store).deleteHeader, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Remove a response header of the web interface."}),

	route.Read("config/state/sanitized", (*Store).sanitized, route.RootOnly(),
		route.Doc{Summary: "Show this node's configuration without its secrets."}),
	// Each node reads its own files, so a follower serves this itself.
	route.Write("config/reload/{subsystem}", (*Store).reload, route.Pure(), route.RootOnly(),
		route.Doc{Summary: "Read a part of this node's configuration anew."}),

	route.List("version-history", (*Store).versions, route.RootOnly(),
		route.Doc{Summary: "List the versions that this cluster has run, oldest first."}),

	route.Raw(route.VerbRead, "internal/ui/feature-flags", (*Store).featureFlags,
		route.Doc{Summary: "List the feature flags of the web interface. There are none."}),
}
