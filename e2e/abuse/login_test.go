package abuse_test

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// attempts is how many failed logins lock a user out.
const attempts = 5

// spelled returns spellings of a name that some directory or fold would take for
// the same.
func spelled(name string) []string {
	var all []string
	for mask := range 1 << len(name) {
		b := []byte(name)
		for i := range b {
			if mask&(1<<i) != 0 {
				b[i] = strings.ToUpper(string(b[i]))[0]
			}
		}
		all = append(all, string(b))
	}
	return append(all, name+"%20", "%20"+name, name+"%09", name+"%c2%a0", name+"%00", name+"%e2%80%8b", strings.ReplaceAll(name, "s", "%c5%bf"),
		strings.ReplaceAll(name, "k", "%e2%84%aa"), strings.ReplaceAll(name, "a", "%ef%bd%81"), strings.ReplaceAll(name, "i", "%c4%b1"), name+"%cc%81", name+".", name+"/")
}

// TestD4_OneUserHasOneCounter tries every spelling of a user's name with wrong
// passwords: together they get as many tries as one, whatever each is taken for.
func TestD4_OneUserHasOneCounter(t *testing.T) {
	clk := clock.NewFake(time.Time{})
	w := newWorld(t, servertest.Options{Clock: clk})
	w.user("askia", "right-password", nil)
	tries := 0
	for _, name := range spelled("askia") {
		before := w.locked("askia")
		_ = w.wirePost("/v1/auth/userpass/login/"+name, `{"password":"wrong-password"}`)
		if !before {
			tries++
		}
	}
	if !w.locked("askia") {
		t.Fatal("the user is not locked out")
	}
	// Spellings that are no name of a user at all do not count and do not log in.
	other := 0
	for _, name := range spelled("askia") {
		if got := w.wirePost("/v1/auth/userpass/login/"+name, `{"password":"right-password"}`); got == http.StatusOK {
			t.Errorf("%q logs in while the user is locked out", name)
			other++
		}
	}
	if tries > attempts {
		t.Errorf("%d tries before the lock, want at most %d", tries, attempts)
	}
	clk.Advance(15*time.Minute + time.Second)
	w.MustAs("", http.StatusOK, http.MethodPost, "auth/userpass/login/askia", map[string]any{"password": "right-password"})
}

// locked reports whether a user is on the list of those locked out.
func (w *world) locked(name string) bool {
	w.t.Helper()
	return strings.Contains(string(w.Must(http.StatusOK, http.MethodGet, "sys/locked-users", nil).Body), `"`+name+`"`)
}

// wirePost posts to a path that no HTTP library would send.
func (w *world) wirePost(target, body string) int {
	w.t.Helper()
	a := w.Do(http.MethodPost, strings.TrimPrefix(target, "/v1/"), "", body)
	return a.Status
}

// TestD6_D7_UnknownUsersLookLikeWrongPasswords compares answers and headers byte
// for byte, for users that are there, are not, are locked out or have no
// password, and roles likewise.
func TestD6_D7_UnknownUsersLookLikeWrongPasswords(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	for _, name := range []string{"there", "bound", "lock"} {
		settings := map[string]any{}
		if name == "bound" {
			settings["token_bound_cidrs"] = "192.0.2.0/24"
		}
		w.user(name, "right-password", settings)
	}
	w.Must(http.StatusNoContent, http.MethodPost, "auth/approle/role/r", map[string]any{"token_policies": "x"})
	rid, _ := w.Must(http.StatusOK, http.MethodGet, "auth/approle/role/r/role-id", nil).Data()["role_id"].(string)
	ask := func(path string, body any) string {
		a := w.Do(http.MethodPost, path, "", body)
		h := a.Header.Clone()
		h.Del("Date")
		return fmt.Sprint(a.Status, h, string(a.Body))
	}
	wrong := map[string]any{"password": "wrong-password"}
	want := ask("auth/userpass/login/there", wrong)
	for _, name := range []string{"absent", "bound", "ABSENT", "Absent", "a.b@c"} {
		if diff := cmp.Diff(want, ask("auth/userpass/login/"+name, wrong)); diff != "" {
			t.Errorf("a login as %q tells more (-wrong password +this):\n%s", name, diff)
		}
	}
	for range attempts {
		ask("auth/userpass/login/lock", wrong)
		ask("auth/userpass/login/absent-too", wrong)
	}
	for _, body := range []map[string]any{wrong, {"password": "right-password"}} {
		if diff := cmp.Diff(ask("auth/userpass/login/lock", body), ask("auth/userpass/login/absent-too", wrong)); diff != "" {
			t.Errorf("a locked user and an absent one differ:\n%s", diff)
		}
	}
	unlocked := ask("auth/approle/login", map[string]any{"role_id": rid, "secret_id": "wrong"})
	for what, body := range map[string]map[string]any{"no role": {"role_id": "absent", "secret_id": "wrong"}} {
		if got := ask("auth/approle/login", body); !strings.HasPrefix(got, "400") || strings.Contains(got, "absent") {
			t.Errorf("approle, %s: got %s; a wrong secret id gets %s", what, got, unlocked)
		}
	}
}

// TestD6_LoginsTakeAlikeLong compares the median time of refusals for users that
// are there and are not. It is coarse: an early return skips the hash, which is
// most of the time.
func TestD6_LoginsTakeAlikeLong(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusNoContent, http.MethodPost, "sys/auth/userpass/tune", map[string]any{"user_lockout_config": map[string]any{"lockout_disable": true}})
	w.user("there", "right-password", nil)
	clk := clock.System{}
	timed := func(name string) time.Duration {
		var all []time.Duration
		for range 9 {
			start := clk.Now()
			w.Do(http.MethodPost, "auth/userpass/login/"+name, "", map[string]any{"password": "wrong-password"})
			all = append(all, clk.Now().Sub(start))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	times := map[string]time.Duration{"there": timed("there"), "absent": timed("absent"), "ABSENT": timed("ABSENT")}
	names := []string{"there", "absent", "ABSENT"}
	sort.Slice(names, func(i, j int) bool { return times[names[i]] < times[names[j]] })
	if fast, slow := times[names[0]], times[names[2]]; slow > 3*fast {
		t.Errorf("%s takes %v, %s %v", names[0], fast, names[2], slow)
	}
}
