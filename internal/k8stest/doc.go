// Package k8stest is an API server of Kubernetes for tests, as far as auth
// methods ask one: token reviews, namespaces and service accounts, with the
// rights of who asks. Tokens are real: signed, bound to objects, and for an
// audience.
//
// It does not imagine what it does: a test of its own holds it against exchanges
// with a real API server, version 1.36.3, that were recorded (see
// testdata/recorded.json). Unlike the real one it has no cache, so what was
// deleted is gone at once, and it knows nothing of versions, media types and
// objects that no method asks for.
package k8stest
