package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	hclstrconv "github.com/hashicorp/hcl/hcl/strconv"
	"github.com/hashicorp/hcl/hcl/token"
)

// Limits on what is given to a parser. The HCL parser recurses, and wraps the
// error of each level into that of the one above, so both its stack and its
// time grow with the number of brackets; no real configuration comes near.
const (
	maxFileSize = 1 << 20
	maxBrackets = 4096
	maxDepth    = 32
)

// Pos is a place in a configuration file. Lines and columns count from one;
// the zero Pos means that the value came from no file.
type Pos struct {
	File   string
	Line   int
	Column int
}

// String formats the position as file:line:column.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// kind says what a node holds.
type kind int

const (
	kindNull kind = iota
	kindString
	kindNumber
	kindBool
	kindList
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "a string", "a number", "a boolean", "a list", "a block"}[k]
}

// node is a value with its position, whichever syntax it was written in.
type node struct {
	kind   kind
	pos    Pos
	text   string // of a string, number or boolean
	list   []node
	fields []field // of an object, in the order written
}

// field is one key of an object. A block with labels is an object of objects:
// `listener "tcp" {}` reads as `listener { tcp {} }`, which is also how JSON
// writes it.
type field struct {
	key   string
	pos   Pos
	value node
	block bool // written as an HCL block, which may be repeated
}

// parseTree reads src as JSON when its first significant byte opens an
// object, and as HCL otherwise.
func parseTree(name string, src []byte) (node, error) {
	if len(src) > maxFileSize {
		return node{}, &Error{Pos: Pos{File: name}, Msg: fmt.Sprintf("the file is larger than %d bytes; split it or check that it is a configuration file", maxFileSize)}
	}
	if brackets := bytes.Count(src, []byte("{")) + bytes.Count(src, []byte("[")); brackets > maxBrackets {
		return node{}, &Error{Pos: Pos{File: name}, Msg: fmt.Sprintf("the file opens %d blocks and lists, more than the %d allowed; check that it is a configuration file", brackets, maxBrackets)}
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if trimmed := bytes.TrimLeft(src, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return parseJSON(name, src)
	}
	return parseHCL(name, src)
}

func parseHCL(name string, src []byte) (root node, err error) {
	// The parser is known to panic on some malformed input; for an operator
	// that is a syntax error like any other.
	defer func() {
		if r := recover(); r != nil {
			root, err = node{}, &Error{Pos: Pos{File: name}, Msg: "the file is not valid HCL; check quotes, brackets and heredocs"}
		}
	}()
	file, err := parser.ParseDontErrorOnDuplicateKeys(src)
	if err != nil {
		return node{}, syntaxError(name, err)
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return node{}, &Error{Pos: Pos{File: name}, Msg: "the file holds no keys"}
	}
	c := converter{name: name}
	return c.object(Pos{File: name, Line: 1, Column: 1}, list, 0)
}

func syntaxError(name string, err error) error {
	var at *parser.PosError
	if errors.As(err, &at) {
		return &Error{
			Pos: Pos{File: name, Line: at.Pos.Line, Column: at.Pos.Column},
			Msg: "syntax error: " + firstLine(at.Err.Error()),
		}
	}
	return &Error{Pos: Pos{File: name}, Msg: "syntax error: " + firstLine(err.Error())}
}

// firstLine keeps a parser's message short: it may quote the input.
func firstLine(text string) string {
	const longest = 160
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "..."
	}
	return text
}

// converter copies the HCL syntax tree into nodes.
type converter struct{ name string }

func (c converter) pos(p token.Pos) Pos {
	return Pos{File: c.name, Line: p.Line, Column: p.Column}
}

func (c converter) object(at Pos, list *ast.ObjectList, depth int) (node, error) {
	if depth > maxDepth {
		return node{}, &Error{Pos: at, Msg: fmt.Sprintf("blocks are nested more than %d deep", maxDepth)}
	}
	obj := node{kind: kindObject, pos: at}
	for _, item := range list.Items {
		f, err := c.item(item, depth)
		if err != nil {
			return node{}, err
		}
		obj.fields = append(obj.fields, f)
	}
	return obj, nil
}

func (c converter) item(item *ast.ObjectItem, depth int) (field, error) {
	if len(item.Keys) == 0 || len(item.Keys) > maxDepth {
		return field{}, &Error{Pos: c.pos(item.Val.Pos()), Msg: "a block has too many or no labels"}
	}
	value, err := c.value(item.Val, depth+1)
	if err != nil {
		return field{}, err
	}
	block := !item.Assign.IsValid()
	for i := len(item.Keys) - 1; ; i-- {
		at := c.pos(item.Keys[i].Pos())
		key, err := keyText(item.Keys[i].Token)
		if err != nil {
			return field{}, &Error{Pos: at, Msg: "this name is not a valid string"}
		}
		f := field{key: key, pos: at, value: value, block: block}
		if i == 0 {
			return f, nil
		}
		value = node{kind: kindObject, pos: at, fields: []field{f}}
	}
}

func keyText(t token.Token) (string, error) {
	if t.Type != token.STRING {
		return t.Text, nil
	}
	return hclstrconv.Unquote(t.Text)
}

func (c converter) value(v ast.Node, depth int) (node, error) {
	switch v := v.(type) {
	case *ast.LiteralType:
		return c.literal(v.Token)
	case *ast.ObjectType:
		return c.object(c.pos(v.Lbrace), v.List, depth)
	case *ast.ListType:
		list := node{kind: kindList, pos: c.pos(v.Lbrack)}
		if depth > maxDepth {
			return node{}, &Error{Pos: list.pos, Msg: fmt.Sprintf("lists are nested more than %d deep", maxDepth)}
		}
		for _, element := range v.List {
			n, err := c.value(element, depth+1)
			if err != nil {
				return node{}, err
			}
			list.list = append(list.list, n)
		}
		return list, nil
	}
	return node{}, &Error{Pos: Pos{File: c.name}, Msg: "a value has an unexpected form"}
}

func (c converter) literal(t token.Token) (node, error) {
	n := node{pos: c.pos(t.Pos), text: t.Text}
	switch t.Type {
	case token.BOOL:
		n.kind = kindBool
	case token.NUMBER, token.FLOAT:
		n.kind = kindNumber
	case token.HEREDOC:
		n.kind = kindString
		n.text, _ = t.Value().(string)
	case token.STRING:
		text, err := hclstrconv.Unquote(t.Text)
		if err != nil {
			return node{}, &Error{Pos: n.pos, Msg: "this string has an invalid escape or quote"}
		}
		n.kind, n.text = kindString, text
	default:
		return node{}, &Error{Pos: n.pos, Msg: "this value is not a string, number, boolean, list or block"}
	}
	return n, nil
}
