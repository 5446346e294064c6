package httpd_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/httpd"
)

func TestRequestsAreKnownWhileTheyFly(t *testing.T) {
	var f httpd.InFlight
	began := time.Unix(1_000_000, 0)
	var land []func()
	for _, id := range []string{"a1", "b1", "c1", "d2"} { // three of them in one list
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://h/v1/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "10.0.0.1:5"
		land = append(land, f.Track(id, r, began))
	}
	flying := func() map[string]string {
		paths := map[string]string{}
		for id, f := range f.All() {
			if f.Method != "GET" || f.ClientAddr != "10.0.0.1:5" || !f.StartTime.Equal(began) {
				t.Errorf("request %s is described as %+v", id, f)
			}
			paths[id] = f.Path
		}
		return paths
	}
	all := map[string]string{"a1": "/v1/a1", "b1": "/v1/b1", "c1": "/v1/c1", "d2": "/v1/d2"}
	for _, i := range []int{-1, 1, 0, 2, 3} { // the middle of a list, its end, what is left
		if i >= 0 {
			land[i]()
			delete(all, []string{"a1", "b1", "c1", "d2"}[i])
		}
		if diff := cmp.Diff(all, flying()); diff != "" {
			t.Errorf("after the end of %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestDeadline(t *testing.T) {
	type key struct{}
	start := func(parent context.Context, limit time.Duration) (context.Context, func()) {
		return httpd.WithDeadline(parent, clock.System{}, limit)
	}
	for name, test := range map[string]func(t *testing.T){
		"nobody waits, and it passes": func(t *testing.T) {
			ctx, _ := start(t.Context(), time.Second)
			if err := ctx.Err(); err != nil {
				t.Errorf("at the start: %v", err)
			}
			<-time.After(time.Second)
			if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v after the deadline", err)
			}
		},
		"somebody waits, and it passes": func(t *testing.T) {
			ctx, _ := start(t.Context(), time.Second)
			began := time.Now()
			<-ctx.Done()
			if took := time.Since(began); took != time.Second || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("ended after %v with %v", took, ctx.Err())
			}
		},
		"the request is answered": func(t *testing.T) {
			ctx, finish := start(t.Context(), time.Second)
			finish()
			<-ctx.Done()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("got %v", ctx.Err())
			}
		},
		"the request is answered while somebody waits": func(t *testing.T) {
			ctx, finish := start(t.Context(), time.Second)
			done := ctx.Done()
			finish()
			<-done
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("got %v", ctx.Err())
			}
		},
		"the request is answered, unwaited for": func(t *testing.T) {
			ctx, finish := start(t.Context(), time.Second)
			finish()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("got %v", ctx.Err())
			}
		},
		"the client hangs up": func(t *testing.T) {
			parent, hangUp := context.WithCancel(t.Context())
			ctx, _ := start(parent, time.Second)
			hangUp()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("got %v", ctx.Err())
			}
			<-ctx.Done()
		},
		"a context derived from it ends with it": func(t *testing.T) {
			ctx, _ := start(context.WithValue(t.Context(), key{}, "v"), time.Second)
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			<-child.Done()
			if !errors.Is(child.Err(), context.DeadlineExceeded) || child.Value(key{}) != "v" {
				t.Errorf("got %v and value %v", child.Err(), child.Value(key{}))
			}
		},
		"an earlier deadline counts": func(t *testing.T) {
			parent, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			ctx, _ := start(parent, time.Minute)
			want, _ := parent.Deadline()
			if at, ok := ctx.Deadline(); !ok || !at.Equal(want) {
				t.Errorf("got %v", at)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}
