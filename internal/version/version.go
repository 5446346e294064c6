// Package version says which Coffer this is.
package version

// Coffer is the version of this program. A release build sets it with the
// linker's -X flag.
var Coffer = "0.1.0"

// vault is the version of HashiCorp Vault whose API is served. Clients that
// turn features on by version (Terraform's provider, hvac) read it.
const vault = "1.21.0"

// Reported is what sys/health and sys/seal-status say: the API's version, which
// parses as a Vault version, with Coffer's own as build metadata (Semantic
// Versioning 2.0.0, section 10).
func Reported() string { return vault + "+coffer." + Coffer }
