package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// Routes are the endpoints of audit below sys/.
func (b *Broker) Routes() []route.Endpoint {
	return route.Bind(b, []route.Endpoint{
		route.Read("audit", (*Broker).listDevices, route.Sudo(), route.Flat(), route.RootOnly(),
			route.Doc{Summary: "List the enabled audit devices."}),
		route.Write("audit/{path...}", (*Broker).enableDevice, route.Sudo(), route.RootOnly(),
			route.Doc{Summary: "Enable an audit device."}),
		route.Delete("audit/{path...}", (*Broker).disableDevice, route.Sudo(), route.RootOnly(),
			route.Doc{Summary: "Disable an audit device."}),
		route.Write("audit-hash/{path...}", (*Broker).hash, route.Pure(), route.Flat(), route.RootOnly(),
			route.Doc{Summary: "Hash a string as an audit device does.", Description: "The answer is what the device writes for that string, so that it can be searched for in its log."}),
		route.Read("config/auditing/key", (*Broker).readKey, route.RootOnly(),
			route.Doc{Summary: "Read the key that verifies audit logs.", Description: "Checkpoint lines are signed with its private half. Keep a copy apart from the server."}),
		route.Read("config/auditing/request-headers", (*Broker).listHeaders, route.Sudo(), route.Flat(), route.RootOnly(),
			route.Doc{Summary: "List the request headers that audit entries show."}),
		route.Read("config/auditing/request-headers/{header}", (*Broker).readHeader, route.Sudo(), route.Flat(), route.RootOnly(),
			route.Doc{Summary: "Read how a request header is shown in audit entries."}),
		route.Write("config/auditing/request-headers/{header}", (*Broker).writeHeader, route.Sudo(), route.RootOnly(),
			route.Doc{Summary: "Show a request header in audit entries."}),
		route.Delete("config/auditing/request-headers/{header}", (*Broker).deleteHeader, route.Sudo(), route.RootOnly(),
			route.Doc{Summary: "No longer show a request header in audit entries."}),
	})
}

type noInput struct{}

type pathRequest struct {
	Path string `path:"path" doc:"Path of the audit device."`
}

type enableRequest struct {
	Path        string            `path:"path" doc:"Path of the audit device."`
	Type        string            `json:"type" doc:"Type of the device: file."`
	Description string            `json:"description" doc:"What the device is for."`
	Local       bool              `json:"local" doc:"Whether the device is left out of replication."`
	Options     map[string]string `json:"options" doc:"Options of the device, such as file_path."`
}

// deviceView is a device as the API shows it.
type deviceView struct {
	Description string            `json:"description"`
	Local       bool              `json:"local"`
	Options     map[string]string `json:"options"`
	Path        string            `json:"path"`
	Type        string            `json:"type"`
}

type hashRequest struct {
	Path  string `path:"path" doc:"Path of the audit device."`
	Input string `json:"input" sensitive:"true" doc:"String to hash."`
}

type hashResponse struct {
	Hash string `json:"hash"`
}

type keyResponse struct {
	PublicKey string `json:"public_key" doc:"Ed25519 key, in base64."`
	KeyID     string `json:"key_id" doc:"Name of the key in checkpoint lines."`
}

type headerRequest struct {
	Header string `path:"header" doc:"Name of the header."`
}

type writeHeaderRequest struct {
	Header string `path:"header" doc:"Name of the header."`
	HMAC   bool   `json:"hmac" doc:"Whether the values are hashed."`
}

type headersResponse struct {
	Headers map[string]headerRow `json:"headers"`
}

func (b *Broker) listDevices(context.Context, *route.Call, noInput) (map[string]deviceView, error) {
	out := map[string]deviceView{}
	for _, d := range b.Devices() {
		out[d.Path] = deviceView{Description: d.Description, Local: d.Local, Options: d.Options, Path: d.Path, Type: d.Type}
	}
	return out, nil
}

func (b *Broker) enableDevice(ctx context.Context, _ *route.Call, in enableRequest) (route.None, error) {
	if !b.cfg.AllowAPI {
		return route.None{}, errDeclareInstead
	}
	return route.None{}, b.Enable(ctx, Device{Path: in.Path, Type: in.Type, Description: in.Description, Local: in.Local, Options: in.Options})
}

var errDeclareInstead = fault.New(fault.Invalid, "this server does not let the API change audit devices: declare them in its configuration file")

func (b *Broker) disableDevice(ctx context.Context, _ *route.Call, in pathRequest) (route.None, error) {
	if !b.cfg.AllowAPI {
		return route.None{}, errDeclareInstead
	}
	return route.None{}, b.Disable(ctx, in.Path)
}

func (b *Broker) hash(_ context.Context, _ *route.Call, in hashRequest) (hashResponse, error) {
	if in.Input == "" {
		return hashResponse{}, fault.New(fault.Invalid, `the "input" parameter is empty`)
	}
	h, err := b.Hash(in.Path, in.Input)
	return hashResponse{h}, err
}

func (b *Broker) readKey(context.Context, *route.Call, noInput) (keyResponse, error) {
	if b.cfg.Signer == nil {
		return keyResponse{}, fault.New(fault.NotFound, "")
	}
	pub, _ := b.cfg.Signer.Public().(ed25519.PublicKey) // New has checked its type
	return keyResponse{PublicKey: base64.StdEncoding.EncodeToString(pub), KeyID: b.keyID}, nil
}

func (b *Broker) listHeaders(ctx context.Context, _ *route.Call, _ noInput) (headersResponse, error) {
	out := headersResponse{Headers: map[string]headerRow{}}
	list, err := b.Headers(ctx)
	if err != nil {
		return out, err
	}
	for name, hmac := range list {
		out.Headers[name] = headerRow{HMAC: hmac}
	}
	return out, nil
}

func (b *Broker) readHeader(ctx context.Context, _ *route.Call, in headerRequest) (map[string]headerRow, error) {
	list, err := b.Headers(ctx)
	if err != nil {
		return nil, err
	}
	for name, hmac := range list {
		if strings.EqualFold(name, in.Header) {
			return map[string]headerRow{in.Header: {HMAC: hmac}}, nil
		}
	}
	return nil, fault.New(fault.Invalid, "could not find header in config")
}

func (b *Broker) writeHeader(ctx context.Context, _ *route.Call, in writeHeaderRequest) (route.None, error) {
	return route.None{}, b.AuditHeader(ctx, in.Header, in.HMAC)
}

func (b *Broker) deleteHeader(ctx context.Context, _ *route.Call, in headerRequest) (route.None, error) {
	return route.None{}, b.DropHeader(ctx, in.Header)
}
