package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine/database/postgres"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
)

func TestRenderEscapesByContext(t *testing.T) {
	for _, test := range []struct{ what, statement, name, password, want string }{
		{"identifier in quotes", `DROP ROLE "{{name}}"`, `a"b`, ``, `DROP ROLE "a""b"`},
		{"username is another word for name", `DROP ROLE "{{username}}"`, `a`, ``, `DROP ROLE "a"`},
		{"literal in quotes", `PASSWORD '{{password}}'`, ``, `a'b\`, `PASSWORD 'a''b\'`},
		{"literal with escapes", `PASSWORD E'{{password}}'`, ``, `a'b\`, `PASSWORD E'a''b\\'`},
		{"a word that ends in e is no escape prefix", `SELECT name'{{password}}'`, ``, `\`, `SELECT name'\'`},
		{"unicode identifier", `DROP ROLE U&"{{name}}"`, `a\"`, ``, `DROP ROLE U&"a\\"""`},
		{"unicode literal", `SELECT U&'{{password}}'`, ``, `\0061'`, `SELECT U&'\\0061'''`},
		{"identifier on its own", `DROP ROLE {{name}};`, `A b`, ``, `DROP ROLE "A b";`},
		{"literal on its own", `PASSWORD {{password}}`, ``, `it's`, `PASSWORD 'it''s'`},
		{"part of a word", `CREATE SCHEMA s_{{name}}`, `abc_1`, ``, `CREATE SCHEMA s_abc_1`},
		{"in a name of several parts", `GRANT x ON "s"."t_{{name}}" TO "{{name}}"`, `a"`, ``, `GRANT x ON "s"."t_a""" TO "a"""`},
		{"inside a body", `DO $$ BEGIN EXECUTE '{{name}}'; END $$`, `a'b`, ``, `DO $$ BEGIN EXECUTE 'a''b'; END $$`},
		{"inside a tagged body", `DO $x$ DROP ROLE "{{name}}" $x$`, `a"$$`, ``, `DO $x$ DROP ROLE "a""$$" $x$`},
		{"comments are left alone", "-- {{name}}\n/* {{password}} /* */ */ x", "\n'", "*/", "-- {{name}}\n/* {{password}} /* */ */ x"},
		{"values are not templates", `"{{name}}" '{{password}}'`, `{{password}}`, `{{name}}`, `"{{password}}" '{{name}}'`},
		{"unknown placeholders stay", `SELECT '{{other}}'`, ``, ``, `SELECT '{{other}}'`},
		{"dollars in words are no quotation", `SELECT a$$b, '{{password}}'`, ``, `'`, `SELECT a$$b, ''''`},
		{"parameters are no quotation", `SELECT $1, "{{name}}"`, `"`, ``, `SELECT $1, """"`},
	} {
		t.Run(test.what, func(t *testing.T) {
			got, err := postgres.Render([]string{test.statement}, test.name, test.password, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRenderRefusesWhatCannotBeQuoted(t *testing.T) {
	for _, test := range []struct{ what, statement, name string }{
		{"a value that ends its body", `DO $$ SELECT '{{name}}' $$`, `$$; DROP TABLE canary; $$`},
		{"a value that ends its body together with the text", `DO $$ SELECT '$x{{name}}' $$`, `$$`},
		{"an odd value within a word", `CREATE SCHEMA s_{{name}}`, `a b`},
		{"two values side by side", `CREATE SCHEMA {{name}}{{name}}`, `a"b`},
		{"a null character", `DROP ROLE "{{name}}"`, "a\x00b"},
		{"a quotation without end", `DROP ROLE "{{name}}`, `a`},
		{"a comment without end", `DROP ROLE "{{name}}" /* /* */`, `a`},
		{"a body without end", `DO $x$ SELECT 1 $$`, `a`},
	} {
		t.Run(test.what, func(t *testing.T) {
			if got, err := postgres.Render([]string{test.statement}, test.name, "", ""); fault.KindOf(err) != fault.Invalid {
				t.Errorf("got %q, error %v", got, err)
			}
		})
	}
}

func TestBlankStatementsDoNothing(t *testing.T) {
	for statement, want := range map[string]bool{
		"": true, " ; ;\n": true, "-- DROP ROLE x": true, "/* DROP; */ ;": true, "-- a\n;": true,
		"DROP": false, "-- a\nDROP": false, "''": false, `/* a */ "x"`: false, "'": false,
	} {
		if got := postgres.Blank([]string{statement}); got != want {
			t.Errorf("%q: got %v", statement, got)
		}
	}
	if !postgres.Blank(nil) {
		t.Error("no statements do something")
	}
}

func TestCheckRefusesStatementsThatCannotRun(t *testing.T) {
	for statement, ok := range map[string]bool{
		createRole: true, "SELEKT 1": true, "CREATE;": true, "": true, "SELECT 1; -- COMMIT": true,
		`DO $$ BEGIN NULL; END $$`: true, "SELECT 'a; COMMIT'": true,
		"COMMIT": false, "SELECT 1; commit": false, "/* x */ BEGIN; SELECT 1": false, "SELECT ';' ; ROLLBACK;": false, `DROP "x`: false,
	} {
		if err := postgres.Check([]string{statement}); (err == nil) != ok {
			t.Errorf("%q: %v", statement, err)
		}
	}
}

const createRole = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`

// hostile are names and passwords that try to leave their quotation.
var hostile = []string{
	`O'Brien`, `a"; DROP TABLE canary;--`, `';DROP TABLE canary;--`, `";--`, `$1`, `$$`, `$coffer$`, `a\`, `\'; DROP TABLE canary;--`,
	"line\nbreak", "tab\t", "‘quoted’ “so”", "ʼ", "名前", `{{name}}`, `{{password}}`, `%s%I%L`, `/*`, `*/`, `--`, `E'`, `U&"\0022"`, ` `, `;`,
}

// PostgreSQL itself is asked what it understood.
func TestServerReadsRenderedValuesBack(t *testing.T) {
	conn := pgtest.Start(t).Conn()
	for _, v := range hostile {
		sql, err := postgres.Render([]string{`SELECT '{{password}}', E'{{password}}', U&'{{password}}', {{password}}, -- {{password}}
			1 AS "{{name}}", 2 AS U&"{{name}}", 3 AS {{name}}`}, v, v, "")
		if err != nil {
			t.Fatalf("%q: %v", v, err)
		}
		results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		if err != nil {
			t.Fatalf("%q: %v\n%s", v, err, sql)
		}
		for i, got := range results[0].Rows[0][:4] {
			if string(got) != v {
				t.Errorf("%q: value %d is %q", v, i, got)
			}
		}
		for _, f := range results[0].FieldDescriptions[4:] {
			if f.Name != v {
				t.Errorf("%q: column is called %q", v, f.Name)
			}
		}
	}
}

// FuzzRender checks that no value can change the shape of a statement: the
// rendered text has the same tokens as the template.
func FuzzRender(f *testing.F) {
	for _, v := range hostile {
		f.Add(v, v)
	}
	const template = `CREATE ROLE "{{name}}" PASSWORD '{{password}}' IN E'{{password}}' U&"{{name}}" /* {{name}} */ ; GRANT`
	want, _, err := postgres.Lex(template)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, password string) {
		sql, err := postgres.Render([]string{template}, name, password, "")
		if err != nil {
			return
		}
		got, texts, err := postgres.Lex(sql)
		if err != nil {
			t.Fatalf("%q: %v", sql, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q: %s", sql, diff)
		}
		if unquoted := strings.ReplaceAll(texts[1][1:len(texts[1])-1], `""`, `"`); unquoted != name {
			t.Fatalf("the name became %q", unquoted)
		}
	})
}

// FuzzLex checks that the tokens are the whole text, whatever it is.
func FuzzLex(f *testing.F) {
	for _, s := range []string{createRole, `DO $a$ '{{name}}' $a$`, `E'\''`, `"a""b"`, "/* /* */ */", "-- x\r\ny", "$", "$$", "{{name}", "U&'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, texts, err := postgres.Lex(s)
		if err == nil && strings.Join(texts, "") != s {
			t.Fatalf("tokens are not the text: %q", texts)
		}
		_ = postgres.Check([]string{s})
		postgres.Blank([]string{s})
		if sql, err := postgres.Render([]string{s}, `n"'$$\`, `p'"\`, "2026"); err == nil {
			if _, _, err := postgres.Lex(sql); err != nil {
				t.Fatalf("rendered text does not lex: %q", sql)
			}
		}
	})
}
