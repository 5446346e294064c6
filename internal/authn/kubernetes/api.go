package kubernetes

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
)

// api is an API server.
type api struct {
	raw    []byte // of the row it was made of
	config config
	keys   []crypto.PublicKey
	client *authn.Outbound
}

// errDenied is the one answer to a token that is not good enough.
var errDenied = fault.New(fault.Denied, "permission denied")

// account is a service account.
type account struct{ Namespace, Name, UID string }

// reviewRequest and reviewAnswer are the parts of a TokenReview
// (authentication.k8s.io/v1) that matter here.
type reviewRequest struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Spec       reviewSpec `json:"spec"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences,omitempty"`
}

type reviewAnswer struct {
	Status struct {
		Authenticated bool     `json:"authenticated"`
		Error         string   `json:"error"`
		Audiences     []string `json:"audiences"`
		User          struct {
			Username string `json:"username"`
			UID      string `json:"uid"`
		} `json:"user"`
	} `json:"status"`
}

// review asks the API server whose token it is. confirmed says that the API
// server knows of audiences, so that it has checked the one asked for.
func (a *api) review(ctx context.Context, reviewer, token, audience string) (who account, confirmed bool, err error) {
	ask := reviewRequest{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview", Spec: reviewSpec{Token: token}}
	if audience != "" {
		ask.Spec.Audiences = []string{audience}
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return who, false, fmt.Errorf("encoding a token review: %w", err)
	}
	status, answer, err := a.send(ctx, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", reviewer, string(body))
	if err != nil {
		return who, false, err
	}
	if status/100 != 2 {
		return who, false, reviewerRefused(status, reviewer == token)
	}
	var r reviewAnswer
	if json.Unmarshal(answer, &r) != nil {
		return who, false, fault.New(fault.Upstream, "the API server's answer to a token review is not well-formed")
	}
	if !r.Status.Authenticated || r.Status.Error != "" {
		return who, false, errDenied
	}
	if audience != "" && len(r.Status.Audiences) > 0 && !slices.Contains(r.Status.Audiences, audience) {
		return who, false, errDenied
	}
	who, ok := parseUsername(r.Status.User.Username)
	if !ok || r.Status.User.UID == "" {
		return who, false, errDenied // authenticated, but no service account
	}
	who.UID = r.Status.User.UID
	return who, len(r.Status.Audiences) > 0, nil
}

// reviewerRefused words the refusal of the reviewer. One who is its own reviewer
// has shown a bad token, or one without the right.
func reviewerRefused(status int, itself bool) error {
	cause := fmt.Errorf("status %d", status)
	switch {
	case itself && (status == 401 || status == 403):
		return fault.Wrap(fault.Denied, cause, "permission denied")
	case status == 401 || status == 403:
		return fault.Wrap(fault.Upstream, cause, "the API server refuses Coffer's own token: give a token_reviewer_jwt of a service account that is bound to the cluster role system:auth-delegator")
	}
	return fault.Wrap(fault.Upstream, cause, "the API server cannot review tokens now")
}

// parseUsername reads a service account's name for authorisation,
// system:serviceaccount:NAMESPACE:NAME.
func parseUsername(username string) (account, bool) {
	rest, ok := strings.CutPrefix(username, "system:serviceaccount:")
	if !ok {
		return account{}, false
	}
	namespace, name, ok := strings.Cut(rest, ":")
	if !ok || namespace == "" || name == "" || strings.Contains(name, ":") || strings.Contains(rest, "/") {
		return account{}, false
	}
	return account{Namespace: namespace, Name: name}, true
}

// metadata is what objects have in common.
type metadata struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
}

// labels reads the labels of a namespace.
func (a *api) labels(ctx context.Context, reviewer, namespace string) (map[string]string, error) {
	m, err := a.object(ctx, reviewer, "/api/v1/namespaces/"+url.PathEscape(namespace), "namespaces")
	return m.Metadata.Labels, err
}

// annotations reads the annotations of a service account.
func (a *api) annotations(ctx context.Context, reviewer string, who account) (map[string]string, error) {
	m, err := a.object(ctx, reviewer, "/api/v1/namespaces/"+url.PathEscape(who.Namespace)+"/serviceaccounts/"+url.PathEscape(who.Name), "serviceaccounts")
	return m.Metadata.Annotations, err
}

func (a *api) object(ctx context.Context, reviewer, path, what string) (metadata, error) {
	var m metadata
	status, body, err := a.send(ctx, "GET", path, reviewer, "")
	switch {
	case err != nil:
		return m, err
	case status == 404:
		return m, errDenied
	case status == 401 || status == 403:
		return m, fault.Wrap(fault.Upstream, fmt.Errorf("status %d from %s", status, path), "the API server does not let Coffer's token read "+what+": bind it to a cluster role with the verb get on them")
	case status/100 != 2 || json.Unmarshal(body, &m) != nil:
		return m, fault.Wrap(fault.Upstream, fmt.Errorf("status %d from %s", status, path), "the API server cannot be asked for "+what+" now")
	}
	return m, nil
}

func (a *api) send(ctx context.Context, method, path, bearer, body string) (int, []byte, error) {
	header := map[string]string{"Accept": "application/json", "Authorization": "Bearer " + bearer}
	if body != "" {
		header["Content-Type"] = "application/json"
	}
	return a.client.Send(ctx, authn.Message{Method: method, URL: a.config.Host + path, Header: header, Body: body})
}
