package config

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a value that prints as a fixed text, in every format and encoding.
// Convert it to a string to use it.
type Secret string

// String hides the value.
func (Secret) String() string { return redacted }

// Format hides the value from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue hides the value from package log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the value from encoders such as JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func secret(to *Secret) key {
	return parsed(to, "a string", func(s string) (Secret, error) { return Secret(s), nil })
}
