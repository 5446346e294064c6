package postgres

import (
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// values are what the placeholders of statements stand for.
type values struct {
	name, password, expiration string
	// secret is the password proper, where password is only a hash of it.
	secret wire.Secret
}

// lookup returns the value of a placeholder and whether it names something
// (rather than being data).
func (v values) lookup(placeholder string) (value string, identifier, ok bool) {
	switch placeholder {
	case "{{name}}", "{{username}}":
		return v.name, true, true
	case "{{password}}":
		return v.password, false, true
	case "{{expiration}}":
		return v.expiration, false, true
	}
	return "", false, false
}

// Check refuses statements that could never run as they are run here: with a
// quotation that does not end, or with transaction control, since all
// statements of a list are one transaction.
func Check(statements []string) error {
	for _, s := range statements {
		tokens, err := lex(s)
		if err != nil {
			return err
		}
		for _, word := range firstWords(tokens) {
			switch strings.ToUpper(word) {
			case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE":
				return fault.New(fault.Invalid, "statements run in one transaction and must not begin or end one themselves")
			}
		}
	}
	return nil
}

// blank reports whether statements would do nothing.
func blank(statements []string) bool {
	for _, s := range statements {
		tokens, err := lex(s)
		if err != nil {
			return false
		}
		for _, t := range tokens {
			if t.kind != tokenComment && strings.Trim(t.text, " \t\r\n\f\v;") != "" {
				return false
			}
		}
	}
	return true
}

// render puts values into statements and joins them. What a value becomes
// depends on where its placeholder stands:
//
//	"{{name}}"        inside double quotes: each " is doubled
//	'{{password}}'    inside single quotes: each ' is doubled; in E'...' each \ too
//	$$ ... $$         the body is lexed as statements are; a value that would
//	                  end the body is refused
//	{{name}}          on its own: a quoted identifier
//	{{password}}      on its own: a quoted literal
//	x_{{name}}        next to other characters of a word: only a plain word
//	-- {{name}}       in comments: left alone
func render(statements []string, v values) (string, error) {
	var b strings.Builder
	for i, s := range statements {
		if i > 0 {
			b.WriteString("\n;\n") // a comment at the end must not swallow it
		}
		if err := renderOne(&b, s, v); err != nil {
			return "", err
		}
	}
	if strings.IndexByte(b.String(), 0) >= 0 {
		return "", fault.New(fault.Invalid, "statements must not have null characters")
	}
	return b.String(), nil
}

func renderOne(b *strings.Builder, s string, v values) error {
	tokens, err := lex(s)
	if err != nil {
		return err
	}
	for i, t := range tokens {
		switch t.kind {
		case tokenComment:
			b.WriteString(t.text)
		case tokenIdentifier:
			b.WriteString(substitute(t.text, v, func(s string) string { return strings.ReplaceAll(s, `"`, `""`) }))
		case tokenUnicode:
			b.WriteString(substitute(t.text, v, func(s string) string {
				return strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(s)
			}))
		case tokenLiteral:
			b.WriteString(substitute(t.text, v, func(s string) string { return strings.ReplaceAll(s, `'`, `''`) }))
		case tokenEscaped:
			b.WriteString(substitute(t.text, v, func(s string) string {
				return strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(s)
			}))
		case tokenDollar:
			if err := renderBody(b, t, v); err != nil {
				return err
			}
		case tokenPlaceholder:
			text, err := bare(t.text, v, glued(tokens, i))
			if err != nil {
				return err
			}
			b.WriteString(text)
		default:
			b.WriteString(t.text)
		}
	}
	return nil
}

// substitute replaces the placeholders in a quotation.
func substitute(text string, v values, escape func(string) string) string {
	if !strings.Contains(text, "{{") {
		return text
	}
	return strings.NewReplacer("{{name}}", escape(v.name), "{{username}}", escape(v.name),
		"{{password}}", escape(v.password), "{{expiration}}", escape(v.expiration)).Replace(text)
}

// renderBody renders a dollar-quoted body, which is usually code of its own.
func renderBody(b *strings.Builder, t token, v values) error {
	tag := t.text[:strings.IndexByte(t.text[1:], '$')+2]
	var body strings.Builder
	if err := renderOne(&body, t.text[len(tag):len(t.text)-len(tag)], v); err != nil {
		return err
	}
	// The first end of the body must be the one that was there.
	if strings.Index(body.String()+tag, tag) != body.Len() {
		return fault.New(fault.Invalid, "a value cannot be put into a dollar-quoted body, because it would end it")
	}
	b.WriteString(tag + body.String() + tag)
	return nil
}

// bare renders a placeholder outside quotations. glued says that it is part of
// a longer word.
func bare(placeholder string, v values, glued bool) (string, error) {
	value, identifier, _ := v.lookup(placeholder)
	switch {
	case glued && plainWord(value):
		return value, nil
	case glued:
		return "", fault.Newf(fault.Invalid, "%s stands inside a word, where only letters, digits and _ can be put; quote the word", placeholder)
	case identifier:
		return quoteIdentifier(value), nil
	}
	return quoteLiteral(value), nil
}

func quoteIdentifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteLiteral relies on standard_conforming_strings.
func quoteLiteral(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

func glued(tokens []token, i int) bool {
	before := i > 0 && (tokens[i-1].kind == tokenPlaceholder || tokens[i-1].kind == tokenText && wordByte(tokens[i-1].text[len(tokens[i-1].text)-1]))
	after := i+1 < len(tokens) && (tokens[i+1].kind == tokenPlaceholder || tokens[i+1].kind == tokenText && wordByte(tokens[i+1].text[0]))
	return before || after
}

func plainWord(s string) bool {
	for i := range len(s) {
		if !wordByte(s[i]) || s[i] == '$' || s[i] >= 0x80 {
			return false
		}
	}
	return s != ""
}
