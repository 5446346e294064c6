package token

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of auth/token/.
var Routes = []route.Endpoint{
	route.Full(route.VerbWrite, "create", (*Store).create, route.Doc{Summary: "Create a token, a child of the caller's."}),
	route.Full(route.VerbWrite, "create-orphan", (*Store).createOrphan, route.Doc{Summary: "Create a token without a parent."}),
	route.Full(route.VerbWrite, "create/{role_name}", (*Store).createWithRole, route.Doc{Summary: "Create a token by the settings of a role."}),

	route.Read("lookup", (*Store).lookup, route.Doc{Summary: "Show a token."}),
	route.Write("lookup", (*Store).lookup, route.Doc{Summary: "Show a token."}, route.Pure()),
	route.Read("lookup-self", (*Store).lookupSelf, route.Own(), route.Doc{Summary: "Show the caller's token."}),
	route.Write("lookup-self", (*Store).lookupSelf, route.Own(), route.Doc{Summary: "Show the caller's token."}, route.Pure()),
	route.Write("lookup-accessor", (*Store).lookupAccessor, route.Doc{Summary: "Show the token of an accessor, without its text."}, route.Pure()),
	route.List("accessors", (*Store).listAccessors, route.Doc{Summary: "List the accessors of all tokens."}, route.Sudo()),

	route.Full(route.VerbWrite, "renew", (*Store).renew, route.Doc{Summary: "Renew a token."}),
	route.Full(route.VerbWrite, "renew/{url_token}", (*Store).renew, route.Doc{Summary: "Renew a token."}, route.Hidden()),
	route.Full(route.VerbWrite, "renew-self", (*Store).renewSelf, route.Own(), route.Doc{Summary: "Renew the caller's token."}),
	route.Full(route.VerbWrite, "renew-accessor", (*Store).renewAccessor, route.Doc{Summary: "Renew the token of an accessor."}),

	route.Write("revoke", (*Store).revoke, route.Doc{Summary: "Revoke a token and its children."}),
	route.Write("revoke-self", (*Store).revokeSelf, route.Own(), route.Doc{Summary: "Revoke the caller's token and its children."}),
	route.Write("revoke-accessor", (*Store).revokeAccessor, route.Doc{Summary: "Revoke the token of an accessor and its children."}),
	route.Write("revoke-orphan", (*Store).revokeOrphan, route.Doc{Summary: "Revoke a token and leave its children as orphans."}, route.Sudo()),
	route.Full(route.VerbWrite, "tidy", (*Store).tidy, route.Doc{Summary: "Check the token store. Nothing needs tidying; the answer says so."}),

	route.List("roles", (*Store).listRoles, route.Doc{Summary: "List token roles."}),
	route.Read("roles/{role_name}", (*Store).readRole, route.Doc{Summary: "Read a token role."}),
	route.Write("roles/{role_name}", (*Store).writeRole, route.Doc{Summary: "Create or change a token role."}, route.Exists((*Store).roleExists)),
	route.Delete("roles/{role_name}", (*Store).deleteRole, route.Doc{Summary: "Delete a token role."}),
}
