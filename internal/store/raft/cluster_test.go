package raft_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/store/storetest"
)

// wire connects the nodes of a test over loopback, and can be cut.
type wire struct {
	mu    sync.Mutex
	alone map[string]bool         // guarded by mu; by address
	conns map[net.Conn]*[2]string // guarded by mu; who dials whom
	ids   map[string]string       // guarded by mu; address to id
}

func newWire() *wire {
	return &wire{alone: map[string]bool{}, conns: map[net.Conn]*[2]string{}, ids: map[string]string{}}
}

// end is a node's end of the wire.
type end struct {
	net.Listener
	wire *wire
}

func (w *wire) end(t *testing.T, id, address string) *end {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[l.Addr().String()] = id
	return &end{l, w}
}

// DialNode implements [raft.Network].
func (e *end) DialNode(ctx context.Context, id, address string) (net.Conn, error) {
	from := e.Addr().String()
	e.wire.mu.Lock()
	cut := e.wire.alone[from] || e.wire.alone[address]
	wrong := e.wire.ids[address] != id
	e.wire.mu.Unlock()
	if cut || wrong {
		return nil, errors.New("no way there")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	e.wire.conns[c] = &[2]string{from, address}
	return c, nil
}

// isolate cuts the node at an address off, or lets it back.
func (w *wire) isolate(address string, alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alone[address] = alone
	for c, ends := range w.conns {
		if alone && (ends[0] == address || ends[1] == address) {
			_ = c.Close()
			delete(w.conns, c)
		}
	}
}

// node is a member of a cluster under test.
type node struct {
	*raft.Store
	config raft.Config
	wire   *wire
}

func (n *node) address() string { return n.config.Address }

// start opens a node that belongs to no cluster yet.
func (w *wire) start(t *testing.T, id string) *node {
	t.Helper()
	n := &node{wire: w, config: small(t.TempDir())}
	n.config.NodeID = id
	n.config.Address = "127.0.0.1:0"
	n.open(t)
	return n
}

// open starts a node, at the address where it was before.
func (n *node) open(t *testing.T) {
	t.Helper()
	e := n.wire.end(t, n.config.NodeID, n.config.Address)
	n.config.Network, n.config.Address = e, e.Addr().String()
	n.Store = open(t, n.config)
}

// cluster starts n nodes, the first of which leads.
func cluster(t *testing.T, n int) (*wire, []*node) {
	t.Helper()
	w := newWire()
	var nodes []*node
	for i := range n {
		nodes = append(nodes, w.start(t, fmt.Sprintf("n%d", i)))
	}
	if err := nodes[0].Found(t.Context()); err != nil {
		t.Fatalf("Found: %v", err)
	}
	for _, m := range nodes[1:] {
		join(t, nodes[0], m)
	}
	return w, nodes
}

func join(t *testing.T, leader, n *node) {
	t.Helper()
	if err := leader.AddMember(t.Context(), raft.Member{ID: n.NodeID(), Address: n.address(), Voter: true}); err != nil {
		t.Fatalf("AddMember: %v", err)
	}
	eventually(t, n.NodeID()+" knows its leader", func() bool { return n.Leader().ID == leader.NodeID() })
}

// leaderOf waits until one of the nodes leads.
func leaderOf(t *testing.T, nodes ...*node) *node {
	t.Helper()
	var leader *node
	eventually(t, "a node leads", func() bool {
		for _, n := range nodes {
			if n.Leader().Self {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// same checks that all nodes come to one state.
func same(t *testing.T, nodes ...*node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	leader := leaderOf(t, nodes...)
	index, err := leader.Confirm(ctx)
	if err != nil {
		t.Fatalf("Confirm: %v", err)
	}
	want, err := leader.Digest(ctx, index)
	if err != nil {
		t.Fatalf("Digest: %v", err)
	}
	for _, n := range nodes {
		got, err := n.Digest(ctx, index)
		if err != nil || got != want {
			t.Errorf("%s at %d: digest %x, %v; the leader has %x", n.NodeID(), index, got, err, want)
		}
	}
}

func put(t *testing.T, s *node, k int, v string) store.Index {
	t.Helper()
	i, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(k), []byte(v)) })
	if err != nil {
		t.Fatalf("Update on %s: %v", s.NodeID(), err)
	}
	return i
}

func value(t *testing.T, s *node, k int) string {
	t.Helper()
	var v []byte
	err := s.View(t.Context(), func(r store.Reader) (err error) { v, err = r.Get(row(k)); return err })
	if errors.Is(err, store.ErrNotFound) {
		return "<none>"
	}
	if err != nil {
		t.Fatalf("View on %s: %v", s.NodeID(), err)
	}
	return string(v)
}

func TestLeaderOfThreeKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		_, nodes := cluster(t, 3)
		return nodes[0]
	})
}

