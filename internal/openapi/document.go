package openapi

// document is an OpenAPI document, as far as it is used here.
type document struct {
	OpenAPI    string               `json:"openapi"`
	Info       info                 `json:"info"`
	Paths      map[string]*pathItem `json:"paths"`
	Components struct {
		SecuritySchemes map[string]securityScheme `json:"securitySchemes"`
	} `json:"components"`
}

type info struct {
	Title       string  `json:"title"`
	Description string  `json:"description"`
	Version     string  `json:"version"`
	License     license `json:"license"`
}

type license struct {
	Name string `json:"name"`
}

type securityScheme struct {
	Type string `json:"type"`
	In   string `json:"in"`
	Name string `json:"name"`
}

// tokenScheme names how a request is authenticated.
const tokenScheme = "token"

type pathItem struct {
	// Unauthenticated and Sudo hold for all operations of the path.
	Unauthenticated bool        `json:"x-vault-unauthenticated,omitempty"`
	Sudo            bool        `json:"x-vault-sudo,omitempty"`
	CreateSupported bool        `json:"x-vault-createSupported,omitempty"`
	Parameters      []parameter `json:"parameters,omitempty"`
	Get             *operation  `json:"get,omitempty"`
	Post            *operation  `json:"post,omitempty"`
	Delete          *operation  `json:"delete,omitempty"`
	Patch           *operation  `json:"patch,omitempty"`
}

type operation struct {
	Summary         string                `json:"summary,omitempty"`
	Description     string                `json:"description,omitempty"`
	OperationID     string                `json:"operationId"`
	Tags            []string              `json:"tags"`
	MountType       string                `json:"x-vault-mount-type"`
	Unauthenticated bool                  `json:"x-vault-unauthenticated,omitempty"`
	Sudo            bool                  `json:"x-vault-sudo,omitempty"`
	Security        []map[string][]string `json:"security"`
	Parameters      []parameter           `json:"parameters,omitempty"`
	RequestBody     *requestBody          `json:"requestBody,omitempty"`
	Responses       map[string]response   `json:"responses"`
}

type parameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"`
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Deprecated  bool    `json:"deprecated,omitempty"`
	Schema      *schema `json:"schema"`
}

type requestBody struct {
	Content map[string]mediaType `json:"content"`
}

type response struct {
	Description string               `json:"description"`
	Content     map[string]mediaType `json:"content,omitempty"`
}

type mediaType struct {
	Schema *schema `json:"schema"`
}

type schema struct {
	Type         string             `json:"type,omitempty"`
	Format       string             `json:"format,omitempty"`
	Description  string             `json:"description,omitempty"`
	Enum         []string           `json:"enum,omitempty"`
	Default      any                `json:"default,omitempty"`
	Deprecated   bool               `json:"deprecated,omitempty"`
	Nullable     bool               `json:"nullable,omitempty"`
	Items        *schema            `json:"items,omitempty"`
	Properties   map[string]*schema `json:"properties,omitempty"`
	Additional   *schema            `json:"additionalProperties,omitempty"`
	DisplayAttrs *displayAttrs      `json:"x-vault-displayAttrs,omitempty"`
}

type displayAttrs struct {
	Sensitive bool `json:"sensitive"`
}

// content is a body in JSON.
func content(s *schema) map[string]mediaType { return map[string]mediaType{"application/json": {s}} }
