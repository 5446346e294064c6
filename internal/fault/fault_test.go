package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
)

func TestKindAndMessageComeThroughWrapping(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: refused")
	for _, tt := range []struct {
		name            string
		err             error
		kind            fault.Kind
		message, logged string
	}{
		{"nothing", nil, fault.Internal, "", ""},
		{"plain", cause, fault.Internal, "", cause.Error()},
		{"with a text", fault.New(fault.Invalid, "no name"), fault.Invalid, "no name", "no name"},
		{"without a text", fault.New(fault.NotFound, ""), fault.NotFound, "", "not found"},
		{"formatted", fault.Newf(fault.TooLarge, "more than %d", 3), fault.TooLarge, "more than 3", "more than 3"},
		{"with a cause", fault.Wrap(fault.Upstream, cause, "the database failed"), fault.Upstream, "the database failed", "the database failed: " + cause.Error()},
		{"with a cause only", fault.Wrap(fault.Upstream, cause, ""), fault.Upstream, "", cause.Error()},
		{"wrapped", fmt.Errorf("reading: %w", fault.New(fault.Denied, "no")), fault.Denied, "no", "reading: no"},
		{"a kind by itself", fmt.Errorf("reading: %w", fault.Sealed), fault.Sealed, "", "reading: sealed"},
		{"the first counts", fault.Wrap(fault.Internal, fault.New(fault.Invalid, "inner"), ""), fault.Internal, "", "inner"},
		{"joined", errors.Join(cause, fault.New(fault.Full, "no room")), fault.Full, "no room", cause.Error() + "\nno room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.KindOf(tt.err); got != tt.kind {
				t.Errorf("kind %v, want %v", got, tt.kind)
			}
			if got := fault.Message(tt.err); got != tt.message {
				t.Errorf("message %q, want %q", got, tt.message)
			}
			if tt.err != nil && tt.err.Error() != tt.logged {
				t.Errorf("logged as %q, want %q", tt.err, tt.logged)
			}
		})
	}
}

func TestIsAsksForKinds(t *testing.T) {
	err := fmt.Errorf("writing: %w", fault.Wrap(fault.Unavailable, io.ErrUnexpectedEOF, "later"))
	for target, want := range map[error]bool{fault.Unavailable: true, fault.Invalid: false, io.ErrUnexpectedEOF: true, io.EOF: false} {
		if got := errors.Is(err, target); got != want {
			t.Errorf("is %v: %t", target, got)
		}
	}
}

func TestEveryKindHasAName(t *testing.T) {
	seen := map[string]bool{}
	for k := fault.Internal; k <= fault.MediaType; k++ {
		if name := k.String(); name == "" || name == "unknown" || seen[name] || k.Error() != name {
			t.Errorf("kind %d is called %q", k, name)
		}
		seen[k.String()] = true
	}
	if got := (fault.MediaType + 1).String(); got != "unknown" {
		t.Errorf("a kind that there is not is called %q: add the new kind to this test", got)
	}
}
