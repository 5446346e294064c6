package policy

import "fmt"

// DefaultText is the policy that every token gets unless it asks not to. It
// lets a token look after itself and nothing else. Operators may change it;
// the server writes it once.
const DefaultText = `# A token may look after itself: see what it is, extend it, end it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# Ask what it may do on a path.
path "sys/capabilities-self" {
  capabilities = ["update"]
}
path "sys/internal/ui/resultant-acl" {
  capabilities = ["read"]
}

# Read the entity it belongs to. A token without an entity gets nothing here.
path "identity/entity/id/{{identity.entity.id}}" {
  capabilities = ["read"]
}

# Look up and renew a lease whose identifier it knows.
path "sys/leases/lookup" {
  capabilities = ["update"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}
path "sys/renew" {
  capabilities = ["update"]
}
path "sys/renew/*" {
  capabilities = ["update"]
}

# Keep things in its own cubbyhole.
path "cubbyhole/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

# Wrap data, and look up and open what was wrapped for it.
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "sys/wrapping/lookup" {
  capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}

# Use the server's generic tools.
path "sys/tools/hash" {
  capabilities = ["update"]
}
path "sys/tools/hash/*" {
  capabilities = ["update"]
}
path "sys/tools/random" {
  capabilities = ["update"]
}
path "sys/tools/random/*" {
  capabilities = ["update"]
}

# Follow a request of its own that waits for approval.
path "sys/control-group/request" {
  capabilities = ["update"]
}

# Log in to applications through the OpenID Connect provider.
path "identity/oidc/provider/+/authorize" {
  capabilities = ["read", "update"]
}
`

const responseWrappingText = `# Open the one answer this token was made for.
path "cubbyhole/response" {
  capabilities = ["create", "read"]
}
path "sys/wrapping/unwrap" {
  capabilities = ["update"]
}
`

// Root returns the policy that allows everything. Its text is empty, and no
// text makes another.
func Root() *Policy { return &Policy{name: RootName, root: true} }

// Default returns [DefaultText], parsed.
func Default() *Policy { return mustParse(DefaultName, DefaultText) }

// ResponseWrapping returns the policy of the tokens that carry one wrapped
// answer.
func ResponseWrapping() *Policy { return mustParse(ResponseWrappingName, responseWrappingText) }

// builtinText returns the text of a policy that exists without being written.
func builtinText(name string) string {
	if name == ResponseWrappingName {
		return responseWrappingText
	}
	return ""
}

// mustParse is for the constants above, which the tests parse.
func mustParse(name, text string) *Policy {
	p, _, err := Parse(name, text)
	if err != nil {
		panic(fmt.Sprintf("built-in policy %s: %v", name, err))
	}
	return p
}
