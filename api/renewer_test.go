package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cofferhq/coffer/api"
	"github.com/cofferhq/coffer/internal/clock"
)

// transport answers without a network, so that time can be simulated.
type transport func(*http.Request) (int, string)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := f(r)
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func simulated(t *testing.T, f transport) *api.Client {
	t.Helper()
	return newClient(t, api.Config{Address: "http://test", Token: "tok", Middleware: func(http.RoundTripper) http.RoundTripper { return f }})
}

func tokenFor(seconds int, renewable bool) *api.Secret {
	return &api.Secret{Auth: &api.Auth{ClientToken: "tok", LeaseDuration: seconds, Renewable: renewable}}
}

func TestRenewerRenewsUntilTheMaximum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := clock.System{}.Now()
		grants := []int{3600, 3600, 600}
		var renewals int
		c := simulated(t, func(r *http.Request) (int, string) {
			if r.Method != "PUT" || r.URL.Path != "/v1/auth/token/renew-self" {
				t.Errorf("got %s %s", r.Method, r.URL)
			}
			renewals++
			return 200, fmt.Sprintf(`{"auth":{"client_token":"tok","lease_duration":%d,"renewable":true}}`, grants[renewals-1])
		})
		r := api.Renewer{Client: c, Secret: tokenFor(3600, true)}
		if err := r.Run(t.Context()); !errors.Is(err, api.ErrExpiring) {
			t.Errorf("got %v", err)
		}
		if renewals != len(grants) {
			t.Errorf("%d renewals, want %d", renewals, len(grants))
		}
		// Three times two thirds of an hour, and two thirds of the last ten
		// minutes, each a little less at random.
		if passed := time.Since(start); passed > 127*time.Minute || passed < 108*time.Minute {
			t.Errorf("ended after %v", passed)
		}
	})
}

func TestRenewerOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, failures int
		ctx, cancel := context.WithCancel(t.Context())
		c := simulated(t, func(r *http.Request) (int, string) {
			calls++
			if calls < 5 {
				return 500, ""
			}
			return 200, `{"lease_id":"pg/1","lease_duration":3600,"renewable":true}`
		})
		r := api.Renewer{
			Client: c, Secret: &api.Secret{LeaseID: "pg/1", LeaseDuration: 3600, Renewable: true},
			Failed:  func(error) { failures++ },
			Renewed: func(*api.Secret) { cancel() },
		}
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if failures != 4 {
			t.Errorf("%d failures were reported, want 4", failures)
		}
	})
}

func TestRenewerEnds(t *testing.T) {
	refuse := func(status int) transport {
		return func(*http.Request) (int, string) { return status, `{"errors":["no"]}` }
	}
	for _, tc := range []struct {
		name   string
		answer transport
		secret *api.Secret
		want   error
		within time.Duration
	}{
		{"when the server refuses", refuse(403), tokenFor(90, true), api.ErrPermissionDenied, 61 * time.Second},
		{"when the outage lasts", refuse(500), tokenFor(90, true), api.ErrExpiring, 91 * time.Second},
		{"before a token that cannot be renewed expires", refuse(500), tokenFor(90, false), api.ErrExpiring, 61 * time.Second},
		{"at once without a lease", refuse(500), &api.Secret{}, api.ErrNotLeased, 0},
		{"at once without a secret", refuse(500), nil, api.ErrNotLeased, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := clock.System{}.Now()
				r := api.Renewer{Client: simulated(t, tc.answer), Secret: tc.secret}
				if err := r.Run(t.Context()); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if passed := time.Since(start); passed > tc.within {
					t.Errorf("ended after %v", passed)
				}
			})
		})
	}
}

func TestRenewerWaitsWithATokenThatNeverExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
		defer cancel()
		r := api.Renewer{Client: simulated(t, nil), Secret: tokenFor(0, false)}
		if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := api.Config{
			Address: "http://test", RateLimit: 10, Burst: 5,
			Middleware: func(http.RoundTripper) http.RoundTripper {
				return transport(func(*http.Request) (int, string) { return 200, okBody })
			},
		}
		c := newClient(t, cfg)
		start := clock.System{}.Now()
		for range 25 {
			if _, err := c.Read(t.Context(), "a", nil); err != nil {
				t.Fatal(err)
			}
		}
		if passed := time.Since(start); passed < 1900*time.Millisecond || passed > 2100*time.Millisecond {
			t.Errorf("25 requests took %v", passed)
		}
		time.AfterFunc(time.Second, func() {})
		synctest.Wait()
	})
}

func TestBackoffGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		c := newClient(t, api.Config{Address: "http://test", MaxRetries: 4, Middleware: func(http.RoundTripper) http.RoundTripper {
			return transport(func(*http.Request) (int, string) { at = append(at, clock.System{}.Now()); return 503, "" })
		}})
		if _, err := c.Read(t.Context(), "a", nil); !errors.Is(err, api.ErrUnavailable) {
			t.Fatal(err)
		}
		if len(at) != 5 {
			t.Fatalf("%d attempts", len(at))
		}
		for i := 1; i < len(at); i++ {
			full := 250 * time.Millisecond << (i - 1)
			if d := at[i].Sub(at[i-1]); d < full/2 || d > full {
				t.Errorf("pause %d is %v, want between %v and %v", i, d, full/2, full)
			}
		}
	})
}
