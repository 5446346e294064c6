package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/cofferhq/coffer/api"
)

// recorded serves recorded answers, in place of a server.
func recorded(answers map[string]string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			body = `{"errors":[]}`
		}
		_, _ = io.WriteString(w, body)
	}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func Example() {
	server := recorded(map[string]string{
		"PUT /v1/auth/approle/login":  `{"auth":{"client_token":"hvs.app","lease_duration":3600,"renewable":true}}`,
		"GET /v1/database/creds/app":  `{"lease_id":"database/creds/app/x","lease_duration":600,"renewable":true,"data":{"username":"v-app-1","password":"pw"}}`,
		"GET /v1/secret/data/app/api": `{"data":{"data":{"key":"k1"},"metadata":{"version":3,"created_time":"2026-01-02T03:04:05Z"}}}`,
	})
	defer server.Close()
	ctx := context.Background()

	// A program would use api.ConfigFromEnv(os.Getenv).
	cfg := api.DefaultConfig()
	cfg.Address = server.URL
	client := must(api.New(cfg))

	login := must(client.LoginAppRole(ctx, api.AppRoleLogin{RoleID: "role", SecretID: "secret"}))
	client = client.WithToken(login.Auth.ClientToken)

	secret := must(client.KVv2("secret").Get(ctx, "app/api"))
	var app struct{ Key string }
	if err := secret.Decode(&app); err != nil {
		panic(err)
	}
	fmt.Println("version", secret.Metadata.Version, "has the key", app.Key)

	creds := must(client.Read(ctx, "database/creds/app", nil))
	fmt.Println("user", must(api.Field[string](creds, "username")), "for", creds.LeaseDuration, "seconds")
	// Output:
	// version 3 has the key k1
	// user v-app-1 for 600 seconds
}

func ExampleConfigFromEnv() {
	env := map[string]string{"VAULT_ADDR": "https://vault.example.com", "COFFER_ADDR": "https://coffer.example.com"}
	cfg := must(api.ConfigFromEnv(func(name string) string { return env[name] }))
	fmt.Println(cfg.Address)
	// Output: https://coffer.example.com
}

func ExampleClient_Read() {
	server := recorded(map[string]string{"GET /v1/cubbyhole/note": `{"data":{"text":"hello"}}`})
	defer server.Close()
	client := must(api.New(api.Config{Address: server.URL, Token: "tok"}))

	note := must(client.Read(context.Background(), "cubbyhole/note", nil))
	fmt.Println(must(api.Field[string](note, "text")))

	_, err := client.Read(context.Background(), "cubbyhole/none", nil)
	fmt.Println("nothing there:", errors.Is(err, api.ErrNotFound))
	// Output:
	// hello
	// nothing there: true
}

func ExampleCheckAndSet() {
	server := recorded(map[string]string{"PUT /v1/secret/data/app": `{"data":{"version":4,"created_time":"2026-01-02T03:04:05Z"}}`})
	defer server.Close()
	client := must(api.New(api.Config{Address: server.URL, Token: "tok"}))

	written := must(client.KVv2("secret").Put(context.Background(), "app", map[string]string{"key": "k2"}, api.CheckAndSet(3)))
	fmt.Println("version", written.Version)
	// Output: version 4
}

func ExampleClient_WithWrapTTL() {
	server := recorded(map[string]string{
		"PUT /v1/auth/approle/role/app/secret-id": `{"wrap_info":{"token":"hvs.wrap","ttl":60,"creation_time":"2026-01-02T03:04:05Z"}}`,
		"PUT /v1/sys/wrapping/unwrap":             `{"data":{"secret_id":"sid"}}`,
	})
	defer server.Close()
	ctx := context.Background()
	client := must(api.New(api.Config{Address: server.URL, Token: "tok"}))

	wrapped := must(client.WithWrapTTL("60s").Write(ctx, "auth/approle/role/app/secret-id", nil))
	secretID := must(client.Unwrap(ctx, wrapped.WrapInfo.Token))
	fmt.Println(must(api.Field[string](secretID, "secret_id")))
	// Output: sid
}

func ExampleRenewer() {
	server := recorded(map[string]string{"PUT /v1/sys/leases/renew": `{"lease_id":"pg/creds/app/x","lease_duration":1,"renewable":false}`})
	defer server.Close()
	client := must(api.New(api.Config{Address: server.URL, Token: "tok"}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	renewer := api.Renewer{
		Client:  client,
		Secret:  &api.Secret{LeaseID: "pg/creds/app/x", LeaseDuration: 1, Renewable: true},
		Renewed: func(s *api.Secret) { fmt.Fprintln(os.Stdout, "renewed", s.LeaseID) },
	}
	if err := renewer.Run(ctx); errors.Is(err, api.ErrExpiring) {
		fmt.Println("time for new credentials")
	}
	// Output:
	// renewed pg/creds/app/x
	// time for new credentials
}
