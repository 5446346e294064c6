package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultAddress is where a client looks when nobody says otherwise.
const DefaultAddress = "https://127.0.0.1:8200"

const (
	defaultTimeout    = 60 * time.Second
	defaultMaxRetries = 2
)

// Config says how to reach a server and as whom. The zero value, completed by
// [New], is a client for [DefaultAddress] without a token and without retries;
// [DefaultConfig] is the usual start.
type Config struct {
	// Address is the server's URL: http, https or unix (unix:///run/coffer.sock).
	Address string
	// Token is sent with every request when not empty.
	Token string
	// Namespace is sent with every request when not empty.
	Namespace string
	// TLS configures the https connection.
	TLS TLSConfig
	// Timeout bounds one request with all its retries. Zero means 60 seconds,
	// a negative value means no limit.
	Timeout time.Duration
	// MaxRetries is how often a request that failed for a passing reason is
	// repeated.
	MaxRetries int
	// RateLimit bounds the requests per second; zero means no limit. Burst is
	// how many may be made at once.
	RateLimit float64
	// Burst is the number of requests the rate limit lets through at once.
	// Zero means RateLimit, at least one.
	Burst int
	// WrapTTL asks the server to wrap the answers of requests for that long,
	// as WithWrapTTL does. It is a duration string or a number of seconds.
	WrapTTL string
	// ProxyAddress is an HTTP proxy for all requests; when empty, the standard
	// proxy variables of the environment apply.
	ProxyAddress string
	// DisableRedirects makes the client return a redirect instead of following it.
	DisableRedirects bool
	// Headers are added to every request.
	Headers http.Header
	// Middleware, when set, wraps the transport: for tracing, or to record requests.
	Middleware func(http.RoundTripper) http.RoundTripper
}

// TLSConfig is the TLS side of a [Config]. Paths name PEM files.
type TLSConfig struct {
	// CACert is a file, CACertBytes its content, CAPath a directory of files with
	// the authorities to trust instead of the system's.
	CACert      string
	CACertBytes []byte
	CAPath      string
	// ClientCert and ClientKey authenticate the client.
	ClientCert string
	ClientKey  string
	// ServerName is the name to expect in the server's certificate.
	ServerName string
	// InsecureSkipVerify accepts any server certificate.
	InsecureSkipVerify bool
}

// DefaultConfig returns the configuration of a client for [DefaultAddress].
func DefaultConfig() Config {
	return Config{Address: DefaultAddress, Timeout: defaultTimeout, MaxRetries: defaultMaxRetries}
}

// EnvPrefixes lists the prefixes under which [LookupEnv] looks for a setting, in
// order of precedence.
func EnvPrefixes() []string { return []string{"COFFER_", "BAO_", "VAULT_"} }

// LookupEnv returns the first non-empty value of the setting name (as "ADDR")
// among COFFER_name, BAO_name and VAULT_name, and the variable that held it.
func LookupEnv(getenv func(string) string, name string) (value, variable string) {
	for _, prefix := range EnvPrefixes() {
		if v := getenv(prefix + name); v != "" {
			return v, prefix + name
		}
	}
	return "", ""
}

