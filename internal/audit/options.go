package audit

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// Device describes an audit device, as it is stored and listed.
type Device struct {
	// Path is the device's name with a closing slash, "file/".
	Path        string
	Type        string
	Description string
	Local       bool
	// Options are the operator's, kept as they were given.
	Options map[string]string
	// Declared says that the device stands in this node's configuration file
	// and not in the store, so the API cannot remove it.
	Declared bool
}

type fsyncPolicy string

const (
	fsyncNone     fsyncPolicy = "none"     // the system decides when
	fsyncInterval fsyncPolicy = "interval" // a line is durable a second later
	fsyncAlways   fsyncPolicy = "always"   // before the request goes on
)

// options are a device's options that concern every type of sink.
type options struct {
	format   format
	fsync    fsyncPolicy
	deadline time.Duration // zero is the broker's
}

// The names of options. Those of a type of sink are known to that type.
var commonOptions = []string{"format", "prefix", "log_raw", "hmac_accessor", "elide_list_responses", "fsync", "deadline", "skip_test"}

// maxPrefix bounds the text before each line.
const maxPrefix = 256

func parseOptions(o optionSet) (options, error) {
	out := options{format: format{hmacAccessor: true}, fsync: fsyncInterval}
	switch f := o["format"]; f {
	case "", "json":
	case "jsonx":
		return out, fault.New(fault.Invalid, `audit format "jsonx" is not supported: use "json"`)
	default:
		return out, fault.New(fault.Invalid, `unknown audit format: use "json"`)
	}
	out.format.prefix = o["prefix"]
	if len(out.format.prefix) > maxPrefix {
		return out, fault.Newf(fault.Invalid, "prefix is longer than %d bytes", maxPrefix)
	}
	if strings.ContainsFunc(out.format.prefix, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\ufffd' }) {
		return out, fault.New(fault.Invalid, "prefix must be printable text without line ends")
	}
	var err error
	for name, dst := range map[string]*bool{"log_raw": &out.format.raw, "hmac_accessor": &out.format.hmacAccessor, "elide_list_responses": &out.format.elide} {
		if *dst, err = o.bool(name, *dst); err != nil {
			return out, err
		}
	}
	if p := fsyncPolicy(o["fsync"]); p != "" {
		if !slices.Contains([]fsyncPolicy{fsyncNone, fsyncInterval, fsyncAlways}, p) {
			return out, fault.New(fault.Invalid, `fsync must be "none", "interval" or "always"`)
		}
		out.fsync = p
	}
	out.deadline, err = o.duration("deadline")
	return out, err
}

// optionSet reads options. Errors name the option and never repeat its value.
type optionSet map[string]string

func (o optionSet) bool(name string, def bool) (bool, error) {
	v, ok := o[name]
	if !ok || v == "" {
		return def, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return def, fault.Newf(fault.Invalid, "option %q must be true or false", name)
	}
	return b, nil
}

func (o optionSet) duration(name string) (time.Duration, error) {
	v, ok := o[name]
	if !ok || v == "" {
		return 0, nil
	}
	d, err := wire.ParseDurationText(v)
	if err != nil || d < 0 {
		return 0, fault.Newf(fault.Invalid, "option %q must be a duration such as 24h", name)
	}
	return d, nil
}

// size reads a number of bytes, with an optional unit.
func (o optionSet) size(name string) (int64, error) {
	v := strings.TrimSpace(strings.ToLower(o[name]))
	if v == "" {
		return 0, nil
	}
	unit := int64(1)
	for _, u := range [...]struct {
		suffix string
		factor int64
	}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"kb", 1000}, {"mb", 1000_000}, {"gb", 1000_000_000}} {
		if rest, ok := strings.CutSuffix(v, u.suffix); ok {
			v, unit = strings.TrimSpace(rest), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fault.Newf(fault.Invalid, "option %q must be a size such as 104857600 or 100MiB", name)
	}
	return n * unit, nil
}

func (o optionSet) count(name string) (int, error) {
	v := o[name]
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, fault.Newf(fault.Invalid, "option %q must be a whole number", name)
	}
	return int(n), nil
}

// fileMode reads permissions in octal. Only reading and writing can be given:
// an audit file never becomes a program.
func (o optionSet) fileMode(name string) (mode os.FileMode, given bool, err error) {
	v := o[name]
	if v == "" {
		return 0o600, false, nil
	}
	n, err := strconv.ParseUint(v, 8, 32)
	if err != nil || n&^0o7777 != 0 {
		return 0, false, fault.Newf(fault.Invalid, "option %q must be octal permissions such as 0600", name)
	}
	if n&^0o666 != 0 {
		return 0, false, fault.Newf(fault.Invalid, "option %q must not make an audit file executable", name)
	}
	// 0000 means that the permissions of a file that exists are left alone.
	if n == 0 {
		return 0o600, false, nil
	}
	return os.FileMode(n), true, nil
}

// only refuses options that nobody would read.
func (o optionSet) only(known ...[]string) error {
	all := slices.Concat(known...)
	slices.Sort(all)
	for name := range o {
		if !slices.Contains(all, name) {
			return fault.Newf(fault.Invalid, "unknown audit option %q: the options are %s", name, strings.Join(all, ", "))
		}
	}
	return nil
}
