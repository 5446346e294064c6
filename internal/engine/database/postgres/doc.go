// Package postgres drives PostgreSQL for the database engine.
//
// All statements of one call are sent as a single message of the simple query
// protocol, wrapped in one transaction: one round trip, and all of it or
// nothing. Values are put into statements by a lexer that knows PostgreSQL's
// quoting (see [render]); there are no query parameters, because statements
// such as CREATE ROLE take none.
//
// The engine's own credentials never become part of a connection string: they
// are set in pgx's configuration after the string has been parsed. Errors are
// reduced to what PostgreSQL calls the condition, and to its message if that
// repeats nothing secret.
package postgres
