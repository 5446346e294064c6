package httpd

import (
	"net/http"
	"sync"
	"time"
)

// InFlight knows the requests that are being answered. The zero InFlight is
// ready for use.
type InFlight struct{ lists [16]flights }

// flights are some of the requests, in a list that their own memory forms, so
// that a request costs neither an allocation nor a map's growth. There are
// several lists so that cores seldom wait for each other.
type flights struct {
	mu    sync.Mutex
	first *flying // guarded by mu
	_     [48]byte
}

// flying is a request in a list.
type flying struct {
	id         string
	http       *http.Request
	began      time.Time
	next, prev *flying // guarded by the list's mu
}

// Flight is a request that is being answered.
type Flight struct {
	StartTime  time.Time `json:"start_time"`
	ClientAddr string    `json:"client_remote_address"`
	Path       string    `json:"request_path"`
	Method     string    `json:"request_method"`
}

// list returns the list of a request. Its id ends with random digits.
func (f *InFlight) list(id string) *flights { return &f.lists[id[len(id)-1]%uint8(len(f.lists))] }

// Any reports whether any request is being answered.
func (f *InFlight) Any() bool {
	for i := range f.lists {
		l := &f.lists[i]
		l.mu.Lock()
		busy := l.first != nil
		l.mu.Unlock()
		if busy {
			return true
		}
	}
	return false
}

// add takes a request into the list, until it is removed.
func (f *InFlight) add(r *flying) {
	l := f.list(r.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.next = l.first; r.next != nil {
		r.next.prev = r
	}
	l.first = r
}

// remove takes an answered request out of its list.
func (f *InFlight) remove(r *flying) {
	l := f.list(r.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.next != nil {
		r.next.prev = r.prev
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		l.first = r.next
	}
}

// All returns the requests by id.
func (f *InFlight) All() map[string]Flight {
	all := map[string]Flight{}
	for i := range f.lists {
		f.lists[i].each(func(r *flying) {
			all[r.id] = Flight{StartTime: r.began, ClientAddr: r.http.RemoteAddr, Path: r.http.URL.Path, Method: r.http.Method}
		})
	}
	return all
}

func (l *flights) each(visit func(*flying)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := l.first; r != nil; r = r.next {
		visit(r)
	}
}
