package config

// Dev describes a development server.
type Dev struct{}
