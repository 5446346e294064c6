package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// alive reports whether a pooled connection still stands, without a round
// trip: when the server has gone, the end of the stream (or its farewell) is
// waiting in the socket. pgx's own check costs a query.
func alive(_ context.Context, c *pgx.Conn) (bool, error) { return !readable(c.PgConn().Conn()), nil }

func neverPing(context.Context, pgxpool.ShouldPingParams) bool { return false }
