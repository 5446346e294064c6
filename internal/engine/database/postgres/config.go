package postgres

import (
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// settings are a connection's details, understood.
type settings struct {
	pool     *pgxpool.Config
	password wire.Secret
	scram    bool
	maxIdle  int64
}

const (
	// dialLimit caps connect_timeout.
	dialLimit = 5 * time.Second

	defaultMaxOpen = 4
	mostOpen       = 1000
)

// Stand-ins for the placeholders while a connection string is parsed. They are
// found again in the parsed configuration and replaced there, so that no
// escaping is needed and no parser's error can repeat the password.
const (
	standInUser     = "coffer-stand-in-username"
	standInPassword = "coffer-stand-in-password"
)

func parse(d database.Details) (settings, error) {
	var s settings
	text, err := d.Text("connection_url")
	if err != nil {
		return s, err
	}
	if strings.TrimSpace(text) == "" {
		return s, fault.New(fault.Invalid, "connection_url is required")
	}
	if s.pool, err = parseString(text); err != nil {
		return s, err
	}
	if err := s.credentials(d, text); err != nil {
		return s, err
	}
	if err := s.size(d); err != nil {
		return s, err
	}
	if err := secure(d, s.pool.ConnConfig, sslmode(text)); err != nil {
		return s, err
	}
	method, err := d.Text("password_authentication")
	if err != nil {
		return s, err
	}
	switch method {
	case "", "password":
	case "scram-sha-256":
		s.scram = true
	default:
		return s, fault.Newf(fault.Invalid, "field %q: must be password or scram-sha-256", "password_authentication")
	}
	cc := &s.pool.ConnConfig.Config
	if cc.ConnectTimeout <= 0 || cc.ConnectTimeout > dialLimit {
		cc.ConnectTimeout = dialLimit
	}
	// Quoting in the lexer relies on this; it is the default since version 9.1.
	cc.RuntimeParams["standard_conforming_strings"] = "on"
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = "coffer"
	}
	s.pool.PrepareConn = alive
	s.pool.ShouldPing = neverPing
	return s, nil
}

// parseString parses a connection string without its credentials.
func parseString(text string) (*pgxpool.Config, error) {
	for key := range keywords(text) {
		switch key {
		case "service", "servicefile", "passfile":
			return nil, fault.Newf(fault.Invalid, "connection_url: %s is not allowed; it would read files of the server", key)
		}
	}
	text = strings.NewReplacer("{{username}}", standInUser, "{{name}}", standInUser, "{{password}}", standInPassword).Replace(text)
	cfg, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "connection_url must be postgresql://{{username}}:{{password}}@host:port/database?options, or the same as key=value pairs")
	}
	if !namesHost(text) {
		return nil, fault.New(fault.Invalid, "connection_url must name a host")
	}
	return cfg, nil
}

// credentials puts user and password in. Those of this process's environment
// or password file are never used.
func (s *settings) credentials(d database.Details, text string) error {
	username, err := d.Text("username")
	if err != nil {
		return err
	}
	password, err := d.Text("password")
	if err != nil {
		return err
	}
	escaped, err := d.Bool("disable_escaping")
	if err != nil {
		return err
	}
	if escaped && isURL(text) {
		username, password = unescape(username), unescape(password)
	}
	cc := &s.pool.ConnConfig.Config
	given := keywords(text)
	if given["user"] == "" {
		cc.User = username
	}
	if given["password"] == "" {
		cc.Password = password
	}
	cc.User = strings.ReplaceAll(cc.User, standInUser, username)
	cc.Password = strings.ReplaceAll(cc.Password, standInPassword, password)
	cc.Database = strings.ReplaceAll(cc.Database, standInUser, username)
	if cc.User == "" {
		return fault.New(fault.Invalid, "username is required")
	}
	if strings.Contains(cc.User+cc.Password+cc.Database, "\x00") {
		return fault.New(fault.Invalid, "username and password must not have null characters")
	}
	s.password = wire.Secret(cc.Password)
	return nil
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func (s *settings) size(d database.Details) error {
	open, err := d.Int("max_open_connections")
	if err != nil {
		return err
	}
	idle, err := d.Int("max_idle_connections")
	if err != nil {
		return err
	}
	lifetime, err := d.Duration("max_connection_lifetime")
	if err != nil {
		return err
	}
	switch {
	case open > mostOpen:
		return fault.Newf(fault.Invalid, "field %q: must be at most %d", "max_open_connections", mostOpen)
	case open <= 0:
		open = defaultMaxOpen
	}
	s.pool.MaxConns = int32(open)
	s.pool.MinConns, s.pool.MinIdleConns = 0, 0
	if lifetime > 0 {
		s.pool.MaxConnLifetime = lifetime
	}
	s.maxIdle = open
	if idle != 0 {
		s.maxIdle = min(max(idle, 0), open)
	}
	return nil
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

func sslmode(text string) string { return keywords(text)["sslmode"] }

func namesHost(text string) bool {
	k := keywords(text)
	return k["host"] != "" || k["hostaddr"] != ""
}

// keywords returns the settings that a connection string spells out, by
// libpq's names. It is lenient: the strict parser has its say too.
func keywords(text string) map[string]string {
	found := map[string]string{}
	if !isURL(text) {
		for key, value := range pairs(text) {
			found[canonical(key)] = value
		}
		return found
	}
	u, err := url.Parse(strings.NewReplacer("{{username}}", standInUser, "{{name}}", standInUser, "{{password}}", standInPassword).Replace(text))
	if err != nil {
		return found
	}
	for key, value := range u.Query() {
		found[canonical(key)] = value[len(value)-1]
	}
	if u.Host != "" {
		found["host"] = u.Host
	}
	if name := u.User.Username(); name != "" {
		found["user"] = name
	}
	if password, ok := u.User.Password(); ok && password != "" {
		found["password"] = password
	}
	return found
}

func canonical(key string) string {
	if key = strings.ToLower(key); key == "dbname" {
		return "database"
	}
	return key
}

// pairs splits libpq's key=value form: values may be in single quotes, with
// backslash escapes.
func pairs(text string) map[string]string {
	found := map[string]string{}
	for {
		key, rest, ok := strings.Cut(text, "=")
		if !ok {
			return found
		}
		var value string
		value, text = pairValue(strings.TrimLeft(rest, " \t\r\n"))
		found[strings.TrimSpace(key)] = value
	}
}

func pairValue(s string) (value, rest string) {
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'', !quoted && strings.IndexByte(" \t\r\n", c) >= 0:
			return b.String(), s[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}
