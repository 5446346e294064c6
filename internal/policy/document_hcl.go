package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
)

var (
	errTooDeep = fmt.Errorf("blocks and lists are nested deeper than %d", maxDepth)
	errTooMany = fmt.Errorf("more than %d values", maxNodes)
)

// hclPosition is how the HCL parser's nested errors quote a place.
var hclPosition = regexp.MustCompile(`^At (\d+):\d+: `)

func parseHCL(text string) (v value, problem *Problem) {
	// The HCL library panics on some malformed literals; a hostile text must
	// cost its sender an error and nobody else anything.
	defer func() {
		if r := recover(); r != nil {
			v, problem = value{}, &Problem{Text: "a malformed literal"}
		}
	}()
	if problem := checkTokens(text); problem != nil {
		return value{}, problem
	}
	file, err := parser.Parse([]byte(text))
	if err != nil {
		return value{}, hclProblem(err)
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return value{}, &Problem{Text: "the text is not a list of blocks"}
	}
	return fromObjectList(list, 1)
}

// checkTokens walks the tokens before the parser does: the parser recurses
// into brackets without a limit, and quietly drops a last item that ends after
// its equals sign.
func checkTokens(text string) *Problem {
	s := scanner.New([]byte(text))
	// The parser reports the scanner's errors; here they only end the walk.
	s.Error = func(token.Pos, string) {}
	depth, tokens := 0, 0
	var last token.Type
	for {
		tok := s.Scan()
		switch tok.Type {
		case token.EOF, token.ILLEGAL:
			if last == token.ASSIGN {
				return &Problem{Line: tok.Pos.Line, Text: "a value is missing after ="}
			}
			return nil
		case token.LBRACE, token.LBRACK:
			depth++
		case token.RBRACE, token.RBRACK:
			depth--
		}
		if depth > maxDepth {
			return &Problem{Line: tok.Pos.Line, Text: errTooDeep.Error()}
		}
		if tokens++; tokens > maxNodes {
			return &Problem{Line: tok.Pos.Line, Text: errTooMany.Error()}
		}
		if tok.Type != token.COMMENT {
			last = tok.Type
		}
	}
}

// hclProblem words a parser's error with its line.
func hclProblem(err error) *Problem {
	if pos, ok := errors.AsType[*parser.PosError](err); ok {
		// A wrapped error repeats the inner position, which is the useful one.
		text, line := pos.Err.Error(), pos.Pos.Line
		for range maxDepth {
			i := strings.LastIndex(text, "At ")
			if i < 0 {
				break
			}
			m := hclPosition.FindStringSubmatch(text[i:])
			if m == nil {
				break
			}
			line, _ = strconv.Atoi(m[1])
			text = text[i+len(m[0]):]
		}
		return &Problem{Line: line, Text: text}
	}
	return &Problem{Text: err.Error()}
}

func fromObjectList(list *ast.ObjectList, line int) (value, *Problem) {
	v := value{kind: kindObject, line: line}
	for _, item := range list.Items {
		f, problem := fromItem(item)
		if problem != nil {
			return value{}, problem
		}
		v.fields = append(v.fields, f)
	}
	return v, nil
}

// fromItem turns labels into nested objects.
func fromItem(item *ast.ObjectItem) (field, *Problem) {
	if len(item.Keys) == 0 || len(item.Keys) > 3 {
		return field{}, &Problem{Line: item.Pos().Line, Text: "a block takes a name and one label"}
	}
	inner, problem := fromNode(item.Val)
	if problem != nil {
		return field{}, problem
	}
	for i := len(item.Keys) - 1; ; i-- {
		tok := item.Keys[i].Token
		key, ok := tok.Value().(string)
		if !ok {
			return field{}, &Problem{Line: tok.Pos.Line, Text: "a name is neither a word nor a string"}
		}
		f := field{key: key, line: tok.Pos.Line, value: inner}
		if i == 0 {
			return f, nil
		}
		inner = value{kind: kindObject, line: tok.Pos.Line, fields: []field{f}}
	}
}

func fromNode(n ast.Node) (value, *Problem) {
	switch n := n.(type) {
	case *ast.LiteralType:
		return fromLiteral(n.Token)
	case *ast.ObjectType:
		return fromObjectList(n.List, n.Lbrace.Line)
	case *ast.ListType:
		v := value{kind: kindList, line: n.Lbrack.Line}
		for _, item := range n.List {
			child, problem := fromNode(item)
			if problem != nil {
				return value{}, problem
			}
			v.list = append(v.list, child)
		}
		return v, nil
	}
	return value{}, &Problem{Line: n.Pos().Line, Text: "an unknown construct"}
}

func fromLiteral(tok token.Token) (value, *Problem) {
	v := value{line: tok.Pos.Line}
	switch tok.Type {
	case token.BOOL:
		v.kind, v.text = kindBool, tok.Text
	case token.NUMBER, token.FLOAT:
		number, err := strconv.ParseFloat(tok.Text, 64)
		v.kind, v.text = kindNumber, tok.Text
		if integer, intErr := strconv.ParseInt(tok.Text, 0, 64); intErr == nil {
			v.text = strconv.FormatInt(integer, 10)
		} else if err != nil || number != number {
			return value{}, &Problem{Line: tok.Pos.Line, Text: "a number out of range"}
		}
	case token.STRING, token.HEREDOC:
		text, ok := tok.Value().(string)
		if !ok {
			return value{}, &Problem{Line: tok.Pos.Line, Text: "a malformed string"}
		}
		v.kind, v.text = kindString, text
	default:
		return value{}, &Problem{Line: tok.Pos.Line, Text: "an unknown literal"}
	}
	return v, nil
}
