package jwt

import (
	"errors"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

// leeway is a tolerance in whole seconds: zero stands for the usual one, and
// anything below zero for none.
type leeway int64

// UnmarshalJSON reads the lenient forms of a duration, and a negative number.
func (l *leeway) UnmarshalJSON(raw []byte) error {
	if n, err := wire.ParseInt(raw); err == nil && n < 0 {
		if n < -maxLeeway {
			return errors.New("is out of range")
		}
		*l = leeway(n)
		return nil
	}
	d, err := wire.ParseDuration(raw)
	*l = leeway(d / time.Second)
	return err
}

// maxLeeway bounds a negative leeway, whose size means nothing.
const maxLeeway = 1 << 31

// MarshalJSON writes whole seconds.
func (l leeway) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, int64(l), 10), nil }

// or is the tolerance, given the usual one.
func (l leeway) or(usual time.Duration) time.Duration {
	switch {
	case l < 0:
		return 0
	case l == 0:
		return usual
	}
	return time.Duration(l) * time.Second
}

// The tolerances of a role that sets none.
const (
	usualLeeway    = 150 * time.Second
	usualClockSkew = time.Minute
)
