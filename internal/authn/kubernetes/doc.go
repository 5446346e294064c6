// Package kubernetes is the auth method for pods: a service account's token,
// which the cluster's own API server judges (TokenReview,
// authentication.k8s.io/v1).
//
// # Judging a login
//
// The API server's word counts: name, namespace and uid of the service account
// are those of its answer, and an answer about anybody but a service account is
// refused, since an API server vouches for users of other kinds too. What a token
// says about itself is looked at before only to save the API server from logins
// that the role would refuse anyway, and to check claims that the answer leaves
// open: an audience that the API server did not confirm, and an issuer, if the
// configuration asks for that.
//
// # Who asks
//
// Coffer shows the API server the reviewer token of its configuration; without
// one that of its own pod, which is read from its file when it is needed, because
// the kubelet replaces it; and without that the very token that is to be
// reviewed, whose service account then needs the right to review.
//
// # Rows
//
//	(1)        the configuration
//	(2, name)  a role
package kubernetes
