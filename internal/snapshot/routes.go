package snapshot

import (
	"context"
	"io"

	"github.com/cofferhq/coffer/internal/route"
)

// Routes are the endpoints below sys/.
func Routes() []route.Endpoint {
	restore := route.Doc{
		Summary:     "Restore a snapshot.",
		Description: "The body is the snapshot. It is checked as a whole, the keys that it needs among it, before anything changes. Only the leader restores.",
	}
	force := restore
	force.Summary = "Restore a snapshot of another cluster or from before other unseal keys."
	return []route.Endpoint{
		route.Raw(route.VerbRead, "storage/raft/snapshot", (*Service).save, route.OnLeader(), route.Doc{Summary: "Take a snapshot of everything that is stored."}),
		route.Write("storage/raft/snapshot", (*Service).restore, route.Streamed(), restore),
		route.Write("storage/raft/snapshot-force", (*Service).restoreForeign, route.Sudo(), route.Streamed(), force),
	}
}

type none struct{}

func (s *Service) save(context.Context, *route.Call, none) (route.Bytes, error) {
	return route.Bytes{
		ContentType: "application/gzip", Header: map[string]string{"Content-Disposition": "attachment"},
		Stream: func(ctx context.Context, w io.Writer) error { return s.Save(ctx, w) },
	}, nil
}

func (s *Service) restore(ctx context.Context, c *route.Call, _ none) (route.None, error) {
	return route.None{}, s.Restore(ctx, c.Stream, false)
}

func (s *Service) restoreForeign(ctx context.Context, c *route.Call, _ none) (route.None, error) {
	return route.None{}, s.Restore(ctx, c.Stream, true)
}
