// Package api is a typed client for Coffer and for every server that speaks
// the HashiCorp Vault HTTP API.
//
// A [Client] is immutable and safe for concurrent use. The With methods return
// a copy that differs in one respect (token, namespace, wrapping), so a program
// that serves several identities shares the connections but never mixes up the
// tokens:
//
//	cfg, err := api.ConfigFromEnv(os.Getenv)
//	client, err := api.New(cfg)
//	login, err := client.LoginAppRole(ctx, api.AppRoleLogin{RoleID: id, SecretID: secret})
//	client = client.WithToken(login.Auth.ClientToken)
//	creds, err := client.Read(ctx, "database/creds/app", nil)
//	user, err := api.Field[string](creds, "username")
//
// A request that the server refused returns an [*Error] with the status and the
// server's messages; errors.Is with [ErrNotFound], [ErrPermissionDenied] and
// their siblings tells the common cases apart. No method returns a nil secret
// without an error: a path that holds nothing is [ErrNotFound].
//
// The package depends on the standard library only.
package api
