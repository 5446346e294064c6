package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"github.com/cofferhq/coffer/internal/fault"
)

// directory is a connection to the directory.
type directory struct {
	*ldap.Conn
	config *config
}

// unreachable is the answer when the directory cannot be asked.
func unreachable(err error) error {
	return fault.Wrap(fault.Invalid, err, "ldap operation failed: the directory cannot be asked")
}

// errService is the answer when the directory refuses the service account.
var errService = fault.New(fault.Invalid, "ldap operation failed: the directory refuses binddn and bindpass")

// connect opens a connection to the first server that answers.
func connect(ctx context.Context, c *config) (*directory, error) {
	var failed error
	for _, u := range c.urls() {
		conn, err := dial(ctx, c, u)
		if err == nil {
			conn.SetTimeout(c.RequestTimeout)
			return &directory{conn, c}, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, unreachable(failed)
}

func dial(ctx context.Context, c *config, text string) (*ldap.Conn, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	secure := u.Scheme == "ldaps"
	port := u.Port()
	switch {
	case port == "" && secure:
		port = ldap.DefaultLdapsPort
	case port == "":
		port = ldap.DefaultLdapPort
	}
	settings, err := c.tls(u.Hostname())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if secure {
		over := tls.Client(raw, settings)
		if err := over.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		raw = over
	}
	conn := ldap.NewConn(raw, secure)
	conn.Start()
	if c.StartTLS && !secure {
		conn.SetTimeout(c.ConnectTimeout)
		if err := conn.StartTLS(settings); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// searches reports whether users can be found by a search.
func (c *config) searches() bool {
	return c.DiscoverDN || c.BindDN != "" && c.BindPassword != ""
}

// bindService binds as the service account, or as nobody if there is none.
// changed is the password that has turned out to be in force, if it is not the
// configured one: a change of it was interrupted.
func (d *directory) bindService() (changed string, err error) {
	c := d.config
	if c.BindDN == "" || c.BindPassword == "" {
		return "", d.bindNobody(c.BindDN)
	}
	err = d.Bind(c.BindDN, c.BindPassword)
	if invalid(err) && c.NextPassword != "" {
		if err = d.Bind(c.BindDN, c.NextPassword); err == nil {
			return c.NextPassword, nil
		}
	}
	if invalid(err) {
		return "", errService
	}
	return "", asked(err)
}

func (d *directory) bindNobody(dn string) error { return asked(d.UnauthenticatedBind(dn)) }

// asked turns a failure of the directory into an error.
func asked(err error) error {
	if err == nil {
		return nil
	}
	return unreachable(err)
}

// invalid reports whether the directory has refused a password.
func invalid(err error) bool { return ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) }

// refusedBind reports whether a bind has failed because of who it was, not
// because the directory could not judge.
func refusedBind(err error) bool {
	return ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultConstraintViolation)
}

// search finds entries, none if there are more than limit (0 is without limit), or
// if there is nothing to search below.
func (d *directory) search(base string, scope, limit int, filter string, attributes ...string) ([]*ldap.Entry, error) {
	deref, err := d.config.dereference()
	if err != nil {
		return nil, err
	}
	request := ldap.NewSearchRequest(base, scope, deref, limit, int(d.config.RequestTimeout.Seconds()), false, filter, attributes, nil)
	var result *ldap.SearchResult
	if d.config.PageSize > 0 && limit == 0 {
		result, err = d.SearchWithPaging(request, uint32(d.config.PageSize))
	} else {
		result, err = d.Search(request)
	}
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil, nil
	case limit > 0 && ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return nil, nil // more than are wanted, however many the directory has sent
	case err != nil:
		return nil, unreachable(err)
	}
	return result.Entries, nil
}

// entry is who a name stands for.
type entry struct {
	dn string
	// names are the values of the userattr, nil if the entry was not read.
	names []string
}

// find searches for a user; the entry is zero if there is not exactly one.
func (d *directory) find(name string) (entry, error) {
	filter, err := d.userFilter(name)
	if err != nil {
		return entry{}, err
	}
	entries, err := d.search(d.config.UserDN, ldap.ScopeWholeSubtree, 2, filter, d.config.UserAttr)
	if err != nil || len(entries) != 1 {
		return entry{}, err
	}
	return entry{entries[0].DN, entries[0].GetEqualFoldAttributeValues(d.config.UserAttr)}, nil
}

func (d *directory) userFilter(name string) (string, error) {
	if d.config.UPNDomain != "" {
		principal := fmt.Sprintf("(userPrincipalName=%s)", ldap.EscapeFilter(name+"@"+d.config.UPNDomain))
		if d.config.SAMAccountName {
			return fmt.Sprintf("(|%s(sAMAccountName=%s))", principal, ldap.EscapeFilter(name)), nil
		}
		return principal, nil
	}
	filter, err := render(d.config.UserFilter, filterValues{UserAttr: d.config.UserAttr, Username: name})
	if err != nil {
		return "", fault.Wrap(fault.Invalid, err, "the template in userfilter cannot be rendered")
	}
	return filter, nil
}

// made is the name of the entry, or the principal, that a user must have if there
// is no search.
func (c *config) made(name string) string {
	if c.UPNDomain != "" {
		return name + "@" + c.UPNDomain
	}
	return c.UserAttr + "=" + ldap.EscapeDN(name) + "," + c.UserDN
}

// groups returns the names of a user's groups, as the directory writes them.
func (d *directory) groups(dn, name string) ([]string, error) {
	if d.config.TokenGroups {
		return d.tokenGroups(dn)
	}
	if d.config.GroupDN == "" || d.config.GroupFilter == "" {
		return nil, nil
	}
	filter, err := render(d.config.GroupFilter, filterValues{UserAttr: d.config.UserAttr, Username: name, UserDN: dn})
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the template in groupfilter cannot be rendered")
	}
	entries, err := d.search(d.config.GroupDN, ldap.ScopeWholeSubtree, 0, filter, d.config.GroupAttr)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, d.groupNames(e)...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// groupNames are the values of groupattr, or, if the entry has none, its own name.
// A value that is the name of an entry (memberOf) stands for that entry.
func (d *directory) groupNames(e *ldap.Entry) []string {
	values := e.GetEqualFoldAttributeValues(d.config.GroupAttr)
	if len(values) == 0 {
		values = []string{e.DN}
	}
	names := make([]string, 0, len(values))
	for _, v := range values {
		if d.config.OldGroupCN {
			names = append(names, v)
			continue
		}
		names = append(names, commonName(v))
	}
	return names
}

// commonName is the first cn in the name of an entry; other text is itself.
func commonName(text string) string {
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return text
	}
	for _, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			if len(a.Type) == 2 && (a.Type[0]|0x20) == 'c' && (a.Type[1]|0x20) == 'n' {
				return a.Value
			}
		}
	}
	return text
}

// tokenGroups reads the groups that Active Directory has computed for a user:
// security identifiers, each of which names a group.
func (d *directory) tokenGroups(dn string) ([]string, error) {
	entries, err := d.search(dn, ldap.ScopeBaseObject, 1, "(objectClass=*)", "tokenGroups")
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	var names []string
	for _, sid := range entries[0].GetRawAttributeValues("tokenGroups") {
		found, err := d.search(fmt.Sprintf("<SID=%x>", sid), ldap.ScopeBaseObject, 1, "(objectClass=*)", d.config.GroupAttr)
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			names = append(names, d.groupNames(e)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
