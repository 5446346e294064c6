package cli

import (
	"context"
	"flag"

	"github.com/cofferhq/coffer/api"
)

const raftPath = "sys/storage/raft/"

func operatorRaftCommand() *command {
	return &command{name: "raft", short: "Look after the nodes of a cluster", subs: []*command{
		{
			name: "list-peers", groups: connects | formats,
			short:  "List the members of the cluster",
			define: func(*flag.FlagSet) action { return runRaftPeers },
		},
		raftServerCommand("remove-peer", "Remove a node from the cluster", "Peer removed"),
		raftServerCommand("promote", "Give a node a vote", "Node votes"),
		raftServerCommand("demote", "Take a node's vote", "Node no longer votes"),
		raftJoinCommand(),
		raftSnapshotCommand(),
		{name: "autopilot", short: "See how the nodes are, and say when they get a vote and when they go", subs: []*command{
			{
				name: "state", groups: connects | formats | selects,
				short: "Show how the nodes are",
				define: func(*flag.FlagSet) action {
					return readAt(raftPath+"autopilot/state", "reading the state of autopilot")
				},
			},
			{
				name: "get-config", groups: connects | formats | selects,
				short: "Show the settings",
				define: func(*flag.FlagSet) action {
					return readAt(raftPath+"autopilot/configuration", "reading the settings of autopilot")
				},
			},
			{
				name: "set-config", groups: connects | formats,
				short:  "Change the settings that are given",
				define: defineAutopilotConfig,
			},
		}},
	}}
}

// readAt reads a path and shows what is there.
func readAt(path, doing string) action {
	return func(ctx context.Context, c *call) error {
		cl, err := c.client(ctx)
		if err != nil {
			return err
		}
		s, err := cl.Read(ctx, path, nil)
		if err != nil {
			return failed(doing, err)
		}
		return c.secret(s)
	}
}

func runRaftPeers(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Read(ctx, raftPath+"configuration", nil)
	if err != nil {
		return failed("listing the members", err)
	}
	type peer struct {
		Address string `json:"address"`
		Leader  bool   `json:"leader"`
		NodeID  string `json:"node_id"`
		Voter   bool   `json:"voter"`
	}
	config, err := api.Field[struct {
		Servers []peer `json:"servers"`
	}](s, "config")
	if err != nil {
		return err
	}
	t := newTable("Node", "Address", "State", "Voter")
	for _, p := range config.Servers {
		state := "follower"
		if p.Leader {
			state = "leader"
		}
		t.row(p.NodeID, p.Address, state, cell(p.Voter))
	}
	data, err := s.Map()
	if err != nil {
		return err
	}
	return c.tableValue(data, t)
}

// raftServerCommand changes one member.
func raftServerCommand(name, short, done string) *command {
	return &command{
		name: name, args: "SERVER-ID", min: 1, max: 1, groups: connects | formats, short: short,
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, c *call) error {
				cl, err := c.client(ctx)
				if err != nil {
					return err
				}
				s, err := cl.Write(ctx, raftPath+name, map[string]any{"server_id": c.args[0]})
				if err != nil {
					return failed("changing the members", err)
				}
				return c.written(s, "%s: %s", done, c.args[0])
			}
		},
	}
}

func defineAutopilotConfig(fs *flag.FlagSet) action {
	var cleanup, migration boolPointer
	var dead, contact, stable duration
	var trailing, quorum int
	fs.Var(&cleanup, "cleanup-dead-servers", "remove nodes that are dead")
	fs.Var(&migration, "disable-upgrade-migration", "leave the votes as they are when nodes of a newer upgrade version join")
	fs.Var(&dead, "dead-server-last-contact-threshold", "`time` without word from a node after which it is dead")
	fs.Var(&contact, "last-contact-threshold", "longest `time` without word from a healthy node")
	fs.Var(&stable, "server-stabilization-time", "`time` that a node must be healthy to get a vote")
	fs.IntVar(&trailing, "max-trailing-logs", 0, "how many log entries a healthy node may be behind")
	fs.IntVar(&quorum, "min-quorum", 0, "how many voters the removal of dead nodes leaves")
	return func(ctx context.Context, c *call) error {
		data := map[string]any{}
		for name, v := range map[string]boolPointer{"cleanup_dead_servers": cleanup, "disable_upgrade_migration": migration} {
			if v.value != nil {
				data[name] = *v.value
			}
		}
		for name, d := range map[string]duration{"dead_server_last_contact_threshold": dead, "last_contact_threshold": contact, "server_stabilization_time": stable} {
			if d.text != "" {
				data[name] = d.ttl()
			}
		}
		fs.Visit(func(f *flag.Flag) {
			switch f.Name {
			case "max-trailing-logs":
				data["max_trailing_logs"] = trailing
			case "min-quorum":
				data["min_quorum"] = quorum
			}
		})
		cl, err := c.client(ctx)
		if err != nil {
			return err
		}
		s, err := cl.Write(ctx, raftPath+"autopilot/configuration", data)
		if err != nil {
			return failed("changing the settings of autopilot", err)
		}
		return c.written(s, "Autopilot's settings changed")
	}
}
