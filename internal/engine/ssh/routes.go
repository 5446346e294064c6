package ssh

import (
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
)

// Type is the mount type "ssh".
var Type = engine.Type{
	Name:   "ssh",
	Routes: routes(),
	New:    func(h engine.Host) (any, error) { return newEngine(h), nil },
	Doc:    "Signs SSH certificates of users and hosts, and makes one-time passwords.",
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		route.Read("config/ca", (*Engine).readCA, route.Doc{Summary: "Read the default issuer's public key."}),
		route.Write("config/ca", (*Engine).writeCA, route.Doc{Summary: "Make or import an issuer and make it the default."}),
		route.Full(route.VerbDelete, "config/ca", (*Engine).deleteCA, route.Doc{Summary: "Delete all issuers."}),
		route.Read("config/issuers", (*Engine).readDefault, route.Doc{Summary: "Read which issuer is the default."}),
		route.Write("config/issuers", (*Engine).writeDefault, route.Doc{Summary: "Choose the default issuer."}),
		route.Raw(route.VerbRead, "public_key", (*Engine).publicKey, route.Public(), route.Doc{Summary: "Read the default issuer's public key as text."}),
		route.List("issuers", (*Engine).listIssuers, route.Doc{Summary: "List the issuers."}),
		route.Write("issuers/import", (*Engine).addIssuer, route.Doc{Summary: "Make or import an issuer."}),
		route.Write("issuers/import/{issuer_name}", (*Engine).addNamedIssuer, route.Doc{Summary: "Make or import an issuer with a name."}),
		route.Read("issuer/{issuer_ref}", (*Engine).readIssuer, route.Doc{Summary: "Read an issuer."}),
		route.Write("issuer/{issuer_ref}", (*Engine).renameIssuer, route.Doc{Summary: "Name an issuer."}),
		route.Delete("issuer/{issuer_ref}", (*Engine).deleteIssuer, route.Doc{Summary: "Delete an issuer."}),
		route.Raw(route.VerbRead, "issuer/{issuer_ref}/public_key", (*Engine).issuerPublicKey, route.Public(), route.Doc{Summary: "Read an issuer's public key as text."}),

		route.List("roles", (*Engine).listRoles, route.Doc{Summary: "List the roles."}),
		route.Read("roles/{role}", (*Engine).readRole, route.Doc{Summary: "Read a role."}),
		route.Write("roles/{role}", (*Engine).writeRole, route.Doc{Summary: "Make a role, or replace it."}),
		route.Delete("roles/{role}", (*Engine).deleteRole, route.Doc{Summary: "Delete a role."}),

		route.Write("sign/{role}", (*Engine).sign, route.Doc{Summary: "Sign a certificate for a public key."}),
		route.Write("issue/{role}", (*Engine).issue, route.Doc{Summary: "Make a key pair and sign a certificate for it."}),

		engine.Issue(route.VerbWrite, "creds/{role}", (*Engine).creds, route.Doc{Summary: "Make a one-time password for an address."}),
		route.Write("verify", (*Engine).verify, route.Public(), route.Doc{Summary: "Use a one-time password up and read whom and where it is for.", Description: "Hosts call this; a password is good for one call."}),
		route.Write("lookup", (*Engine).lookup, route.Pure(), route.Doc{Summary: "List the roles that make passwords for an address."}),
		route.Read("config/zeroaddress", (*Engine).readZeroAddress, route.Doc{Summary: "Read the roles that are not bound to addresses."}),
		route.Write("config/zeroaddress", (*Engine).writeZeroAddress, route.Doc{Summary: "Choose the roles that are not bound to addresses."}),
		route.Delete("config/zeroaddress", (*Engine).deleteZeroAddress, route.Doc{Summary: "Bind all roles to addresses again."}),
		route.Delete("tidy/dynamic-keys", (*Engine).tidyDynamicKeys, route.Doc{Summary: "Answer old clients that tidy a kind of role that is no more; there is nothing to tidy."}),
	}
}