// ConfigFromEnv returns [DefaultConfig] changed by the environment: the
// settings ADDR, AGENT_ADDR, TOKEN, NAMESPACE, CACERT, CACERT_BYTES, CAPATH,
// CLIENT_CERT, CLIENT_KEY, SKIP_VERIFY, TLS_SERVER_NAME, CLIENT_TIMEOUT,
// MAX_RETRIES, RATE_LIMIT, WRAP_TTL, PROXY_ADDR, HTTP_PROXY and
// DISABLE_REDIRECTS, each as [LookupEnv] finds it.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	cfg := DefaultConfig()
	texts := []struct {
		name string
		to   *string
	}{
		{"ADDR", &cfg.Address},
		{"AGENT_ADDR", &cfg.Address},
		{"TOKEN", &cfg.Token},
		{"NAMESPACE", &cfg.Namespace},
		{"CACERT", &cfg.TLS.CACert},
		{"CAPATH", &cfg.TLS.CAPath},
		{"CLIENT_CERT", &cfg.TLS.ClientCert},
		{"CLIENT_KEY", &cfg.TLS.ClientKey},
		{"TLS_SERVER_NAME", &cfg.TLS.ServerName},
		{"WRAP_TTL", &cfg.WrapTTL},
		{"HTTP_PROXY", &cfg.ProxyAddress},
		{"PROXY_ADDR", &cfg.ProxyAddress},
	}
	for _, t := range texts {
		if v, _ := LookupEnv(getenv, t.name); v != "" {
			*t.to = v
		}
	}
	if v, _ := LookupEnv(getenv, "CACERT_BYTES"); v != "" {
		cfg.TLS.CACertBytes = []byte(v)
	}
	parsers := []struct {
		name  string
		parse func(string) error
	}{
		{"SKIP_VERIFY", parseInto(&cfg.TLS.InsecureSkipVerify, strconv.ParseBool)},
		{"DISABLE_REDIRECTS", parseInto(&cfg.DisableRedirects, strconv.ParseBool)},
		{"CLIENT_TIMEOUT", parseInto(&cfg.Timeout, ParseDuration)},
		{"MAX_RETRIES", parseInto(&cfg.MaxRetries, parseRetries)},
		{"RATE_LIMIT", cfg.parseRateLimit},
	}
	for _, p := range parsers {
		v, variable := LookupEnv(getenv, p.name)
		if v == "" {
			continue
		}
		if err := p.parse(v); err != nil {
			return Config{}, fmt.Errorf("reading %s: %w", variable, err)
		}
	}
	return cfg, nil
}

func parseInto[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil {
			*to = v
		}
		return err
	}
}

func parseRetries(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 100 {
		return 0, fmt.Errorf("%q is not a number of retries between 0 and 100", s)
	}
	return n, nil
}

// parseRateLimit reads "rate" or "rate:burst".
func (c *Config) parseRateLimit(s string) error {
	rate, burst, both := strings.Cut(s, ":")
	r, err := strconv.ParseFloat(rate, 64)
	if err != nil || !(r >= 0 && r <= 1e6) {
		return fmt.Errorf("%q is not a rate of requests per second", s)
	}
	b := 0
	if both {
		if b, err = strconv.Atoi(burst); err != nil || b < 1 || b > 1e6 {
			return fmt.Errorf("%q is not a rate and a burst, as 10:20", s)
		}
	}
	c.RateLimit, c.Burst = r, b
	return nil
}

// ParseDuration reads a duration as the API writes them: Go's notation ("90s",
// "1h30m"), days ("7d"), or a bare number of seconds.
func ParseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n > int64(1<<63-1)/int64(time.Second) || n < -int64(1<<63-1)/int64(time.Second) {
			return 0, fmt.Errorf("duration %q is too long", s)
		}
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 32); err == nil && n <= 100_000 && n >= -100_000 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 90s, 1h30m, 7d or a number of seconds", s)
	}
	return d, nil
}

func parseAddress(address string) (*url.URL, error) {
	if address == "" {
		address = DefaultAddress
	}
	if !strings.Contains(address, "://") {
		return nil, fmt.Errorf("address %q needs a scheme, as https://%s", address, address)
	}
	u, err := url.Parse(address)
	if err != nil {
		// The parser's own message would repeat userinfo that may be a password.
		return nil, fmt.Errorf("address is not a URL")
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("address %q has no host", u.Redacted())
		}
	case "unix":
		if u.Path == "" && u.Host == "" {
			return nil, fmt.Errorf("address %q has no socket path", address)
		}
	default:
		return nil, fmt.Errorf("address scheme %q is not http, https or unix", u.Scheme)
	}
	return u, nil
}
