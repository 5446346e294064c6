package faults_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// network is a bridge with hosts on it, each a network namespace of its own, so
// that links can be cut while the processes run. Hosts count from zero. Tests
// reach the nodes over unix sockets, which no fault of the network touches.
type network struct {
	t     testing.TB
	hub   string
	hosts []string
}

// newNetwork makes a network that goes with the test.
func newNetwork(t testing.TB, hosts int) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made by root")
	}
	net := &network{t: t, hub: fmt.Sprintf("cf%dh", os.Getpid())}
	t.Cleanup(net.remove)
	net.ip("netns", "add", net.hub)
	net.ip("-n", net.hub, "link", "add", "br0", "type", "bridge")
	net.ip("-n", net.hub, "link", "set", "br0", "up")
	for i := range hosts {
		name := fmt.Sprintf("cf%dn%d", os.Getpid(), i)
		net.hosts = append(net.hosts, name)
		port := fmt.Sprintf("p%d", i)
		net.ip("netns", "add", name)
		net.ip("-n", net.hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
		net.ip("-n", net.hub, "link", "set", port, "master", "br0", "up")
		net.ip("-n", name, "addr", "add", net.address(i)+"/24", "dev", "eth0")
		net.ip("-n", name, "link", "set", "eth0", "up")
		net.ip("-n", name, "link", "set", "lo", "up")
		net.in(i, "nft", "add table inet faults; add chain inet faults i { type filter hook input priority 0 ; }; add chain inet faults o { type filter hook output priority 0 ; }")
	}
	return net
}

// address is that of a host.
func (net *network) address(i int) string { return fmt.Sprintf("10.77.0.%d", i+1) }

// wrapper begins a command that runs on a host.
func (net *network) wrapper(i int) []string {
	return []string{"ip", "netns", "exec", net.hosts[i]}
}

// cut lets nothing pass between two hosts.
func (net *network) cut(a, b int) {
	net.mute(a, b)
	net.mute(b, a)
}

// mute lets nothing pass from one host to another; the way back stays open.
func (net *network) mute(from, to int) {
	net.in(from, "nft", fmt.Sprintf("add rule inet faults o ip daddr %s drop", net.address(to)))
}

// isolate cuts a host from all others.
func (net *network) isolate(i int) {
	for other := range net.hosts {
		if other != i {
			net.cut(i, other)
		}
	}
}

// lose drops so many of a hundred packets that reach a host.
func (net *network) lose(i, percent int) {
	net.in(i, "nft", fmt.Sprintf("add rule inet faults i iifname eth0 numgen random mod 100 < %d drop", percent))
}

// throttle bounds what a host can send, as in "512kbit".
func (net *network) throttle(i int, rate string) {
	net.in(i, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "16000", "latency", "400ms")
}

// heal ends all faults.
func (net *network) heal() {
	for i := range net.hosts {
		net.in(i, "nft", "flush table inet faults")
		_ = exec.Command("ip", "netns", "exec", net.hosts[i], "tc", "qdisc", "del", "dev", "eth0", "root").Run() // there may be none
	}
}

func (net *network) in(i int, args ...string) {
	net.t.Helper()
	net.run(append(net.wrapper(i), args...)...)
}

func (net *network) ip(args ...string) {
	net.t.Helper()
	net.run(append([]string{"ip"}, args...)...)
}

func (net *network) run(args ...string) {
	net.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		net.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (net *network) remove() {
	for _, name := range append(net.hosts, net.hub) {
		_ = exec.Command("ip", "netns", "del", name).Run() // it may not have come to be
	}
}
