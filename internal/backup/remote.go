package backup

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxAnswer bounds what is read of a place's answer, in bytes.
const maxAnswer = 4 << 20

// code is what places call their errors: worth showing, and no secret.
var code = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// do sends a request; an answer that is no success is an error.
func do(client *http.Client, req *http.Request) (*http.Response, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, fault.Wrap(fault.Upstream, err, "the object store cannot be reached at "+req.URL.Host)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		body = nil // the status says enough
	}
	name := res.Header.Get("X-Ms-Error-Code")
	if name == "" {
		name = reason(body)
	}
	msg := fmt.Sprintf("the object store refused with %s", res.Status)
	if code.MatchString(name) {
		msg += ": " + name
	}
	return nil, fault.Wrap(fault.Upstream, fmt.Errorf("%s %s: %.500q", req.Method, req.URL.Path, body), msg)
}

// reason finds the error's name in a body of XML, as S3 and Azure send, or of
// JSON, as Google does.
func reason(body []byte) string {
	var x struct{ Code string }
	if xml.Unmarshal(body, &x) == nil {
		return x.Code
	}
	var j struct {
		Error struct {
			Errors []struct{ Reason string }
		}
	}
	if json.Unmarshal(body, &j) == nil && len(j.Error.Errors) > 0 {
		return j.Error.Errors[0].Reason
	}
	return ""
}
