package kubernetes

import "github.com/cofferhq/coffer/internal/authn"

// TypeIn is the method in a pod whose files are in a folder.
func TypeIn(folder string) authn.Type { return typeOf(folder) }

// Selects parses a selector and holds labels against it.
func Selects(text string, labels map[string]string) (bool, error) {
	s, err := parseSelector(text)
	return err == nil && s.selects(labels), err
}

// Hear reads what a token says about itself.
func Hear(token string) (namespace, name string, ok bool) {
	s, ok := (&api{}).hear(token)
	return s.Namespace, s.Name, ok
}
