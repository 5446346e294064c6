package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/fault"
)

// Drop removes a user. The standard way takes away what the user was granted,
// ends the user's sessions and drops the role. It never drops or gives away
// objects that the user owns: dropping loses data, and giving a function to the
// connection's own user would let it run with that user's rights. Such a role
// is kept, but may not log in any more, and the error says why.
func (c *conn) Drop(ctx context.Context, username string, statements []string) error {
	v := values{name: username}
	if !blank(statements) {
		sql, err := render(statements, v)
		if err != nil {
			return err
		}
		return c.unlessGone(ctx, username, c.run(ctx, sql, true, v))
	}
	err := c.run(ctx, standardDrop(username), true, v)
	if !errors.Is(err, stateDependents) {
		return c.unlessGone(ctx, username, err)
	}
	disable := "ALTER ROLE " + quoteIdentifier(username) + " NOLOGIN;\n" + anonymous(endSessions, username)
	if err := c.run(ctx, disable, true, v); err != nil {
		return c.unlessGone(ctx, username, err)
	}
	return fault.Wrap(fault.Upstream, stateDependents, "the user may not log in any more but cannot be dropped: it owns objects, or has rights in another database; remove them, or give the role revocation_statements that do")
}

// stateDependents is dependent_objects_still_exist.
const stateDependents = stateError("2BP01")

// unlessGone makes an error nothing if there is no such user: that was the aim.
func (c *conn) unlessGone(ctx context.Context, username string, err error) error {
	var refused stateError
	if !errors.As(err, &refused) && !errors.Is(err, database.ErrUncertain) {
		return err
	}
	pc, aerr := c.acquire(ctx)
	if aerr != nil {
		return err
	}
	defer pc.Release()
	result, qerr := pc.Conn().PgConn().Exec(ctx, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = "+quoteLiteral(username)).ReadAll()
	if qerr == nil && len(result) == 1 && len(result[0].Rows) == 0 {
		return nil
	}
	return err
}

var _ database.Connection = (*conn)(nil)

// Pieces of PL/pgSQL about the user called target. Names from the catalogue
// are quoted by format's %I.
const (
	// Ending sessions needs a right that the connection's user may lack; the
	// user is dropped without it too.
	endSessions = `
BEGIN
  PERFORM pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = target;
EXCEPTION WHEN insufficient_privilege THEN
  NULL;
END;`

	// DROP OWNED also takes away rights, all of them at once, but drops what
	// is owned: it is only used if nothing is. Where it is not allowed (the
	// connection's user is not a member of the role) the rights are taken away
	// one schema at a time by the one who granted them.
	dropUser = `
SELECT oid INTO id FROM pg_catalog.pg_roles WHERE rolname = target;
IF NOT FOUND THEN
  RETURN;
END IF;
SELECT oid INTO here FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database();
IF NOT EXISTS (SELECT FROM pg_catalog.pg_shdepend WHERE refclassid = 'pg_catalog.pg_authid'::regclass AND refobjid = id AND deptype = 'o') THEN
  BEGIN
    EXECUTE pg_catalog.format('DROP OWNED BY %I', target);
  EXCEPTION WHEN insufficient_privilege THEN
    FOR item IN
      SELECT DISTINCT n.nspname FROM pg_catalog.pg_shdepend d
      LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
      LEFT JOIN pg_catalog.pg_proc p ON d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid
      JOIN pg_catalog.pg_namespace n ON n.oid = COALESCE(c.relnamespace, p.pronamespace, d.objid)
      WHERE d.dbid = here AND d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = id AND d.deptype = 'a'
        AND d.classid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_namespace'::regclass)
    LOOP
      EXECUTE pg_catalog.format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', item.nspname, target);
      EXECUTE pg_catalog.format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', item.nspname, target);
      EXECUTE pg_catalog.format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM %I', item.nspname, target);
      EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA %I FROM %I', item.nspname, target);
    END LOOP;
    EXECUTE pg_catalog.format('REVOKE ALL ON DATABASE %I FROM %I', pg_catalog.current_database(), target);
  END;
END IF;`

	dropRole = `
EXECUTE pg_catalog.format('DROP ROLE %I', target);`
)

func standardDrop(username string) string {
	return anonymous(dropUser+endSessions+dropRole, username)
}

// anonymous wraps code into a DO statement in which target is the user's name.
func anonymous(code, username string) string {
	body := "\nDECLARE\n  target CONSTANT text := " + quoteLiteral(username) + ";\n  id oid;\n  here oid;\n  item record;\nBEGIN" + code + "\nEND\n"
	tag := "$coffer$"
	for strings.Contains(body, tag) {
		tag = "$coffer_" + rand.Text() + "$"
	}
	return "DO " + tag + body + tag
}
