package kubernetes

import (
	"os"
	"path/filepath"
	"strings"
)

// pod is where Coffer's own pod, if it runs in one, has its files.
type pod struct{ folder string }

// ca is the certificate of the API server, "" outside of a pod.
func (p pod) ca() string { return p.read("ca.crt") }

// token is the pod's token, "" outside of a pod. The kubelet replaces it before it
// expires, so it is read each time.
func (p pod) token() string {
	text := strings.TrimSpace(p.read("token"))
	if !tokenText(text) {
		return ""
	}
	return text
}

func (p pod) read(name string) string {
	text, err := os.ReadFile(filepath.Join(p.folder, name))
	if err != nil {
		return ""
	}
	return string(text)
}
