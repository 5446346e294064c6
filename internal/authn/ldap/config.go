package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// config is a row.
type config struct {
	URL            string `json:"url"`
	UserDN         string `json:"user_dn,omitempty"`
	UserAttr       string `json:"user_attr"`
	UserFilter     string `json:"user_filter"`
	UPNDomain      string `json:"upn_domain,omitempty"`
	SAMAccountName bool   `json:"sam_account_name,omitempty"`
	DiscoverDN     bool   `json:"discover_dn,omitempty"`
	BindDN         string `json:"bind_dn,omitempty"`
	BindPassword   string `json:"bind_password,omitempty"`
	// NextPassword is what the service account's password is being changed to;
	// after a crash either may be the right one.
	NextPassword   string            `json:"next_password,omitempty"`
	GroupDN        string            `json:"group_dn,omitempty"`
	GroupFilter    string            `json:"group_filter"`
	GroupAttr      string            `json:"group_attr"`
	AnonymousGroup bool              `json:"anonymous_group,omitempty"`
	TokenGroups    bool              `json:"token_groups,omitempty"`
	OldGroupCN     bool              `json:"old_group_cn,omitempty"`
	Certificate    string            `json:"certificate,omitempty"`
	ClientCert     string            `json:"client_cert,omitempty"`
	ClientKey      string            `json:"client_key,omitempty"`
	InsecureTLS    bool              `json:"insecure_tls,omitempty"`
	StartTLS       bool              `json:"start_tls,omitempty"`
	TLSMin         string            `json:"tls_min"`
	TLSMax         string            `json:"tls_max"`
	ConnectTimeout time.Duration     `json:"connect_timeout"`
	RequestTimeout time.Duration     `json:"request_timeout"`
	Dereference    string            `json:"dereference"`
	PageSize       int               `json:"page_size,omitempty"`
	CaseSensitive  bool              `json:"case_sensitive,omitempty"`
	UsernameAlias  bool              `json:"username_alias,omitempty"`
	DenyNullBind   bool              `json:"deny_null_bind"`
	PasswordPolicy string            `json:"password_policy,omitempty"`
	Token          authn.TokenParams `json:"token"`
}

// usual are the settings of a mount that has none.
func usual() config {
	return config{
		URL: "ldap://127.0.0.1", UserAttr: "cn", UserFilter: "({{.UserAttr}}={{.Username}})", GroupAttr: "cn",
		GroupFilter: "(|(memberUid={{.Username}})(member={{.UserDN}})(uniqueMember={{.UserDN}}))", TLSMin: "tls12", TLSMax: "tls12",
		ConnectTimeout: 30 * time.Second, RequestTimeout: 90 * time.Second, Dereference: "never", DenyNullBind: true,
	}
}

func (m *method) configKey() store.Key { return m.storage.Key(kindConfig) }

// config reads the settings.
func (m *method) config(r store.Reader) (config, error) {
	c, err := store.GetJSON[config](r, m.configKey())
	if errors.Is(err, store.ErrNotFound) {
		return usual(), nil
	}
	return c, err
}

func (m *method) readConfig(ctx context.Context, _ *route.Call, _ emptyRequest) (configAnswer, error) {
	var c config
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		c, err = m.config(r)
		return err
	})
	return configAnswer{
		TokenAnswer: authn.Answer(c.Token), AnonymousGroup: c.AnonymousGroup, BindDN: c.BindDN, CaseSensitive: c.CaseSensitive, Certificate: c.Certificate,
		ConnectTimeout: wire.Duration(c.ConnectTimeout), DenyNullBind: c.DenyNullBind, Dereference: c.Dereference, DiscoverDN: c.DiscoverDN, GroupAttr: c.GroupAttr,
		GroupDN: c.GroupDN, GroupFilter: c.GroupFilter, InsecureTLS: c.InsecureTLS, PageSize: c.PageSize, PasswordPolicy: c.PasswordPolicy,
		RequestTimeout: wire.Duration(c.RequestTimeout), SAMAccountName: c.SAMAccountName, StartTLS: c.StartTLS, TLSMax: c.TLSMax, TLSMin: c.TLSMin, UPNDomain: c.UPNDomain, URL: c.URL,
		OldGroupCN: c.OldGroupCN, TokenGroups: c.TokenGroups, UserAttr: c.UserAttr, UserDN: c.UserDN, UserFilter: c.UserFilter, UsernameAlias: c.UsernameAlias,
	}, err
}

func (m *method) writeConfig(ctx context.Context, _ *route.Call, in configRequest) (route.None, error) {
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		c, err := m.config(tx)
		if err != nil {
			return err
		}
		if err := in.apply(&c); err != nil {
			return err
		}
		return store.PutJSON(tx, m.configKey(), &c)
	})
}

