package backup

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
)

// azureSettings name a container and say how to reach it.
type azureSettings struct {
	Container   string `json:"container"`
	Account     string `json:"account,omitempty"`
	Key         string `json:"key,omitempty"`
	Environment string `json:"environment,omitempty"`
	Endpoint    string `json:"endpoint,omitempty"`
}

// azureClouds are the hosts of blobs, by the cloud's name in lower case.
func azureClouds() map[string]string {
	return map[string]string{
		"": "blob.core.windows.net", "azurepubliccloud": "blob.core.windows.net",
		"azureusgovernmentcloud": "blob.core.usgovcloudapi.net", "azurechinacloud": "blob.core.chinacloudapi.cn",
	}
}

func (s azureSettings) check() error {
	_, known := azureClouds()[strings.ToLower(s.Environment)]
	key, err := base64.StdEncoding.DecodeString(s.Key)
	u, uerr := url.Parse(s.Endpoint)
	switch {
	case s.Container == "" || s.Account == "":
		return fault.New(fault.Invalid, "'azure_container_name' and 'azure_account_name' are required")
	case err != nil || len(key) == 0:
		return fault.New(fault.Invalid, "'azure_account_key' is required: one of the account's keys, in base64")
	case !known:
		return fault.New(fault.Invalid, "'azure_blob_environment' must be azurepubliccloud, azureusgovernmentcloud or azurechinacloud")
	case s.Endpoint != "" && (uerr != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != ""):
		return fault.New(fault.Invalid, "'azure_endpoint' must be the URL of a server")
	}
	return nil
}

func (s azureSettings) shown() any {
	return struct {
		Container   string `json:"azure_container_name"`
		Account     string `json:"azure_account_name"`
		Environment string `json:"azure_blob_environment"`
		Endpoint    string `json:"azure_endpoint"`
	}{s.Container, s.Account, s.Environment, s.Endpoint}
}

// azurePlace is a folder of a container, by the REST API of Azure Blob Storage
// (https://learn.microsoft.com/rest/api/storageservices/).
type azurePlace struct {
	azureSettings
	folder string
	base   *url.URL // of the container
	key    []byte
	client *http.Client
	clock  clock.Clock
}

// azureVersion is the version of the API that is spoken.
const azureVersion = "2021-12-02"

func newAzure(c schedule, client *http.Client, clk clock.Clock) (*azurePlace, error) {
	p := &azurePlace{azureSettings: c.Azure, folder: folder(c.PathPrefix), client: client, clock: clk}
	var err error
	if p.key, err = base64.StdEncoding.DecodeString(p.Key); err != nil {
		return nil, fault.New(fault.Invalid, "'azure_account_key' is not base64")
	}
	base := p.Endpoint
	if base == "" {
		base = "https://" + p.Account + "." + azureClouds()[strings.ToLower(p.Environment)]
	}
	if p.base, err = url.Parse(strings.TrimSuffix(base, "/") + "/" + url.PathEscape(p.Container)); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the settings of the object store make no URL")
	}
	return p, nil
}

// A blob that is larger than blockSize is put together from blocks; it is to
// be seen only when the list of them is put. There may be 50,000.
const blockSize = 64 << 20

func (p *azurePlace) put(ctx context.Context, name string, f *os.File, size int64) (string, error) {
	blob := p.base.JoinPath(p.folder + name)
	var list struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}
	for at := int64(0); at < size; at += blockSize {
		// Ids are base64, and all of one length.
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d", len(list.Latest)))
		length := min(blockSize, size-at)
		query := url.Values{"comp": {"block"}, "blockid": {id}}
		if err := p.send(ctx, http.MethodPut, blob, query, io.NewSectionReader(f, at, length), length, nil); err != nil {
			return "", err
		}
		list.Latest = append(list.Latest, id)
	}
	body, err := xml.Marshal(list)
	if err != nil {
		return "", err
	}
	err = p.send(ctx, http.MethodPut, blob, url.Values{"comp": {"blocklist"}}, strings.NewReader(string(body)), int64(len(body)), nil)
	return blob.String(), err
}

func (p *azurePlace) list(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	query := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {p.folder + prefix}}
	for {
		var page struct {
			Blobs struct {
				Blob []struct{ Name string }
			}
			NextMarker string
		}
		if err := p.send(ctx, http.MethodGet, p.base, query, nil, 0, &page); err != nil {
			return nil, err
		}
		for _, b := range page.Blobs.Blob {
			names = append(names, strings.TrimPrefix(b.Name, p.folder))
		}
		if page.NextMarker == "" {
			return names, nil
		}
		query.Set("marker", page.NextMarker)
	}
}

func (p *azurePlace) remove(ctx context.Context, name string) error {
	return p.send(ctx, http.MethodDelete, p.base.JoinPath(p.folder+name), nil, nil, 0, nil)
}

func (p *azurePlace) send(ctx context.Context, method string, at *url.URL, query url.Values, body io.Reader, size int64, dst any) error {
	u := *at
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the settings of the object store make no URL")
	}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body), size
	}
	req.Header.Set("X-Ms-Date", p.clock.Now().UTC().Format(http.TimeFormat))
	req.Header.Set("X-Ms-Version", azureVersion)
	req.Header.Set("Authorization", "SharedKey "+p.Account+":"+signAzure(p.key, p.Account, req))
	res, err := do(p.client, req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if dst == nil {
		return nil
	}
	if err := xml.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(dst); err != nil {
		return fault.Wrap(fault.Upstream, err, "the object store's answer cannot be read")
	}
	return nil
}

// signAzure returns the signature of a request by the Shared Key scheme
// (https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key).
func signAzure(key []byte, account string, req *http.Request) string {
	m := hmac.New(sha256.New, key)
	io.WriteString(m, stringToSign(account, req))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// stringToSign is what the signature covers: the method, eleven headers by
// place, the headers of Microsoft's own, and the resource with its query.
func stringToSign(account string, req *http.Request) string {
	length := ""
	if req.ContentLength > 0 {
		length = strconv.FormatInt(req.ContentLength, 10)
	}
	h := req.Header.Get
	lines := []string{
		req.Method, h("Content-Encoding"), h("Content-Language"), length, h("Content-MD5"), h("Content-Type"), h("Date"),
		h("If-Modified-Since"), h("If-Match"), h("If-None-Match"), h("If-Unmodified-Since"), h("Range"),
	}
	var own []string
	for name, values := range req.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			own = append(own, name+":"+strings.TrimSpace(strings.Join(values, ",")))
		}
	}
	slices.Sort(own)
	lines = append(lines, own...)
	lines = append(lines, "/"+account+req.URL.EscapedPath())
	query := req.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := slices.Sorted(slices.Values(query[name]))
		lines = append(lines, strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	return strings.Join(lines, "\n")
}
