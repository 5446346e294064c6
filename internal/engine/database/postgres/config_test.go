package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/engine/database/postgres"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
)

func details(t testing.TB, m map[string]any) database.Details {
	t.Helper()
	d := database.Details{}
	for name, v := range m {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d[name] = b
	}
	return d
}

func TestConnectionStringsInAllShapes(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(`CREATE ROLE "o'd d@:/\" LOGIN PASSWORD 'p@ss:/?#%20''\ word'`)
	const user, password = `o'd d@:/\`, `p@ss:/?#%20'\ word`
	host := fmt.Sprintf("127.0.0.1:%d", s.Port)
	for _, test := range []struct {
		what, url, user, password string
		escaped                   bool
	}{
		{"template", "postgresql://{{username}}:{{password}}@" + host + "/postgres?sslmode=disable", user, password, false},
		{"other scheme", "postgres://{{username}}:{{password}}@" + host + "/postgres?sslmode=disable", user, password, false},
		{"no credentials in the URL", "postgresql://" + host + "/postgres?sslmode=disable", user, password, false},
		{"credentials as options", "postgresql://" + host + "/postgres?sslmode=disable&user={{username}}&password={{password}}", user, password, false},
		{"key=value", fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres sslmode=disable user={{username}} password={{password}}", s.Port), user, password, false},
		{"key=value in quotes", fmt.Sprintf("host=127.0.0.1 port=%d dbname=postgres sslmode=disable user='{{username}}' password='{{password}}'", s.Port), user, password, false},
		{"escaped by the administrator", "postgresql://{{username}}:{{password}}@" + host + "/postgres?sslmode=disable", `o'd%20d%40%3A%2F%5C`, `p%40ss%3A%2F%3F%23%2520'%5C%20word`, true},
		{"everything in the URL", `postgresql://o'd%20d%40%3A%2F%5C:p%40ss%3A%2F%3F%23%2520'%5C%20word@` + host + "/postgres?sslmode=disable", "", "", false},
	} {
		t.Run(test.what, func(t *testing.T) {
			d := details(t, map[string]any{"connection_url": test.url, "username": test.user, "password": test.password, "disable_escaping": test.escaped})
			c, err := postgres.Driver().Open(d)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// canary is a password that must not come back in any text.
const canary = "c4n4ry-Sekret"

func TestBadSettingsAreRefusedWithoutRepeatingThePassword(t *testing.T) {
	for what, m := range map[string]map[string]any{
		"no URL":              {},
		"not a URL":           {"connection_url": canary},
		"no host":             {"connection_url": "postgresql://{{username}}:{{password}}@/postgres"},
		"bad port":            {"connection_url": "postgresql://{{username}}:" + canary + "@h:port/x"},
		"bad escape":          {"connection_url": "postgresql://{{username}}:%zz" + canary + "@h/x"},
		"slash in password":   {"connection_url": "postgresql://u:/" + canary + "@h/x?sslmode=nonsense"},
		"space in password":   {"connection_url": "postgresql://u: " + canary + "@h:x y/x"},
		"bad sslmode":         {"connection_url": "postgresql://u:" + canary + "@h/x?sslmode=nonsense"},
		"unclosed quote":      {"connection_url": "host=h password='" + canary},
		"password file":       {"connection_url": "postgresql://{{username}}@h/x?passfile=/etc/passwd"},
		"service":             {"connection_url": "host=h service=x"},
		"no user":             {"connection_url": "postgresql://h/x", "username": ""},
		"list as a user":      {"connection_url": "postgresql://h/x", "username": []string{canary}},
		"null in password":    {"connection_url": "postgresql://h/x", "password": canary + "\x00"},
		"too many":            {"connection_url": "postgresql://h/x", "max_open_connections": 1 << 40},
		"not a number":        {"connection_url": "postgresql://h/x", "max_open_connections": canary},
		"unknown method":      {"connection_url": "postgresql://h/x", "password_authentication": canary},
		"bad authority":       {"connection_url": "postgresql://h/x", "tls_ca": canary},
		"key without cert":    {"connection_url": "postgresql://h/x", "private_key": canary},
		"TLS against sslmode": {"connection_url": "postgresql://h/x?sslmode=disable", "tls_ca": canary},
	} {
		t.Run(what, func(t *testing.T) {
			for name, v := range map[string]any{"username": "u", "password": canary} {
				if _, ok := m[name]; !ok {
					m[name] = v
				}
			}
			c, err := postgres.Driver().Open(details(t, m))
			if err == nil {
				c.Close()
				t.Fatal("accepted")
			}
			if fault.KindOf(err) != fault.Invalid || fault.Message(err) == "" {
				t.Errorf("error %v of kind %v", err, fault.KindOf(err))
			}
			for e := err; e != nil; e = unwrap(e) {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), canary) {
					t.Errorf("the password is in the error: %v", e)
				}
			}
		})
	}
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}

// The environment of the server is not the administrator's of the connection.
func TestEnvironmentLendsNoCredentials(t *testing.T) {
	s := pgtest.Start(t)
	t.Setenv("PGPASSWORD", pgtest.Password)
	t.Setenv("PGUSER", pgtest.Superuser)
	d := details(t, map[string]any{"connection_url": fmt.Sprintf("postgresql://127.0.0.1:%d/postgres?sslmode=disable", s.Port), "username": pgtest.Superuser})
	c, err := postgres.Driver().Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Verify(t.Context()); err == nil {
		t.Error("logged in with the environment's password")
	}
	d = details(t, map[string]any{"connection_url": fmt.Sprintf("postgresql://127.0.0.1:%d/postgres?sslmode=disable", s.Port)})
	if c, err := postgres.Driver().Open(d); err == nil {
		c.Close()
		t.Error("took the environment's user")
	}
}

func FuzzOpen(f *testing.F) {
	for _, url := range []string{"postgresql://{{username}}:{{password}}@h:5432/d?sslmode=verify-full", "host=h user='a b' password=\\'", "postgres://a@b,c:1/d", "host=/tmp", "=", "'"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		c, err := postgres.Driver().Open(details(t, map[string]any{"connection_url": url, "username": "u", "password": canary}))
		if err == nil {
			c.Close()
			return
		}
		if fault.KindOf(err) != fault.Invalid || strings.Contains(err.Error(), canary) {
			t.Errorf("error %v", err)
		}
	})
}
