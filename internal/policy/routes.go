package policy

import "github.com/cofferhq/coffer/internal/route"

// Routes are the endpoints of policies below sys/. Their receiver is a *[Store].
var Routes = []route.Endpoint{
	route.List("policies/acl", (*Store).listACL, route.Doc{Summary: "List the ACL policies."}),
	route.Read("policies/acl/{name}", (*Store).readACL, route.Doc{Summary: "Read an ACL policy."}),
	route.Write("policies/acl/{name}", (*Store).writeACL, route.Doc{
		Summary:     "Write an ACL policy.",
		Description: "It is in force for every token that holds it when the answer arrives. Parameters that are not given get their defaults.",
	}),
	route.Patch("policies/acl/{name}", (*Store).patchACL, route.Doc{
		Summary:     "Change an ACL policy.",
		Description: "Parameters that are not given stay as they are. The policy must be there.",
	}),
	route.Delete("policies/acl/{name}", (*Store).deleteACL, route.Doc{Summary: "Delete an ACL policy. Tokens that hold it lose what it grants."}),
	route.List("policies/detailed/acl", (*Store).listACLDetails, route.Doc{Summary: "List the ACL policies with facts about each."}),
	route.Read("policies/detailed/acl", (*Store).listACLDetails, route.Hidden()),

	route.Full(route.VerbRead, "policy", (*Store).listLegacy, route.Flat(), route.Doc{Summary: "List the ACL policies; older than policies/acl."}),
	route.Full(route.VerbList, "policy", (*Store).listLegacy, route.Flat(), route.Hidden()),
	route.Read("policy/{name}", (*Store).readLegacy, route.Flat(), route.Hidden()),
	route.Write("policy/{name}", (*Store).writeLegacy, route.Hidden()),
	route.Delete("policy/{name}", (*Store).deleteACL, route.Hidden()),

	route.List("policies/password", (*Store).listPassword, route.Doc{Summary: "List the password policies."}),
	route.Read("policies/password/{name}", (*Store).readPassword, route.Doc{Summary: "Read a password policy."}),
	route.Write("policies/password/{name}", (*Store).writePassword, route.Doc{Summary: "Write a password policy."}),
	route.Delete("policies/password/{name}", (*Store).deletePassword, route.Doc{Summary: "Delete a password policy."}),
	route.Read("policies/password/{name}/generate", (*Store).generatePassword, route.Doc{Summary: "Generate a password by a policy."}),

	route.Write("capabilities", (*Store).capabilities, route.Pure(), route.Flat(), route.Doc{Summary: "Show what a token may do on paths."}),
	route.Write("capabilities-self", (*Store).capabilitiesSelf, route.Pure(), route.Flat(), route.Doc{Summary: "Show what the caller may do on paths."}),
	route.Write("capabilities-accessor", (*Store).capabilitiesAccessor, route.Pure(), route.Flat(), route.Doc{Summary: "Show what the token of an accessor may do on paths."}),
	route.Read("internal/ui/resultant-acl", (*Store).resultantACL, route.Doc{Summary: "Show every rule that applies to the caller."}),
}
