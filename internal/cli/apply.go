package cli

import (
	"context"
	"flag"
	"fmt"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
)

func applyCommand() *command {
	return &command{
		name: "apply", args: "FILE...", min: 1, max: -1, groups: connects | formats | selects,
		short: "Write what files of path blocks say",
		long: "A file holds a block for each path, in HCL or JSON, with the data to write there:\n\n" +
			"  path \"auth/kubernetes/role/app\" {\n    bound_service_account_names = [\"app\"]\n    bound_service_account_namespaces = [\"prod\"]\n  }\n\n" +
			"All files are read before the first is written; - is standard input.\n\n  {name} apply roles.hcl",
		define: func(*flag.FlagSet) action { return runApply },
	}
}

// write is what a block of a file asks for.
type write struct {
	path string
	data map[string]any
}

func runApply(ctx context.Context, c *call) error {
	var all []write
	for _, name := range c.args {
		text, err := c.file(ctx, name)
		if err != nil {
			return err
		}
		found, err := parseWrites(text)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		all = append(all, found...)
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	for _, w := range all {
		s, err := cl.Write(ctx, w.path, w.data)
		if err != nil {
			return failed("writing data to "+w.path, err)
		}
		if err := c.written(s, "Data written to: %s", w.path); err != nil {
			return err
		}
	}
	return nil
}

// file reads a file, or standard input for "-".
func (c *call) file(ctx context.Context, name string) ([]byte, error) {
	if name != "-" {
		return readFile(name)
	}
	text, err := c.resolve(ctx, "-")
	return []byte(text), err
}

// parseWrites reads the path blocks of a file, in their order.
func parseWrites(text []byte) ([]write, error) {
	file, err := hcl.ParseBytes(text)
	if err != nil {
		return nil, err
	}
	root, ok := file.Node.(*ast.ObjectList)
	if !ok || len(root.Items) == 0 {
		return nil, fmt.Errorf("there is no path block")
	}
	var all []write
	seen := map[string]bool{}
	for _, item := range root.Items {
		w, err := parseWrite(item)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", item.Pos().Line, err)
		}
		if seen[w.path] {
			return nil, fmt.Errorf("line %d: the path %s stands twice", item.Pos().Line, w.path)
		}
		seen[w.path] = true
		all = append(all, w)
	}
	return all, nil
}

func parseWrite(item *ast.ObjectItem) (write, error) {
	object, isObject := item.Val.(*ast.ObjectType)
	if !isObject || len(item.Keys) != 2 || keyText(item.Keys[0]) != "path" {
		return write{}, fmt.Errorf(`this is no block such as path "auth/kubernetes/role/app" { ... }`)
	}
	w := write{path: cleanPath(keyText(item.Keys[1]))}
	names := map[string]bool{}
	for _, f := range object.List.Items {
		name := keyText(f.Keys[0])
		if names[name] {
			return write{}, fmt.Errorf("%s is given twice", name)
		}
		names[name] = true
	}
	switch {
	case w.path == "":
		return write{}, fmt.Errorf("the path is empty")
	case names["capabilities"]:
		return write{}, fmt.Errorf("this is a rule of a policy; use policy write")
	}
	if err := hcl.DecodeObject(&w.data, item.Val); err != nil {
		return write{}, err
	}
	for name, v := range w.data {
		w.data[name] = merged(v)
	}
	return w, nil
}

func keyText(k *ast.ObjectKey) string {
	if k.Token.Type == token.STRING || k.Token.Type == token.IDENT {
		if text, ok := k.Token.Value().(string); ok {
			return text
		}
	}
	return ""
}

// merged makes an object of what the decoder gives for one, which is a list of its
// parts.
func merged(v any) any {
	parts, ok := v.([]map[string]any)
	if !ok {
		if list, ok := v.([]any); ok {
			for i := range list {
				list[i] = merged(list[i])
			}
		}
		return v
	}
	object := map[string]any{}
	for _, p := range parts {
		for name, member := range p {
			object[name] = merged(member)
		}
	}
	return object
}
