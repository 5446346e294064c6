package settings

import (
	"context"
	"errors"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// headerRow is a response header of the web interface at rest.
type headerRow struct {
	Values []string `json:"values"`
}

type headerRequest struct {
	Header string `path:"header" doc:"Name of the header."`
}

// name returns the header's canonical name.
func (in headerRequest) name() (string, error) {
	if !isHeaderName(in.Header) {
		return "", fault.New(fault.Invalid, "that is not the name of a header")
	}
	return textproto.CanonicalMIMEHeaderKey(in.Header), nil
}

func (s *Store) listHeaders(context.Context, *route.Call, noInput) (route.Keys, error) {
	return route.Keys{Keys: slices.Sorted(maps.Keys(s.UIHeaders()))}, nil
}

type readHeaderRequest struct {
	headerRequest
	Multivalue bool `query:"multivalue" doc:"Whether to show all values instead of the first."`
}

type headerAnswer struct {
	Value  string   `json:"value,omitempty"`
	Values []string `json:"values,omitempty"`
}

func (s *Store) readHeader(ctx context.Context, _ *route.Call, in readHeaderRequest) (*headerAnswer, error) {
	name, err := in.name()
	if err != nil {
		return nil, err
	}
	var row headerRow
	err = s.Store.View(ctx, func(r store.Reader) error {
		row, err = store.GetJSON[headerRow](r, configKey(uiHeaderName, name))
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(row.Values) == 0:
		return nil, errors.New("a stored response header has no value")
	case in.Multivalue:
		return &headerAnswer{Values: row.Values}, nil
	}
	return &headerAnswer{Value: row.Values[0]}, nil
}

type writeHeaderRequest struct {
	headerRequest
	Values     []string `json:"values" doc:"Values of the header."`
	Multivalue bool     `json:"multivalue" doc:"Accepted and ignored: a header may always have several values." deprecated:"true"`
}

// writeHeader answers 200 without data, as clients expect here.
func (s *Store) writeHeader(ctx context.Context, _ *route.Call, in writeHeaderRequest) (*route.Reply, error) {
	name, err := in.name()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, "X-Vault-") {
		return nil, fault.New(fault.Invalid, "headers that begin with X-Vault- are the server's own")
	}
	if len(in.Values) == 0 {
		return nil, fault.New(fault.Invalid, `the parameter "values" is missing or empty`)
	}
	for _, v := range in.Values {
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fault.New(fault.Invalid, "a header's value must not be empty nor hold control characters")
		}
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		return store.PutJSON(tx, configKey(uiHeaderName, name), headerRow{in.Values})
	})
	return &route.Reply{}, err
}

func (s *Store) deleteHeader(ctx context.Context, _ *route.Call, in headerRequest) (route.None, error) {
	name, err := in.name()
	if err != nil {
		return route.None{}, err
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(configKey(uiHeaderName, name)) })
	return route.None{}, err
}