// apply lays the settings that were given over c and checks the whole.
func (in *configRequest) apply(c *config) error {
	if err := in.TokenFields.Apply(&c.Token); err != nil {
		return err
	}
	for _, s := range []struct {
		from wire.Opt[string]
		to   *string
	}{
		{in.URL, &c.URL}, {in.UserDN, &c.UserDN}, {in.UserAttr, &c.UserAttr}, {in.UserFilter, &c.UserFilter}, {in.UPNDomain, &c.UPNDomain}, {in.BindDN, &c.BindDN},
		{in.GroupDN, &c.GroupDN}, {in.GroupFilter, &c.GroupFilter}, {in.GroupAttr, &c.GroupAttr}, {in.Certificate, &c.Certificate}, {in.ClientCert, &c.ClientCert},
		{in.TLSMin, &c.TLSMin}, {in.TLSMax, &c.TLSMax}, {in.Dereference, &c.Dereference}, {in.PasswordPolicy, &c.PasswordPolicy},
	} {
		s.from.Into(s.to)
	}
	for _, b := range []struct {
		from wire.Opt[bool]
		to   *bool
	}{
		{in.DiscoverDN, &c.DiscoverDN}, {in.SAMAccountName, &c.SAMAccountName}, {in.AnonymousGroup, &c.AnonymousGroup}, {in.TokenGroups, &c.TokenGroups}, {in.OldGroupCN, &c.OldGroupCN},
		{in.InsecureTLS, &c.InsecureTLS}, {in.StartTLS, &c.StartTLS}, {in.CaseSensitive, &c.CaseSensitive}, {in.UsernameAlias, &c.UsernameAlias}, {in.DenyNullBind, &c.DenyNullBind},
	} {
		b.from.Into(b.to)
	}
	if in.BindPassword.Set {
		c.BindPassword, c.NextPassword = in.BindPassword.Value.Reveal(), ""
	}
	if in.ClientKey.Set {
		c.ClientKey = in.ClientKey.Value.Reveal()
	}
	if in.ConnectTimeout.Set {
		c.ConnectTimeout = in.ConnectTimeout.Value.D()
	}
	if in.RequestTimeout.Set {
		c.RequestTimeout = in.RequestTimeout.Value.D()
	}
	in.PageSize.Into(&c.PageSize)
	return c.check()
}

func (c *config) check() error {
	for _, u := range c.urls() {
		parsed, err := url.Parse(u)
		if err != nil || parsed.Host == "" || parsed.Scheme != "ldap" && parsed.Scheme != "ldaps" || parsed.User != nil {
			return fault.New(fault.Invalid, `url has URLs such as "ldaps://ldap.example", separated by commas`)
		}
	}
	switch {
	case len(c.urls()) == 0:
		return fault.New(fault.Invalid, "url may not be empty")
	case c.PageSize < 0 || c.PageSize > 100_000:
		return fault.New(fault.Invalid, "max_page_size may be 0 to 100000")
	case c.ConnectTimeout <= 0 || c.RequestTimeout <= 0:
		return fault.New(fault.Invalid, "connection_timeout and request_timeout must be more than 0")
	case !attribute(c.UserAttr) || c.GroupAttr != "" && !attribute(c.GroupAttr):
		return fault.New(fault.Invalid, "userattr and groupattr are names of attributes")
	case c.UPNDomain != "" && !domain(c.UPNDomain):
		return fault.New(fault.Invalid, "upndomain is a domain such as example.org")
	}
	for field, dn := range map[string]string{"userdn": c.UserDN, "groupdn": c.GroupDN} {
		if _, err := ldap.ParseDN(dn); err != nil {
			return fault.Newf(fault.Invalid, "%s is the name of an entry such as ou=people,dc=example,dc=org", field)
		}
	}
	if _, err := c.dereference(); err != nil {
		return err
	}
	if _, err := c.tls(""); err != nil {
		return err
	}
	return c.checkFilters()
}

// checkFilters refuses templates that make no filter.
func (c *config) checkFilters() error {
	for field, text := range map[string]string{"userfilter": c.UserFilter, "groupfilter": c.GroupFilter} {
		if text == "" {
			continue
		}
		filter, err := render(text, filterValues{UserAttr: c.UserAttr, Username: "name", UserDN: "cn=name,dc=example"})
		if err == nil {
			_, err = ldap.CompileFilter(filter)
		}
		if err != nil {
			return fault.Newf(fault.Invalid, "%s is no template of an LDAP filter, such as (uid={{.Username}})", field)
		}
	}
	return nil
}

// attribute reports whether text is an attribute description (RFC 4512, section
// 2.5).
func attribute(text string) bool { return attributePattern.MatchString(text) }

func domain(text string) bool { return domainPattern.MatchString(text) }

var (
	attributePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.;-]*$`)
	domainPattern    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
)

func (c *config) urls() []string { return wire.SplitList(c.URL) }

func (c *config) dereference() (int, error) {
	switch c.Dereference {
	case "never", "":
		return ldap.NeverDerefAliases, nil
	case "finding":
		return ldap.DerefFindingBaseObj, nil
	case "searching":
		return ldap.DerefInSearching, nil
	case "always":
		return ldap.DerefAlways, nil
	}
	return 0, fault.New(fault.Invalid, "dereference_aliases may be never, finding, searching or always")
}

// tls makes the settings of an encrypted connection to a host.
func (c *config) tls(host string) (*tls.Config, error) {
	versions := map[string]uint16{"tls10": tls.VersionTLS10, "tls11": tls.VersionTLS11, "tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13}
	low, high := versions[c.TLSMin], versions[c.TLSMax]
	if low == 0 || high == 0 || low > high {
		return nil, fault.New(fault.Invalid, "tls_min_version and tls_max_version may be tls10, tls11, tls12 and tls13, the first not newer than the last")
	}
	roots, err := authn.Roots("certificate", c.Certificate)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{ServerName: host, RootCAs: roots, MinVersion: low, MaxVersion: high, InsecureSkipVerify: c.InsecureTLS}
	if c.ClientCert != "" || c.ClientKey != "" {
		pair, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey))
		if err != nil {
			return nil, fault.New(fault.Invalid, "client_tls_cert and client_tls_key are a certificate and its key in PEM form")
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// filterValues are what a template of a filter may speak of, escaped (RFC 4515).
type filterValues struct{ UserAttr, Username, UserDN string }

func render(text string, v filterValues) (string, error) {
	t, err := template.New("filter").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	v = filterValues{UserAttr: ldap.EscapeFilter(v.UserAttr), Username: ldap.EscapeFilter(v.Username), UserDN: ldap.EscapeFilter(v.UserDN)}
	var b strings.Builder
	err = t.Execute(&b, v)
	return b.String(), err
}
