package audit

import "time"

// Sink is where a device's lines go. A device calls its sink from one goroutine
// at a time, but for Sync, which may run beside Write. A call may take as long as
// it likes: the device that it belongs to counts as blocked meanwhile and delays
// nobody.
type Sink interface {
	// Open makes the sink ready to write, or opens it anew if it is open: the
	// old target is given up once the new one is ready. It tells how the
	// target ends.
	Open() (Tail, error)
	// Write writes p, which is whole lines, and returns how many bytes were
	// taken, with an error if they are fewer than len(p).
	Write(p []byte) (int, error)
	// Sync makes durable what was written before the call.
	Sync() error
	// Close gives the target up. Open may be called again.
	Close() error
}

// Tail tells how a sink's target ends.
type Tail struct {
	// Last is the last whole line without its line end, if the sink can tell:
	// a device that starts continues the chain from it.
	Last []byte
	// Torn says that an unfinished line follows it.
	Torn bool
}

// Rotator is a Sink that can put its target aside and begin a new one.
type Rotator interface {
	// Due reports whether it is time to rotate before n more bytes are
	// written.
	Due(now time.Time, n int) bool
	// Rotate puts the target aside and opens a new, empty one. After an error
	// the old one is still in use, and Due waits before it asks again.
	Rotate(now time.Time) error
}

// targeted is a Sink whose target must not have two devices.
type targeted interface{ Target() string }

// Opener makes the sink of a device from its options without opening it. An
// error is of kind [fault.Invalid] and tells the operator what to mend.
type Opener func(Device) (Sink, error)
