package gate

import (
	"context"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/route"
)

// helpAnswer is what ?help=1 answers.
type helpAnswer struct {
	Help    string   `json:"help"`
	SeeAlso []string `json:"see_also"`
	OpenAPI any      `json:"openapi"`
}

// document answers a request for help, and writes it down like any other.
func (x *exchange) document(ctx context.Context) (*route.Reply, error) {
	reply, err := x.help()
	if err != nil {
		return nil, x.refuse(ctx, err)
	}
	x.describe()
	r := x.record(audit.TypeRequest, nil)
	if err := x.auditResponse(ctx, x.g.Audit.Begin(&r), reply, nil); err != nil {
		return nil, err
	}
	return reply, nil
}

// help documents a path from the declarations of its endpoints.
func (x *exchange) help() (*route.Reply, error) {
	if x.mounted == nil || x.mounted.Routes() == nil {
		return nil, x.missing()
	}
	table := x.mounted.Routes()
	var found []*route.Endpoint
	for v := route.VerbRead; v <= route.VerbPatch; v++ {
		var m route.Match
		if e, _ := table.Find(v, x.call.Path, &m); e != nil {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		if trimmed(x.call.Path) != "" {
			return nil, x.missing()
		}
		all := table.Endpoints()
		for i := range all {
			if !all[i].Hidden {
				found = append(found, &all[i])
			}
		}
	}
	data, err := route.Data(helpAnswer{Help: describeAll(x.call.Mount.Path, found), SeeAlso: []string{}})
	if err != nil {
		return nil, err
	}
	return &route.Reply{Raw: &route.Bytes{ContentType: "application/json", Body: data.Data}}, nil
}

func describeAll(mount string, eps []*route.Endpoint) string {
	var b strings.Builder
	for _, e := range eps {
		fmt.Fprintf(&b, "%-6s /%s%s\n", strings.ToUpper(e.Verb.String()), mount, e.Pattern)
		if e.Doc.Summary != "" {
			fmt.Fprintf(&b, "       %s\n", e.Doc.Summary)
		}
		if e.Doc.Description != "" {
			fmt.Fprintf(&b, "       %s\n", e.Doc.Description)
		}
		for _, p := range e.Input() {
			fmt.Fprintf(&b, "         %s (%s, %s)", p.Name, p.Type, p.In)
			if p.Default != "" {
				fmt.Fprintf(&b, " default %s", p.Default)
			}
			fmt.Fprintf(&b, "\n           %s\n", p.Doc)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
