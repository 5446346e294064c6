package mount

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of sys/mounts, sys/auth, sys/remount and
// sys/internal/ui/mounts.
var Routes = []route.Endpoint{
	route.Read("mounts", (*Table).listEngines, route.Flat(), route.Doc{Summary: "List the mounted secrets engines."}),
	route.Read("mounts/{path...}", (*Table).readEngine, route.Flat(), route.Doc{Summary: "Show a mounted secrets engine."}),
	route.Write("mounts/{path...}", (*Table).enableEngine, route.Doc{Summary: "Mount a secrets engine."}),
	route.Delete("mounts/{path...}", (*Table).disableEngine, route.Doc{Summary: "Disable a secrets engine: revoke what it has granted and delete its data."}),
	route.Read("mounts/{path...}/tune", (*Table).readTuneEngine, route.Flat(), route.Doc{Summary: "Show a secrets engine's settings."}),
	route.Write("mounts/{path...}/tune", (*Table).tuneEngine, route.Doc{Summary: "Change a secrets engine's settings."}),

	route.Read("auth", (*Table).listMethods, route.Flat(), route.Doc{Summary: "List the mounted auth methods."}),
	route.Read("auth/{path...}", (*Table).readMethod, route.Flat(), route.Sudo(), route.Doc{Summary: "Show a mounted auth method."}),
	route.Write("auth/{path...}", (*Table).enableMethod, route.Sudo(), route.Doc{Summary: "Mount an auth method."}),
	route.Delete("auth/{path...}", (*Table).disableMethod, route.Sudo(), route.Doc{Summary: "Disable an auth method: revoke its tokens and delete its data."}),
	route.Read("auth/{path...}/tune", (*Table).readTuneMethod, route.Flat(), route.Sudo(), route.Doc{Summary: "Show an auth method's settings."}),
	route.Write("auth/{path...}/tune", (*Table).tuneMethod, route.Sudo(), route.Doc{Summary: "Change an auth method's settings."}),

	route.Write("remount", (*Table).remount, route.Flat(), route.Sudo(), route.Doc{Summary: "Move a mount to another path."}),
	route.Read("remount/status/{migration_id}", (*Table).remountStatus, route.Doc{Summary: "Show how a move went."}),

	route.Read("internal/ui/mounts", (*Table).visible, route.Public(), route.Doc{Summary: "List the mounts that the caller may use, or that are listed to everyone."}),
	route.Read("internal/ui/mounts/{path...}", (*Table).preflight, route.Public(), route.Doc{Summary: "Show the mount that a path belongs to."}),
}
