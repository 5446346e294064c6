package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cofferhq/coffer/api"
)

func raftSnapshotCommand() *command {
	return &command{name: "snapshot", short: "Save, restore and look at snapshots", subs: []*command{
		{
			name: "save", args: "FILE", min: 1, max: 1, groups: connects,
			short:  "Save a snapshot of the cluster to a file",
			define: func(*flag.FlagSet) action { return runSaveSnapshot },
		},
		raftRestoreCommand(),
		{
			name: "inspect", args: "FILE", min: 1, max: 1, groups: formats,
			short: "Check a snapshot and show what it tells of itself", tokenless: true,
			define: func(*flag.FlagSet) action { return runInspectSnapshot },
		},
	}}
}

func runSaveSnapshot(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	path := c.args[0]
	// Beside its place first: a file of that name is a whole snapshot.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return fmt.Errorf("making the file: %w", err)
	}
	info, err := cl.SaveSnapshot(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // half of a snapshot is of no use
		return failed("saving the snapshot", err)
	}
	c.success("Success! Saved a snapshot of cluster %s up to commit %d: %s", info.Cluster, info.Commit, path)
	return nil
}

func raftRestoreCommand() *command {
	return &command{
		name: "restore", args: "FILE", min: 1, max: 1, groups: connects,
		short: "Replace everything the cluster stores by a snapshot",
		long:  "The address must be that of the leader, see {name} operator members.",
		define: func(fs *flag.FlagSet) action {
			force := fs.Bool("force", false, "restore a snapshot of another cluster or from before other unseal keys")
			return func(ctx context.Context, c *call) error { return c.restoreSnapshot(ctx, *force) }
		},
	}
}

func (c *call) restoreSnapshot(ctx context.Context, force bool) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	f, err := os.Open(c.args[0])
	if err != nil {
		return fmt.Errorf("opening the snapshot: %w", err)
	}
	defer f.Close()
	if err := cl.RestoreSnapshot(ctx, f, force); err != nil {
		return failed("restoring the snapshot", err)
	}
	c.success("Success! Restored the snapshot: %s", c.args[0])
	return nil
}

func runInspectSnapshot(_ context.Context, c *call) error {
	f, err := os.Open(c.args[0])
	if err != nil {
		return fmt.Errorf("opening the snapshot: %w", err)
	}
	defer f.Close()
	info, err := api.InspectSnapshot(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", c.args[0], err)
	}
	t := newTable("Key", "Value")
	t.row("ID", info.ID)
	t.row("Cluster", info.Cluster)
	t.row("Taken", info.Taken.UTC().Format(time.RFC3339))
	t.row("Server Version", info.Server)
	t.row("Commit", cell(info.Commit))
	t.row("Log Index", cell(info.Index))
	t.row("Log Term", cell(info.Term))
	t.row("Size", cell(info.Size))
	return c.tableValue(info, t)
}
