package audit

import (
	"crypto/sha256"
	"time"
)

// writer is the part of a device that only its goroutine touches: the chain
// and the sink's state.
type writer struct {
	sink   Sink
	notary notary
	lim    limits
	fsync  fsyncPolicy

	ledger
	chained  bool // chain is known: read from the sink's tail, or begun
	opened   bool
	unsynced bool
	beside   syncing
	out      []byte
	ends     []int // of each entry in out
}

// ledger is what has to be put back when a write fails.
type ledger struct {
	chain    chain
	signedAt time.Time
	unsigned uint64 // entries since the last checkpoint
	dropped  uint64 // to be told in the next checkpoint
}

// unfinished reports whether upkeep has anything to do later.
func (w *writer) unfinished() bool {
	return w.opened && (w.unsynced || w.unsigned > 0)
}

// write writes a batch's lines and returns how many of them the sink has.
func (w *writer) write(now time.Time, b *batch) (int, error) {
	if w.beside.overdue(now, w.lim.deadline) {
		if err := w.join(); err != nil {
			return 0, err
		}
	}
	if err := w.open(now); err != nil {
		return 0, err
	}
	if len(b.items) == 0 {
		return 0, nil
	}
	if err := w.rotate(now, len(b.lines)+len(b.items)*chainRoom); err != nil {
		return 0, err
	}
	before := w.ledger
	w.out, w.ends = w.out[:0], w.ends[:0]
	from := 0
	for i := range b.items {
		start := len(w.out)
		w.out = append(w.out, b.lines[from:b.items[i].end]...)
		w.out = w.chain.seal(w.out, start)
		w.ends = append(w.ends, len(w.out))
		from = b.items[i].end
	}
	w.unsigned += uint64(len(b.items))
	if w.unsigned >= w.lim.checkpointEntries {
		if err := w.sign(now, checkpoint{reason: reasonInterval}); err != nil {
			w.ledger = before
			return 0, err
		}
	}
	written, err := w.put(before)
	if err == nil {
		err = w.settle()
	}
	return written, err
}

// chainRoom is about what a line's place in the chain takes.
const chainRoom = 110

// put writes out. After a failure it puts the chain back to the last line that
// the sink took whole, and has the sink opened anew before the next write.
func (w *writer) put(before ledger) (written int, err error) {
	n, err := w.sink.Write(w.out)
	if err == nil {
		if cap(w.out) > maxKeptBatch {
			w.out = nil
		}
		return len(w.ends), nil
	}
	w.opened = false
	for written < len(w.ends) && w.ends[written] <= n {
		written++
	}
	w.ledger = before
	if written > 0 {
		begin := 0
		if written > 1 {
			begin = w.ends[written-2]
		}
		w.chain.seq += uint64(written)
		w.unsigned += uint64(written)
		w.chain.last = sha256.Sum256(w.out[begin : w.ends[written-1]-1])
	}
	return written, err
}

// open opens the sink if it is not, and says so in the log.
func (w *writer) open(now time.Time) error {
	if w.opened {
		return nil
	}
	_ = w.join() // its failure is why the sink is opened anew, or does not matter any more
	tail, err := w.sink.Open()
	if err != nil {
		return err
	}
	if !w.chained {
		w.chain = resume(tail.Last)
		w.chained = true
	}
	return w.announce(now, tail.Torn)
}

// announce writes the checkpoint that stands first after each opening.
func (w *writer) announce(now time.Time, torn bool) error {
	before := w.ledger
	w.out, w.ends = w.out[:0], w.ends[:0]
	if torn {
		w.out = append(w.out, '\n')
	}
	if err := w.sign(now, checkpoint{reason: reasonOpen, torn: torn}); err != nil {
		w.ledger = before
		return err
	}
	if _, err := w.put(before); err != nil {
		return err
	}
	w.opened = true
	w.unsynced = true
	return nil
}

// sign appends a checkpoint to out.
func (w *writer) sign(now time.Time, cp checkpoint) error {
	cp.entries, cp.dropped = w.unsigned, w.dropped
	out, err := w.notary.appendCheckpoint(w.out, &w.chain, now, cp)
	if err != nil {
		return err
	}
	w.out = out
	w.unsigned, w.dropped, w.signedAt = 0, 0, now
	return nil
}

// checkpointNow writes a checkpoint by itself.
func (w *writer) checkpointNow(now time.Time, why reason) error {
	before := w.ledger
	w.out, w.ends = w.out[:0], w.ends[:0]
	if err := w.sign(now, checkpoint{reason: why}); err != nil {
		w.ledger = before
		return err
	}
	_, err := w.put(before)
	w.unsynced = true
	return err
}

// closing ends the present target before it is given up: a checkpoint and a
// sync, as far as the sink still takes them.
func (w *writer) closing(now time.Time, why reason) {
	if !w.opened {
		return
	}
	if err := w.checkpointNow(now, why); w.join() == nil && err == nil {
		_ = w.sink.Sync() // the next target's first line tells where this one should end
	}
	w.opened = false
}

// rotate lets the sink put its target aside if it is due.
func (w *writer) rotate(now time.Time, n int) error {
	r, ok := w.sink.(Rotator)
	if !ok || !r.Due(now, n) {
		return nil
	}
	if err := w.checkpointNow(now, reasonRotate); err != nil {
		return err
	}
	if err := w.join(); err != nil {
		return err
	}
	if w.fsync != fsyncNone {
		if err := w.sink.Sync(); err != nil {
			return err
		}
	}
	if err := r.Rotate(now); err != nil {
		return nil // the old target still takes lines; Due asks again later
	}
	return w.announce(now, false)
}

// settle syncs after a batch if the policy asks for it.
func (w *writer) settle() error {
	if w.fsync == fsyncAlways {
		return w.sync()
	}
	// Under fsync=interval the next upkeep syncs, beside the writes.
	w.unsynced = true
	return nil
}

func (w *writer) sync() error {
	if err := w.sink.Sync(); err != nil {
		// What a failed sync has not stored is lost to later syncs too, so
		// the target is opened anew and the lines count as not recorded.
		w.opened = false
		return err
	}
	w.unsynced = false
	return nil
}

// upkeep does what is due without new lines.
func (w *writer) upkeep(now time.Time) error {
	if !w.opened {
		return nil
	}
	if err := w.rotate(now, 0); err != nil {
		return err
	}
	if w.unsigned > 0 && now.Sub(w.signedAt) >= w.lim.checkpointInterval {
		if err := w.checkpointNow(now, reasonInterval); err != nil {
			return err
		}
	}
	if !w.unsynced {
		return nil
	}
	if w.fsync == fsyncNone {
		w.unsynced = false
		return nil
	}
	if w.fsync == fsyncAlways {
		return w.sync()
	}
	if w.beside.result == nil {
		w.unsynced = false
		w.beside.start(w.sink, now)
	}
	return nil
}

// resume continues the chain after a line, or begins one.
func resume(last []byte) chain {
	f, ok := parseChain(last)
	if !ok {
		return chain{}
	}
	return chain{seq: f.seq, last: sha256.Sum256(last)}
}
