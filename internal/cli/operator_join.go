package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/cofferhq/coffer/api"
)

// joinFlags are the flags of operator raft join.
type joinFlags struct {
	api.JoinRequest
	caCert, clientCert, clientKey string
}

func raftJoinCommand() *command {
	return &command{
		name: "join", args: "[LEADER_API_ADDR]", max: 1, groups: connects | formats,
		short: "Join this node to a cluster",
		long: "The node that is addressed joins the cluster of the node at LEADER_API_ADDR. With key shares it\n" +
			"joins when it is unsealed with that cluster's.",
		tokenless: true,
		define: func(fs *flag.FlagSet) action {
			var f joinFlags
			text := func(to *string, name, doc string) { fs.StringVar(to, name, "", doc) }
			text(&f.caCert, "leader-ca-cert", "PEM `file` of who has issued the other node's certificate; @FILE and the PEM itself do, too")
			text(&f.clientCert, "leader-client-cert", "PEM `file` of the certificate to show to it")
			text(&f.clientKey, "leader-client-key", "PEM `file` of that certificate's key")
			text(&f.ServerName, "leader-tls-servername", "`name` in the other node's certificate")
			text(&f.AutoJoin, "auto-join", "find the nodes by DNS: 'dns-srv `NAME`'")
			text(&f.AutoJoinScheme, "auto-join-scheme", "`scheme` of the nodes found: http or https")
			fs.UintVar(&f.AutoJoinPort, "auto-join-port", 0, "API `port` of the nodes found, if not that of the record")
			fs.BoolVar(&f.Retry, "retry", false, "go on trying until the cluster answers")
			fs.BoolVar(&f.NonVoter, "non-voter", false, "join without a vote")
			return func(ctx context.Context, c *call) error { return c.join(ctx, f) }
		},
	}
}

func (c *call) join(ctx context.Context, f joinFlags) error {
	if len(c.args) > 0 {
		f.LeaderAPIAddr = c.args[0]
	}
	for _, file := range []struct {
		name string
		to   *string
	}{{f.caCert, &f.CACert}, {f.clientCert, &f.ClientCert}, {f.clientKey, &f.ClientKey}} {
		switch {
		case file.name == "":
			continue
		case strings.HasPrefix(file.name, "-----BEGIN"): // as Vault's command takes it
			*file.to = file.name
			continue
		}
		text, err := os.ReadFile(strings.TrimPrefix(file.name, "@"))
		if err != nil {
			return fmt.Errorf("reading the TLS files: %w", err)
		}
		*file.to = string(text)
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	joined, err := cl.Join(ctx, f.JoinRequest)
	if err != nil {
		return failed("joining the cluster", err)
	}
	t := newTable("Key", "Value")
	t.row("Joined", cell(joined))
	return c.tableValue(map[string]any{"joined": joined}, t)
}
