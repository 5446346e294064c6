package oidc

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints below identity/. Their receiver is a *[Provider].
var Routes = []route.Endpoint{
	route.Read("oidc/config", (*Provider).readConfig, route.Doc{Summary: "Show the settings of identity tokens."}),
	route.Write("oidc/config", (*Provider).writeConfig, route.Doc{Summary: "Change the settings of identity tokens."}),

	route.List("oidc/key", (*Provider).listKeys, route.Doc{Summary: "List the named keys."}),
	route.Read("oidc/key/{name}", (*Provider).readKey, route.Doc{Summary: "Read a named key's settings."}),
	route.Write("oidc/key/{name}", (*Provider).writeKey, route.Doc{Summary: "Make or change a named key, which signs tokens and rotates."}),
	route.Delete("oidc/key/{name}", (*Provider).deleteKey, route.Doc{Summary: "Delete a named key that nothing uses."}),
	route.Write("oidc/key/{name}/rotate", (*Provider).rotateKey, route.Doc{Summary: "Let another key pair sign from now on."}),

	route.List("oidc/role", (*Provider).listRoles, route.Doc{Summary: "List the roles of identity tokens."}),
	route.Read("oidc/role/{name}", (*Provider).readRole, route.Doc{Summary: "Read a role of identity tokens."}),
	route.Write("oidc/role/{name}", (*Provider).writeRole, route.Doc{Summary: "Make or change a role of identity tokens."}),
	route.Delete("oidc/role/{name}", (*Provider).deleteRole, route.Doc{Summary: "Delete a role of identity tokens."}),

	// A signature may be the first after the key's period, and then rotates it.
	route.Read("oidc/token/{name}", (*Provider).token, route.Effect(), route.Doc{Summary: "Get an identity token for the caller's entity."}),
	route.Raw(route.VerbWrite, "oidc/introspect", (*Provider).introspect, route.Pure(), route.Doc{Summary: "Tell whether an identity token is good."}),

	route.Raw(route.VerbRead, "oidc/.well-known/openid-configuration", (*Provider).discover, route.Public(), route.Doc{Summary: "Tell verifiers of identity tokens where the keys are."}),
	route.Raw(route.VerbRead, "oidc/.well-known/keys", (*Provider).keys, route.Public(), route.Doc{Summary: "Publish the public keys, as a JWK set."}),

	route.List("oidc/scope", (*Provider).listScopes, route.Doc{Summary: "List the scopes."}),
	route.Read("oidc/scope/{name}", (*Provider).readScope, route.Doc{Summary: "Read a scope."}),
	route.Write("oidc/scope/{name}", (*Provider).writeScope, route.Doc{Summary: "Make or change a scope: claims that applications may ask for."}),
	route.Delete("oidc/scope/{name}", (*Provider).deleteScope, route.Doc{Summary: "Delete a scope that no provider supports."}),

	route.List("oidc/assignment", (*Provider).listAssignments, route.Doc{Summary: "List the assignments."}),
	route.Read("oidc/assignment/{name}", (*Provider).readAssignment, route.Doc{Summary: "Read an assignment."}),
	route.Write("oidc/assignment/{name}", (*Provider).writeAssignment, route.Doc{Summary: "Make or change an assignment: who may sign in to applications."}),
	route.Delete("oidc/assignment/{name}", (*Provider).deleteAssignment, route.Doc{Summary: "Delete an assignment that no client has."}),

	route.List("oidc/client", (*Provider).listClients, route.Doc{Summary: "List the clients."}),
	route.Read("oidc/client/{name}", (*Provider).readClient, route.Doc{Summary: "Read a client, with its secret."}),
	route.Write("oidc/client/{name}", (*Provider).writeClient, route.Doc{Summary: "Make or change a client: an application that people sign in to."}),
	route.Delete("oidc/client/{name}", (*Provider).deleteClient, route.Doc{Summary: "Delete a client."}),

	route.List("oidc/provider", (*Provider).listProviders, route.Doc{Summary: "List the providers."}),
	route.Read("oidc/provider/{name}", (*Provider).readProvider, route.Doc{Summary: "Read a provider."}),
	route.Write("oidc/provider/{name}", (*Provider).writeProvider, route.Doc{Summary: "Make or change a provider."}),
	route.Delete("oidc/provider/{name}", (*Provider).deleteProvider, route.Doc{Summary: "Delete a provider."}),

	route.Raw(route.VerbRead, "oidc/provider/{name}/.well-known/openid-configuration", (*Provider).discoverProvider, route.Public(),
		route.Doc{Summary: "Tell applications what the provider can do, and where."}),
	route.Raw(route.VerbRead, "oidc/provider/{name}/.well-known/keys", (*Provider).providerKeys, route.Public(),
		route.Doc{Summary: "Publish the public keys of the provider's clients, as a JWK set."}),
	route.Raw(route.VerbRead, "oidc/provider/{name}/authorize", (*Provider).authorize, route.Effect(), route.Doc{Summary: "Get a code for an application, as the caller's entity."}),
	route.Raw(route.VerbWrite, "oidc/provider/{name}/authorize", (*Provider).authorize, route.Doc{Summary: "Get a code for an application, as the caller's entity."}),
	route.Raw(route.VerbWrite, "oidc/provider/{name}/token", (*Provider).grant, route.Public(), route.Opaque(), route.Credentials(),
		route.Doc{Summary: "Exchange a code, or a client's credentials, for tokens."}),
	route.Raw(route.VerbRead, "oidc/provider/{name}/userinfo", (*Provider).userInfo, route.Public(), route.Doc{Summary: "Tell an application of the person who has signed in."}),
	route.Raw(route.VerbWrite, "oidc/provider/{name}/userinfo", (*Provider).userInfo, route.Public(), route.Pure(), route.Opaque(),
		route.Doc{Summary: "Tell an application of the person who has signed in."}),
}
