package httpd

import "net/url"

// Canonical gives the tests the path that the gate would get.
func Canonical(u *url.URL) (string, error) { return canonical(u) }
