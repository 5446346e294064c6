package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cofferhq/coffer/internal/cli"
)

// openTerminal returns both ends of a new pseudo terminal.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here:", err)
	}
	t.Cleanup(func() { user.Close() })
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here:", err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

// typeWhenHidden types text once the terminal does not echo any more.
func typeWhenHidden(ctx context.Context, user, program *os.File, text string) error {
	fd := int(program.Fd())
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		if state.Lflag&unix.ECHO == 0 {
			_, err := user.WriteString(text)
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestPromptHidesWhatIsTyped(t *testing.T) {
	user, program := openTerminal(t)
	srv := newServer(t, answers{"PUT /v1/sys/unseal": unsealed, "GET /v1/sys/leader": `{"ha_enabled":false}`})
	var out, errs bytes.Buffer
	app := cli.App{
		Stdio: cli.Stdio{In: program, Out: &out, Err: &errs},
		Env:   func(name string) string { return map[string]string{"VAULT_ADDR": srv.URL, "HOME": "/none"}[name] },
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	typed := make(chan error, 1)
	go func() { typed <- typeWhenHidden(ctx, user, program, "the-share\n") }()
	code := app.Main(ctx, []string{"coffer", "operator", "unseal"})
	if err := <-typed; err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if got := srv.requests(); len(got) == 0 || got[0] != `PUT /v1/sys/unseal {"key":"the-share"}` {
		t.Errorf("requests %q", got)
	}
	if want := "Unseal Key (will be hidden): \n"; errs.String() != want {
		t.Errorf("standard error is %q, want %q", errs.String(), want)
	}
	if shown := onScreen(t, int(user.Fd())); strings.Contains(shown, "share") {
		t.Errorf("the terminal shows %q", shown)
	}
}

func TestAnInterruptedPromptRestoresTheTerminal(t *testing.T) {
	user, program := openTerminal(t)
	var out, errs bytes.Buffer
	app := cli.App{Stdio: cli.Stdio{In: program, Out: &out, Err: &errs}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	interrupted := make(chan error, 1)
	go func() {
		// Typing nothing is enough to know that the prompt is up.
		err := typeWhenHidden(ctx, user, program, "")
		cancel()
		interrupted <- err
	}()
	code := app.Main(ctx, []string{"coffer", "operator", "unseal", "-address=http://127.0.0.1:1"})
	if err := <-interrupted; err != nil {
		t.Fatal(err)
	}
	if code != 1 || !strings.Contains(errs.String(), "Interrupted") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || state.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal does not echo any more: %v, %v", state, err)
	}
	// The read that was given up ends with the terminal.
	if _, err := user.WriteString("\n"); err != nil {
		t.Error(err)
	}
}

// onScreen returns what the terminal has echoed so far.
func onScreen(t *testing.T, fd int) string {
	t.Helper()
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 0); err != nil || n == 0 {
		return ""
	}
	echo := make([]byte, 256)
	n, err := unix.Read(fd, echo)
	if err != nil {
		t.Fatal(err)
	}
	return string(echo[:n])
}
