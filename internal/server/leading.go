package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/version"
)

// task is something that runs until its context ends.
type task struct {
	name string
	run  func(context.Context) error
}

// leading are the tasks that only the leader has: whatever writes without
// being asked to. A new one is a line here.
func (h *house) leading() []task {
	tasks := []task{
		{"inauguration", h.inaugurate},
		{"expiry", h.expiry.Run},
		{"mounts", h.mounts.Resume},
		{"namespaces", h.namespaces.Run},
	}
	if h.s.raft != nil {
		tasks = append(tasks, task{"room", h.makeWay})
	}
	if h.backups != nil {
		tasks = append(tasks, task{"snapshots", h.backups.Run})
	}
	if h.pilot != nil {
		tasks = append(tasks, task{"autopilot", h.fly})
	}
	return tasks
}

// lead runs the leader's tasks whenever this node leads, until ctx ends.
func (h *house) lead(ctx context.Context) error {
	if h.s.replica == nil {
		h.hold(ctx, nil)
		return ctx.Err()
	}
	consensus := h.s.replica.Consensus
	for {
		changed := consensus.Changed()
		if l := consensus.Leader(); l.Self {
			h.hold(ctx, &l)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hold runs the leader's tasks for one term of office, nil for one without end,
// and returns when they have ended.
func (h *house) hold(ctx context.Context, term *replica.Leader) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, t := range h.leading() {
		tasks.Go(func() { h.run(ctx, t) })
	}
	if term == nil {
		<-ctx.Done()
		return
	}
	consensus := h.s.replica.Consensus
	for {
		changed := consensus.Changed()
		if consensus.Leader() != *term {
			end()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// run runs a task. What it leaves undone because this node no longer leads, the
// next leader does.
func (h *house) run(ctx context.Context, t task) {
	err := t.run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, fault.Standby) {
		h.log.Error("a task ended", "task", t.name, "error", err)
	}
}

// inaugurate writes what this version wants to find in storage: a version that
// follows another may be the first of its kind to lead.
func (h *house) inaugurate(ctx context.Context) error {
	if _, err := h.barrier.Update(ctx, func(tx store.Txn) error { return born(tx, h.s) }); err != nil {
		return err
	}
	return h.settings.Record(ctx, version.Reported())
}

// A leader looks so often whether it has room, and hands over at most so often:
// if no node has any, the leadership must not go round.
const (
	roomEvery = time.Second
	wayEvery  = 30 * time.Second
)

// makeWay hands the leadership over when there is no room left on this node's
// disk: another one may have some, and take the writes that this one refuses.
func (h *house) makeWay(ctx context.Context) error {
	wait := roomEvery
	for {
		select {
		case <-h.s.clock.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = roomEvery
		if !h.s.raft.Health().Full {
			continue
		}
		wait = wayEvery
		switch err := h.s.raft.StepDown(ctx, ""); {
		case err == nil:
			h.log.Warn("no room is left on this node's disk: the leadership was handed over")
		case !errors.Is(err, fault.Precondition): // there is somebody else
			h.log.Warn("handing over the leadership for want of room", "error", err)
		}
	}
}

// unlessStandby drops the refusal of a write that the leader will make.
func unlessStandby(err error) error {
	if errors.Is(err, fault.Standby) {
		return nil
	}
	return err
}