func TestFollowersHaveWhatTheLeaderWrites(t *testing.T) {
	_, nodes := cluster(t, 3)
	for i := range 100 {
		index := put(t, nodes[0], i, fmt.Sprint(i))
		for _, n := range nodes[1:] {
			if err := n.WaitApplied(t.Context(), index); err != nil {
				t.Fatal(err)
			}
			if got := value(t, n, i); got != fmt.Sprint(i) {
				t.Fatalf("%s reads %q, want %d", n.NodeID(), got, i)
			}
		}
	}
	_, err := nodes[1].Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(1), nil) })
	wantKind(t, "update on a follower", err, fault.Standby)
	_, err = nodes[1].Confirm(t.Context())
	wantKind(t, "confirming on a follower", err, fault.Standby)
	same(t, nodes...)
}

func TestAnotherLeadsWhenTheLeaderIsCutOff(t *testing.T) {
	w, nodes := cluster(t, 3)
	put(t, nodes[0], 1, "before")
	w.isolate(nodes[0].address(), true)
	began := time.Now()
	second := leaderOf(t, nodes[1], nodes[2])
	put(t, second, 1, "after")
	took := time.Since(began)
	t.Logf("writes resumed after %s", took)
	eventually(t, "the old leader has noticed", func() bool { return !nodes[0].Leader().Self })
	_, err := nodes[0].Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(1), []byte("lost")) })
	if !errors.Is(err, fault.Standby) && !errors.Is(err, fault.Unavailable) {
		t.Errorf("writing on the old leader: %v", err)
	}
	w.isolate(nodes[0].address(), false)
	eventually(t, "the old leader follows", func() bool { return nodes[0].Leader().ID == second.NodeID() })
	same(t, nodes...)
	if got := value(t, nodes[0], 1); got != "after" {
		t.Errorf("the old leader reads %q", got)
	}
}

