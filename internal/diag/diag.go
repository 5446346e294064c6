package diag

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what a [Diag] needs.
type Config struct {
	Clock   clock.Clock
	Metrics *Metrics
	Levels  *Levels
	// InFlight returns the requests that are being answered, by id.
	InFlight func() map[string]Flight
	// Tokens and Entities count a namespace's service tokens and entities.
	Tokens, Entities func(ctx context.Context, ns store.NamespaceID) (int, error)
	// Args is the command line of the process.
	Args []string
	// Proc is where the kernel's facts are, "/proc" if it is "".
	Proc string
}

// Diag is the noun.
type Diag struct {
	Config
	profiling sync.Mutex // held while a profile of the CPU or a trace is recorded
}

// New returns the noun.
func New(c Config) *Diag {
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	return &Diag{Config: c}
}

// Routes are the endpoints of diagnosis below sys/. Their receiver is a *[Diag].
// What changes something changes this node alone and is declared pure, so that
// a follower serves it itself.
var Routes = []route.Endpoint{
	route.Raw(route.VerbRead, "metrics", (*Diag).metrics, route.RootOnly(),
		route.Doc{Summary: "Show this node's metrics, as JSON or in Prometheus' text format."}),
	route.Read("host-info", (*Diag).hostInfo, route.RootOnly(),
		route.Doc{Summary: "Show the host's processors, memory, file systems and uptime."}),
	route.Raw(route.VerbRead, "in-flight-req", (*Diag).inFlight, route.RootOnly(),
		route.Doc{Summary: "Show the requests that are being answered."}),

	route.Read("loggers", (*Diag).readLoggers, route.RootOnly(), route.Doc{Summary: "Show the level of every logger."}),
	route.Write("loggers", (*Diag).writeLoggers, route.Pure(), route.RootOnly(), route.Doc{Summary: "Set the level of every logger."}),
	route.Delete("loggers", (*Diag).resetLoggers, route.Pure(), route.RootOnly(), route.Doc{Summary: "Set every logger back to the configured level."}),
	route.Read("loggers/{name}", (*Diag).readLogger, route.RootOnly(), route.Doc{Summary: "Show the level of a logger."}),
	route.Write("loggers/{name}", (*Diag).writeLogger, route.Pure(), route.RootOnly(), route.Doc{Summary: "Set the level of a logger."}),
	route.Delete("loggers/{name}", (*Diag).resetLogger, route.Pure(), route.RootOnly(), route.Doc{Summary: "Set a logger back to the configured level."}),
	route.Raw(route.VerbRead, "monitor", (*Diag).monitor, route.RootOnly(),
		route.Doc{Summary: "Follow this node's log.", Description: "The answer is a stream of lines that ends when the client goes or the server stops."}),

	route.Raw(route.VerbRead, "pprof", (*Diag).pprofIndex, route.Sudo(), route.RootOnly(), route.Doc{Summary: "List the profiles of the process."}),
	route.Raw(route.VerbRead, "pprof/cmdline", (*Diag).cmdline, route.Sudo(), route.RootOnly(), route.Doc{Summary: "Show the command line of the process."}),
	route.Raw(route.VerbRead, "pprof/profile", (*Diag).cpuProfile, route.Sudo(), route.RootOnly(), route.Doc{Summary: "Record a profile of the processor's time."}),
	route.Raw(route.VerbRead, "pprof/trace", (*Diag).trace, route.Sudo(), route.RootOnly(), route.Doc{Summary: "Record an execution trace."}),
	route.Raw(route.VerbRead, "pprof/symbol", (*Diag).symbol, route.Sudo(), route.RootOnly(), route.Doc{Summary: "Name the functions at program counters."}),
	route.Raw(route.VerbRead, "pprof/{profile}", (*Diag).profile, route.Sudo(), route.RootOnly(),
		route.Doc{Summary: "Take a profile: allocs, block, goroutine, heap, mutex or threadcreate."}),

	route.Read("internal/counters/requests", (*Diag).countRequests, route.RootOnly(), route.Doc{Summary: "Not supported any more, as in Vault; see sys/metrics."}),
	route.Read("internal/counters/tokens", (*Diag).countTokens, route.RootOnly(), route.Doc{Summary: "Count the service tokens."}),
	route.Read("internal/counters/entities", (*Diag).countEntities, route.RootOnly(), route.Doc{Summary: "Count the entities."}),
	route.Read("internal/counters/activity", (*Diag).activity, route.RootOnly(), route.Doc{Summary: "Show client activity, of which nothing is recorded."}),
}

type noInput struct{}

// Flight is a request that is being answered.
type Flight struct {
	StartTime  time.Time `json:"start_time"`
	ClientAddr string    `json:"client_remote_address"`
	Path       string    `json:"request_path"`
	Method     string    `json:"request_method"`
}

func (d *Diag) inFlight(context.Context, *route.Call, noInput) (route.Bytes, error) {
	return jsonBytes(d.InFlight())
}

func jsonBytes(v any) (route.Bytes, error) {
	b, err := json.Marshal(v)
	return route.Bytes{ContentType: "application/json", Body: append(b, '\n')}, err
}

type total struct {
	Total int `json:"total"`
}

type tokenCounters struct {
	Counters struct {
		ServiceTokens total `json:"service_tokens"`
	} `json:"counters"`
}

type entityCounters struct {
	Counters struct {
		Entities total `json:"entities"`
	} `json:"counters"`
}

func (d *Diag) countTokens(ctx context.Context, c *route.Call, _ noInput) (a tokenCounters, err error) {
	a.Counters.ServiceTokens.Total, err = d.Tokens(ctx, c.Namespace.ID)
	return a, err
}

func (d *Diag) countEntities(ctx context.Context, c *route.Call, _ noInput) (a entityCounters, err error) {
	a.Counters.Entities.Total, err = d.Entities(ctx, c.Namespace.ID)
	return a, err
}

func (d *Diag) countRequests(context.Context, *route.Call, noInput) (route.None, error) {
	return route.None{}, fault.New(fault.NotFound, "this counter is not kept any more; sys/metrics counts requests")
}

type activityRequest struct {
	StartTime string `query:"start_time" doc:"Accepted and ignored."`
	EndTime   string `query:"end_time" doc:"Accepted and ignored."`
}

// activity answers 204, which clients take for: nothing recorded yet.
func (d *Diag) activity(context.Context, *route.Call, activityRequest) (route.None, error) {
	return route.None{}, nil
}
