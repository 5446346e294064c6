package membership

import (
	"context"
	"net"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// Discovery says how to find the nodes of a cluster to join.
type Discovery struct {
	// How is "dns-srv NAME": the nodes are the targets of NAME's SRV records.
	How string
	// Scheme is http or https; "" is https. Port is the API's port, zero for
	// that of the record.
	Scheme string
	Port   int
	// Target has the TLS settings for all of them.
	Target Target
}

// discoverDNS is the one way to find nodes.
const discoverDNS = "dns-srv"

// CheckDiscovery refuses ways to find nodes that there are not.
func CheckDiscovery(how string) error {
	if fields := strings.Fields(how); len(fields) == 2 && fields[0] == discoverDNS {
		return nil
	}
	if strings.Contains(how, "provider=") {
		return fault.New(fault.Invalid, `auto_join asks no cloud provider for nodes; use auto_join = "dns-srv NAME", or leader_api_addr`)
	}
	return fault.New(fault.Invalid, `auto_join must be "dns-srv NAME", where NAME has SRV records of the nodes' APIs`)
}

// discover finds the nodes.
func (s *Service) discover(ctx context.Context, d Discovery) ([]Target, error) {
	if err := CheckDiscovery(d.How); err != nil {
		return nil, err
	}
	name := strings.Fields(d.How)[1]
	_, records, err := net.DefaultResolver.LookupSRV(ctx, "", "", name)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the SRV records of auto_join could not be looked up; see the server log")
	}
	var targets []Target
	for _, r := range records {
		t := d.Target
		p := int(r.Port)
		if d.Port != 0 {
			p = d.Port
		}
		scheme := d.Scheme
		if scheme == "" {
			scheme = "https"
		}
		t.Address = scheme + "://" + net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(p))
		targets = append(targets, t)
	}
	if len(targets) == 0 {
		return nil, fault.New(fault.Unavailable, "auto_join found no nodes")
	}
	return targets, nil
}