func TestStepDownHandsOver(t *testing.T) {
	_, nodes := cluster(t, 3)
	if err := nodes[0].StepDown(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n2 leads", func() bool { return nodes[2].Leader().Self })
	put(t, nodes[2], 1, "x")
	wantKind(t, "stepping down without office", nodes[0].StepDown(t.Context(), ""), fault.Standby)
	wantKind(t, "handing over to a stranger", nodes[2].StepDown(t.Context(), "nobody"), fault.Invalid)
	same(t, nodes...)
}

// TestNodeFarBehindGetsTheState has a follower miss more than the log keeps.
func TestNodeFarBehindGetsTheState(t *testing.T) {
	w, nodes := cluster(t, 3)
	put(t, nodes[0], 1, "old")
	same(t, nodes...)
	late := nodes[2]
	resets := make(chan store.Commit, 16)
	defer late.Watch(func(c store.Commit) {
		if c.Reset {
			resets <- c
		}
	})()
	held := make(chan struct{})
	holding := make(chan struct{})
	read := make(chan error, 1)
	go func() { // a reader of the state before keeps it
		read <- late.View(context.Background(), func(r store.Reader) error {
			close(holding)
			<-held
			v, err := r.Get(row(1))
			if err == nil && string(v) != "old" {
				err = fmt.Errorf("the view reads %q", v)
			}
			return err
		})
	}()
	<-holding
	w.isolate(late.address(), true)
	for i := range 50 {
		put(t, nodes[0], i, fmt.Sprint("new ", i))
	}
	raft.CutWholeLog(nodes[0].Store)
	raft.CutWholeLog(nodes[1].Store)
	w.isolate(late.address(), false)
	same(t, nodes...)
	select {
	case c := <-resets:
		if c.Index == 0 || len(c.Changes) > 0 {
			t.Errorf("reset is %+v", c)
		}
	default:
		t.Error("the watcher was not told that the state was replaced")
	}
	close(held)
	if err := <-read; err != nil {
		t.Error(err)
	}
	if got := value(t, late, 1); got != "new 1" {
		t.Errorf("the late node reads %q", got)
	}
	// It is on disk, and a restart finds it.
	if err := late.Close(); err != nil {
		t.Fatal(err)
	}
	late.open(t)
	put(t, nodes[0], 3, "newest")
	same(t, nodes...)
}

func TestRestoringABackup(t *testing.T) {
	_, nodes := cluster(t, 3)
	put(t, nodes[0], 1, "kept")
	put(t, nodes[0], 2, "of this cluster")
	same(t, nodes...)
	b, err := nodes[1].Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := b.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if int64(stream.Len()) != b.Size {
		t.Fatalf("the stream has %d bytes, announced were %d", stream.Len(), b.Size)
	}
	put(t, nodes[0], 1, "changed")
	before := put(t, nodes[0], 3, "added later")
	var reset store.Index
	defer nodes[2].Watch(func(c store.Commit) {
		if c.Reset {
			reset = c.Index
		}
	})()
	// A transaction that has read the state before must not be committed after.
	_, err = nodes[0].Update(t.Context(), func(txn store.Txn) error {
		v, err := txn.Get(row(1))
		if err != nil {
			return err
		}
		if string(v) == "changed" {
			if err := nodes[0].Restore(context.Background(), b.Size, bytes.NewReader(stream.Bytes())); err != nil {
				return err
			}
		}
		return txn.Put(row(4), append([]byte("has seen "), v...))
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, nodes...)
	for _, n := range nodes {
		for k, want := range map[int]string{1: "kept", 3: "<none>", 4: "has seen kept"} {
			if got := value(t, n, k); got != want {
				t.Errorf("%s reads %q at %d, want %q", n.NodeID(), got, k, want)
			}
		}
	}
	if reset <= before {
		t.Errorf("the restored state is commit %d, not after %d", reset, before)
	}
	if len(nodes[0].Members()) != 3 {
		t.Errorf("members are %v", nodes[0].Members())
	}
	for _, n := range nodes { // each restarts and finds its place again
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n.open(t)
		put(t, leaderOf(t, nodes...), 5, n.NodeID())
		same(t, nodes...)
	}
}

func TestDamagedBackupIsRefused(t *testing.T) {
	n := &node{Store: open(t, small(t.TempDir()))}
	for i := range 20 {
		put(t, n, i, "value")
	}
	b, err := n.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var whole bytes.Buffer
	if _, err := b.WriteTo(&whole); err != nil {
		t.Fatal(err)
	}
	rows := 0
	if _, err := raft.ReadBackup(bytes.NewReader(whole.Bytes()), func(store.Entry) error { rows++; return nil }); err != nil || rows != 20 {
		t.Fatalf("reading the whole backup: %d rows, %v", rows, err)
	}
	for at := range whole.Len() {
		cut := whole.Bytes()[:at]
		if _, err := raft.ReadBackup(bytes.NewReader(cut), func(store.Entry) error { return nil }); err == nil {
			t.Fatalf("a backup cut off at %d of %d was accepted", at, whole.Len())
		}
		if at == 0 {
			continue // the purpose is the reader's
		}
		flipped := bytes.Clone(whole.Bytes())
		flipped[at] ^= 1
		if _, err := raft.ReadBackup(bytes.NewReader(flipped), func(store.Entry) error { return nil }); err == nil {
			t.Fatalf("a backup with a wrong bit at %d was accepted", at)
		}
	}
	wantKind(t, "restoring half of it", n.Restore(t.Context(), b.Size, bytes.NewReader(whole.Bytes()[:whole.Len()/2])), fault.Unavailable)
	if got := value(t, n, 3); got != "value" {
		t.Errorf("after the refusal the store reads %q", got)
	}
	put(t, n, 3, "goes on")
}

func TestMembersChange(t *testing.T) {
	w, nodes := cluster(t, 3)
	lead := nodes[0]
	if err := lead.Demote(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	// A node that comes again keeps what it may.
	if err := lead.AddMember(t.Context(), raft.Member{ID: "n2", Address: nodes[2].address(), Voter: true}); err != nil {
		t.Fatal(err)
	}
	if m, _ := lead.Member("n2"); m.Voter {
		t.Error("a member that was added again has a vote")
	}
	wantKind(t, "promoting a stranger", lead.Promote(t.Context(), "nobody"), fault.Invalid)
	if err := lead.Promote(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	if err := lead.RemoveMember(t.Context(), "nobody"); err != nil {
		t.Errorf("removing who is no member: %v", err)
	}
	if err := lead.RemoveMember(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	fourth := w.start(t, "n3")
	wantKind(t, "writing before it belongs anywhere", func() error {
		_, err := fourth.Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(1), nil) })
		return err
	}(), fault.Standby)
	join(t, lead, fourth)
	put(t, lead, 1, "x")
	same(t, lead, nodes[2], fourth)
	wantKind(t, "founding twice", fourth.Found(t.Context()), fault.Precondition)
}

func TestAloneBecomesMany(t *testing.T) {
	w := newWire()
	dir := t.TempDir()
	old := open(t, raft.Config{Path: dir, NodeID: "n0", CacheBytes: 8 << 20, SegmentBytes: 1 << 20, ReserveBytes: -1})
	if _, err := increment(t, old, row(0)); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	first := &node{wire: w, config: small(dir)}
	first.config.NodeID, first.config.Address = "n0", "127.0.0.1:0"
	first.open(t)
	second := w.start(t, "n1")
	third := w.start(t, "n2")
	eventually(t, "the first says where it is", func() bool { m, _ := first.Member("n0"); return m.Address == first.address() })
	join(t, first, second)
	join(t, first, third)
	same(t, first, second, third)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, leaderOf(t, second, third), 1, "without the first")
}

// TestHangingDiskLosesOffice has the leader's disk hang in the middle of a write
// to the log. Its heartbeats must not keep it in office.
func TestHangingDiskLosesOffice(t *testing.T) {
	w := newWire()
	d := newTrouble()
	first := &node{wire: w, config: d.config()}
	first.config.NodeID, first.config.Address = "n0", "127.0.0.1:0"
	first.open(t)
	if err := first.Found(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, third := w.start(t, "n1"), w.start(t, "n2")
	join(t, first, second)
	join(t, first, third)
	put(t, first, 1, "before")

	hang := make(chan struct{})
	defer func() { d.clear(); close(hang) }()
	d.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".wal") {
			<-hang
		}
		return nil
	})
	lost := make(chan error, 1)
	go func() {
		_, err := first.Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(1), []byte("hangs")) })
		lost <- err
	}()
	next := leaderOf(t, second, third)
	put(t, next, 1, "after")
	eventually(t, "it knows that it is out of office", func() bool { return !first.Leader().Self })
	_, err := first.Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(2), nil) })
	wantKind(t, "a write on who lost office", err, fault.Standby)
	select {
	case err := <-lost:
		if err == nil {
			t.Error("a write was acknowledged that is not on the disk")
		}
	default: // it hangs with the disk
	}
}

// FuzzReadBackup feeds streams that may come from strangers.
func FuzzReadBackup(f *testing.F) {
	s, err := raft.Open(small(f.TempDir()))
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Update(f.Context(), func(txn store.Txn) error { return txn.Put(row(1), []byte("x")) }); err != nil {
		f.Fatal(err)
	}
	b, err := s.Backup(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	var whole bytes.Buffer
	if _, err := b.WriteTo(&whole); err != nil {
		f.Fatal(err)
	}
	b.Close()
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:20])
	f.Add([]byte("bCofferS1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		last := store.Key("")
		_, err := raft.ReadBackup(bytes.NewReader(data), func(e store.Entry) error {
			if e.Key <= last || len(e.Value) > store.MaxValue {
				t.Fatalf("row %q after %q, with %d bytes", e.Key, last, len(e.Value))
			}
			last = e.Key
			return nil
		})
		if err == nil && len(data) < 64 {
			t.Fatal("a stream without a checksum was accepted")
		}
	})
}
