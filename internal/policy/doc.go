// Package policy decides what a token may do.
//
// A policy is a text, in HCL or JSON, that grants capabilities on path
// patterns:
//
//	path "secret/data/billing/*" {
//	  capabilities = ["read", "list"]
//	}
//
// [Parse] turns a text into a [Policy] and says what is suspicious about it;
// [Compile] joins the policies of one token into an immutable [ACL], whose
// Check answers one request without allocating. These know no storage.
//
// [Store] is the noun on top of them, behind sys/policies, sys/policy and
// sys/capabilities: a row per policy, read into memory and kept right by the
// change feed, and a cache of compiled ACLs by namespace, set of names and
// identity. A policy is in force when the write of it has been answered.
//
// # Which rule decides
//
// A rule whose path is the request's path, letter for letter, decides. Else
// the pattern of highest priority does: of two patterns that match, the lower
// is the one whose first wildcard comes earlier; then the one that ends in
// "*"; then the one with more "+"; then the shorter; then the one that sorts
// first. Exactly one pattern decides; the same pattern written several times,
// in one policy or in many, is one rule with the union of the capabilities.
//
// A "+" stands for one whole segment, possibly empty, and a "*" at the end for
// any rest. Neither has a meaning elsewhere, and [Parse] refuses them there
// rather than leave a rule that matches nothing.
//
// LIST and SCAN work on a directory, so "m/private" and "m/private/" are the
// same request and the rule for "m/private/" decides it. A rule written for
// exactly "m/private" stands in for it, and so does a pattern for "m/private"
// where none matches "m/private/"; a deny on either spelling denies.
//
// # Denial is closed
//
// A deny within a rule beats every capability there. What cannot be parsed or
// rendered is an error, never a policy with a rule missing: see
// [Policy.Render] for the one exception, a grant for an identity that the
// token does not have. A token that holds a stored policy in error has no ACL
// at all, and its requests fail. A policy that is not there grants nothing.
package policy
