package diag

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

const (
	plainText = "text/plain; charset=utf-8"
	binary    = "application/octet-stream"
)

// profiles are those of runtime/pprof that are shown.
var profiles = []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"}

func (d *Diag) pprofIndex(context.Context, *route.Call, noInput) (route.Bytes, error) {
	var b bytes.Buffer
	for _, name := range profiles {
		fmt.Fprintf(&b, "%s\t%d\n", name, pprof.Lookup(name).Count())
	}
	b.WriteString("cmdline\nprofile\nsymbol\ntrace\n")
	return route.Bytes{ContentType: plainText, Body: b.Bytes()}, nil
}

type profileRequest struct {
	Profile string `path:"profile" doc:"Name of the profile."`
	Debug   int    `query:"debug" doc:"0 for the format of go tool pprof, 1 or 2 for text."`
	GC      bool   `query:"gc" doc:"Whether to collect garbage first, for the profile heap."`
}

func (d *Diag) profile(_ context.Context, _ *route.Call, in profileRequest) (route.Bytes, error) {
	if !slices.Contains(profiles, in.Profile) {
		return route.Bytes{}, fault.New(fault.NotFound, "unsupported path")
	}
	if in.Debug < 0 || in.Debug > 2 {
		return route.Bytes{}, fault.New(fault.Invalid, `"debug" must be 0, 1 or 2`)
	}
	if in.GC && in.Profile == "heap" {
		runtime.GC()
	}
	var b bytes.Buffer
	if err := pprof.Lookup(in.Profile).WriteTo(&b, in.Debug); err != nil {
		return route.Bytes{}, fmt.Errorf("writing profile %s: %w", in.Profile, err)
	}
	if in.Debug > 0 {
		return route.Bytes{ContentType: plainText, Body: b.Bytes()}, nil
	}
	return attachment(in.Profile, b.Bytes()), nil
}

func attachment(name string, body []byte) route.Bytes {
	return route.Bytes{ContentType: binary, Body: body, Header: map[string]string{"Content-Disposition": `attachment; filename="` + name + `"`}}
}

// maxRecording bounds how long a profile or trace is recorded.
const maxRecording = 5 * time.Minute

type cpuProfileRequest struct {
	Seconds int `query:"seconds" default:"30" doc:"How long to record, at most 300."`
}

type traceRequest struct {
	Seconds float64 `query:"seconds" default:"1" doc:"How long to record, at most 300."`
}

func (d *Diag) cpuProfile(ctx context.Context, _ *route.Call, in cpuProfileRequest) (route.Bytes, error) {
	if in.Seconds > int(maxRecording/time.Second) { // beyond it the product could wrap
		return route.Bytes{}, errSeconds
	}
	return d.record(ctx, "profile", time.Duration(in.Seconds)*time.Second, pprof.StartCPUProfile, pprof.StopCPUProfile)
}

func (d *Diag) trace(ctx context.Context, _ *route.Call, in traceRequest) (route.Bytes, error) {
	// Compared before it is converted: beyond an int64 the conversion is wild.
	if !(in.Seconds > 0 && in.Seconds <= maxRecording.Seconds()) {
		return route.Bytes{}, errSeconds
	}
	return d.record(ctx, "trace", time.Duration(in.Seconds*float64(time.Second)), trace.Start, trace.Stop)
}

var errSeconds = fault.New(fault.Invalid, `"seconds" must be more than 0 and at most 300`)

// record runs a recorder of the whole process, of which there can be one.
func (d *Diag) record(ctx context.Context, name string, length time.Duration, start func(io.Writer) error, stop func()) (route.Bytes, error) {
	if length <= 0 || length > maxRecording {
		return route.Bytes{}, errSeconds
	}
	if at, ok := ctx.Deadline(); ok && at.Sub(d.Clock.Now()) < length {
		return route.Bytes{}, fault.New(fault.Invalid, `"seconds" is longer than this listener lets a request take`)
	}
	if !d.profiling.TryLock() {
		return route.Bytes{}, fault.New(fault.Unavailable, "another profile or trace is being recorded")
	}
	defer d.profiling.Unlock()
	var b bytes.Buffer
	if err := start(&b); err != nil {
		return route.Bytes{}, fault.Wrap(fault.Unavailable, err, "the recording cannot be started")
	}
	select {
	case <-d.Clock.After(length):
	case <-ctx.Done():
	}
	stop()
	if err := ctx.Err(); err != nil {
		return route.Bytes{}, fmt.Errorf("recording a %s: %w", name, err)
	}
	return attachment(name, b.Bytes()), nil
}

// symbol names the functions at the program counters in the query, which are
// separated by plus signs, as go tool pprof asks for them.
func (d *Diag) symbol(_ context.Context, c *route.Call, _ noInput) (route.Bytes, error) {
	var b bytes.Buffer
	b.WriteString("num_symbols: 1\n")
	for _, query := range slices.Sorted(maps.Keys(c.Query)) {
		for _, text := range strings.FieldsFunc(query, func(r rune) bool { return r == '+' || r == ' ' }) {
			pc, err := strconv.ParseUint(text, 0, 64)
			if err != nil {
				continue
			}
			if f := runtime.FuncForPC(uintptr(pc)); f != nil {
				fmt.Fprintf(&b, "%#x %s\n", pc, f.Name())
			}
		}
	}
	return route.Bytes{ContentType: plainText, Body: b.Bytes()}, nil
}

// cmdline shows the command line, arguments separated by NUL.
func (d *Diag) cmdline(context.Context, *route.Call, noInput) (route.Bytes, error) {
	return route.Bytes{ContentType: plainText, Body: []byte(strings.Join(withoutCredentials(d.Args), "\x00"))}, nil
}

// withoutCredentials replaces the values of flags whose names say that they
// carry a credential (-dev-root-token-id and its like).
func withoutCredentials(args []string) []string {
	shown := slices.Clone(args)
	for i, arg := range args {
		name, _, inline := strings.Cut(arg, "=")
		if !strings.HasPrefix(name, "-") || !namesCredential(name) {
			continue
		}
		switch {
		case inline:
			shown[i] = name + "=(hidden)"
		case i+1 < len(args):
			shown[i+1] = "(hidden)"
		}
	}
	return shown
}

func namesCredential(flag string) bool {
	flag = strings.ToLower(flag)
	return slices.ContainsFunc([]string{"token", "password", "secret", "key"}, func(word string) bool { return strings.Contains(flag, word) })
}
