package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// Driver returns the driver for PostgreSQL.
func Driver() database.Driver {
	return database.Driver{
		Names:       []string{"postgresql-database-plugin", "postgresql"},
		MaxUsername: 63, // NAMEDATALEN - 1
		Open:        open,
		Check:       Check,
	}
}

// The statements used where a role has none.
const (
	setPassword = `ALTER ROLE "{{username}}" WITH PASSWORD '{{password}}'`
	extend      = `ALTER ROLE "{{username}}" VALID UNTIL '{{expiration}}'`
)

// conn is a [database.Connection] over a pool.
type conn struct {
	pool     *pgxpool.Pool
	password wire.Secret // for taking it out of messages
	scram    bool
}

func open(d database.Details) (database.Connection, error) {
	s, err := parse(d)
	if err != nil {
		return nil, err
	}
	var pool *pgxpool.Pool
	if s.maxIdle < int64(s.pool.MaxConns) {
		s.pool.AfterRelease = func(*pgx.Conn) bool { return int64(pool.Stat().IdleConns()) < s.maxIdle }
	}
	// The context ends nothing: a pool outlives the call that opens it.
	pool, err = pgxpool.NewWithConfig(context.Background(), s.pool)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the connection's settings do not fit together")
	}
	return &conn{pool: pool, password: s.password, scram: s.scram}, nil
}

// Close closes all connections to the server.
func (c *conn) Close() { c.pool.Close() }

// Verify logs in and asks the server for a sign of life.
func (c *conn) Verify(ctx context.Context) error { return c.run(ctx, "SELECT 1", true, values{}) }

// Create runs the creation statements in one transaction.
func (c *conn) Create(ctx context.Context, u database.User, statements []string) error {
	v, err := c.values(u)
	if err != nil {
		return err
	}
	sql, err := render(statements, v)
	if err != nil {
		return err
	}
	return c.run(ctx, sql, false, v)
}

// SetPassword changes a password.
func (c *conn) SetPassword(ctx context.Context, u database.User, statements []string) error {
	return c.runOn(ctx, u, statements, setPassword)
}

// Extend moves a user's expiry.
func (c *conn) Extend(ctx context.Context, u database.User, statements []string) error {
	return c.runOn(ctx, u, statements, extend)
}

func (c *conn) runOn(ctx context.Context, u database.User, statements []string, standard string) error {
	if blank(statements) {
		statements = []string{standard}
	}
	v, err := c.values(u)
	if err != nil {
		return err
	}
	sql, err := render(statements, v)
	if err != nil {
		return err
	}
	return c.run(ctx, sql, true, v)
}

// values are what the placeholders stand for.
func (c *conn) values(u database.User) (values, error) {
	v := values{name: u.Name, secret: u.Password}
	v.password = u.Password.Reveal()
	if !u.Expiration.IsZero() {
		v.expiration = u.Expiration.UTC().Format("2006-01-02 15:04:05-0700")
	}
	if c.scram && v.password != "" {
		verifier, err := scramVerifier(v.password)
		if err != nil {
			return v, err
		}
		v.password = verifier
	}
	return v, nil
}

// acquireLimit bounds the wait for a connection of the pool, with dialling.
const acquireLimit = dialLimit + 2*time.Second

// run sends the statements as one transaction. Idempotent ones are sent once
// more if the connection broke; if that fails in whatever way the outcome of
// the first attempt is still not known.
func (c *conn) run(ctx context.Context, sql string, idempotent bool, v values) error {
	err := c.runOnce(ctx, sql, v)
	if idempotent && errors.Is(err, database.ErrUncertain) && ctx.Err() == nil && c.runOnce(ctx, sql, v) == nil {
		return nil
	}
	return err
}

func (c *conn) runOnce(ctx context.Context, sql string, v values) error {
	pc, err := c.acquire(ctx)
	if err != nil {
		return c.connectError(err)
	}
	defer pc.Release()
	if _, err = pc.Conn().PgConn().Exec(ctx, "BEGIN;\n"+sql+"\n;COMMIT").ReadAll(); err == nil {
		return nil
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !pc.Conn().IsClosed() {
		// The rest of the message was skipped, COMMIT included.
		_, _ = pc.Conn().PgConn().Exec(ctx, "ROLLBACK").ReadAll()
	}
	return c.statementError(err, v)
}

func (c *conn) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, acquireLimit)
	defer cancel()
	return c.pool.Acquire(ctx)
}
