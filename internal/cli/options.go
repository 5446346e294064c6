package cli

import (
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/api"
)

// options are the flags that most commands share.
type options struct {
	address, agentAddress          string
	namespace                      string
	caCert, caPath                 string
	clientCert, clientKey          string
	tlsServerName                  string
	tlsSkipVerify, noRedirects     bool
	wrapTTL                        string
	headers                        pairs
	mfa                            list
	outputCurl, outputPolicy       bool
	nonInteractive, policyOverride bool
	unlockKey                      string

	format   string
	field    string
	detailed bool
	noColor  bool
}

func (o *options) define(fs *flag.FlagSet, g groups, env func(string) string) {
	if g != 0 {
		// Nothing is ever coloured; scripts pass it all the same.
		fs.BoolVar(&o.noColor, "no-color", false, "")
	}
	if g&connects != 0 {
		o.defineConnection(fs)
	}
	if g&formats != 0 {
		format, _ := api.LookupEnv(env, "FORMAT")
		if format == "" {
			format = "table"
		}
		fs.StringVar(&o.format, "format", format, "print the answer in this `format`: table, json, yaml or raw (environment: VAULT_FORMAT)")
		detailed, _ := api.LookupEnv(env, "DETAILED")
		o.detailed, _ = strconv.ParseBool(detailed)
		// Lists declare -detailed themselves, with a description.
		if fs.Lookup("detailed") == nil {
			fs.BoolVar(&o.detailed, "detailed", o.detailed, "")
		}
	}
	if g&selects != 0 {
		fs.StringVar(&o.field, "field", "", "print only the value of the field `name`, without a line end unless on a terminal")
	}
}

func (o *options) defineConnection(fs *flag.FlagSet) {
	fs.StringVar(&o.address, "address", "", "`url` of the server (environment: VAULT_ADDR)")
	fs.StringVar(&o.agentAddress, "agent-address", "", "`url` of an agent to use instead of the server")
	fs.StringVar(&o.namespace, "namespace", "", "work in the namespace at `path` (environment: VAULT_NAMESPACE)")
	fs.StringVar(&o.namespace, "ns", "", "short for -namespace=`path`")
	fs.StringVar(&o.caCert, "ca-cert", "", "trust the authorities in this PEM `file` (environment: VAULT_CACERT)")
	fs.StringVar(&o.caPath, "ca-path", "", "trust the authorities in the PEM files of this `directory` (environment: VAULT_CAPATH)")
	fs.StringVar(&o.clientCert, "client-cert", "", "authenticate with the certificate in this PEM `file` (environment: VAULT_CLIENT_CERT)")
	fs.StringVar(&o.clientKey, "client-key", "", "private key `file` of -client-cert (environment: VAULT_CLIENT_KEY)")
	fs.StringVar(&o.tlsServerName, "tls-server-name", "", "expect this `name` in the server's certificate (environment: VAULT_TLS_SERVER_NAME)")
	fs.BoolVar(&o.tlsSkipVerify, "tls-skip-verify", false, "accept any server certificate; for experiments only (environment: VAULT_SKIP_VERIFY)")
	fs.BoolVar(&o.noRedirects, "disable-redirects", false, "do not follow redirects")
	fs.StringVar(&o.wrapTTL, "wrap-ttl", "", "have the answer wrapped in a single-use token that lives this `time` (environment: VAULT_WRAP_TTL)")
	fs.Var(&o.headers, "header", "add the header `name=value` to the request; may be repeated")
	fs.Var(&o.mfa, "mfa", "send an MFA `credential`; may be repeated")
	fs.BoolVar(&o.outputCurl, "output-curl-string", false, "print the request as a curl command instead of making it")
	fs.BoolVar(&o.outputPolicy, "output-policy", false, "print the policy that the request needs instead of making it")
	fs.BoolVar(&o.nonInteractive, "non-interactive", false, "fail instead of asking for input")
	fs.BoolVar(&o.policyOverride, "policy-override", false, "")
	fs.StringVar(&o.unlockKey, "unlock-key", "", "")
}

func (o *options) checkFormat() error {
	o.format = strings.ToLower(o.format)
	switch o.format {
	case "table", "json", "yaml", "raw":
	case "yml":
		o.format = "yaml"
	case "pretty":
		o.format = "table"
	default:
		return usageError(fmt.Sprintf("Invalid output format %q: use table, json, yaml or raw", o.format))
	}
	return nil
}

// config returns the client's configuration: the environment's, changed by the
// flags that were given.
func (o *options) config(env func(string) string, isSet func(string) bool) (api.Config, error) {
	cfg, err := api.ConfigFromEnv(env)
	if err != nil {
		return cfg, err
	}
	for _, f := range []struct {
		name, value string
		to          *string
	}{
		{"address", o.address, &cfg.Address},
		{"agent-address", o.agentAddress, &cfg.Address},
		{"namespace", o.namespace, &cfg.Namespace},
		{"ns", o.namespace, &cfg.Namespace},
		{"ca-cert", o.caCert, &cfg.TLS.CACert},
		{"ca-path", o.caPath, &cfg.TLS.CAPath},
		{"client-cert", o.clientCert, &cfg.TLS.ClientCert},
		{"client-key", o.clientKey, &cfg.TLS.ClientKey},
		{"tls-server-name", o.tlsServerName, &cfg.TLS.ServerName},
		{"wrap-ttl", o.wrapTTL, &cfg.WrapTTL},
	} {
		if isSet(f.name) {
			*f.to = f.value
		}
	}
	if isSet("tls-skip-verify") {
		cfg.TLS.InsecureSkipVerify = o.tlsSkipVerify
	}
	if isSet("disable-redirects") {
		cfg.DisableRedirects = o.noRedirects
	}
	cfg.Headers = o.requestHeaders()
	return cfg, nil
}
