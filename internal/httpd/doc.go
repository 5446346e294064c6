// Package httpd is the edge: it turns HTTP into the gate's requests and the
// gate's answers into HTTP. Status codes, response headers and the forms that
// Vault's clients expect of them live here and nowhere else.
//
// A path that is not canonical is refused, never cleaned: what the gate matches,
// what policies judge and what a handler stores is what the client sent.
package httpd
