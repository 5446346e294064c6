package totp_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"image/png"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/totp"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// in is a request's body.
type in = map[string]any

func mounted(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, totp.Type.Routes, totp.Type.New)
}

func text(t *testing.T, r enginetest.Result, name string) string {
	t.Helper()
	s, ok := r.Map(t)[name].(string)
	if !ok {
		t.Fatalf("the answer has no text %q: %s", name, r.Data)
	}
	return s
}

// at moves the clock to a Unix time.
func at(m *enginetest.Mount, seconds int64) {
	to := time.Unix(seconds, 0)
	for !m.Clock.Now().Equal(to) { // a duration has at most 292 years
		m.Clock.Advance(to.Sub(m.Clock.Now()))
	}
}

// TestVectorsOfRFC6238 is appendix B of the RFC.
func TestVectorsOfRFC6238(t *testing.T) {
	seed := strings.Repeat("1234567890", 7)
	secrets := map[string]string{"SHA1": seed[:20], "SHA256": seed[:32], "SHA512": seed[:64]}
	m := mounted(t)
	for name, secret := range secrets {
		m.Write("keys/"+name, in{"key": base32.StdEncoding.EncodeToString([]byte(secret)), "algorithm": name, "digits": 8, "account_name": "a"})
	}
	for _, tt := range []struct {
		time                 int64
		sha1, sha256, sha512 string
	}{
		{59, "94287082", "46119246", "90693936"},
		{1111111109, "07081804", "68084774", "25091201"},
		{1111111111, "14050471", "67062674", "99943326"},
		{1234567890, "89005924", "91819424", "93441116"},
		{2000000000, "69279037", "90698825", "38618901"},
		{20000000000, "65353130", "77737706", "47863826"},
	} {
		at(m, tt.time)
		for name, want := range map[string]string{"SHA1": tt.sha1, "SHA256": tt.sha256, "SHA512": tt.sha512} {
			if got := text(t, m.Read("code/"+name), "code"); got != want {
				t.Errorf("%s at %d: %s, want %s", name, tt.time, got, want)
			}
		}
	}
}

// valid checks a code; an error of kind Invalid is "used".
func valid(t *testing.T, m *enginetest.Mount, name, code string) string {
	t.Helper()
	r := m.Call(route.VerbWrite, "code/"+name, in{"code": code})
	switch {
	case r.Err != nil && fault.KindOf(r.Err) == fault.Invalid:
		return "refused"
	case r.Err != nil:
		t.Fatal(r.Err)
	case r.Map(t)["valid"] == true:
		return "valid"
	}
	return "wrong"
}

func TestCodesAreGoodOnceAndNearTheirTime(t *testing.T) {
	m := mounted(t)
	at(m, 1_000_000_020) // 20 seconds into a period of 30
	key := in{"generate": true, "issuer": "i", "account_name": "a"}
	m.Write("keys/k", key)
	code := func(shift int64) string {
		at(m, 1_000_000_020+shift)
		defer at(m, 1_000_000_020)
		return text(t, m.Read("code/k"), "code")
	}
	for _, tt := range []struct {
		shift int64
		want  string
	}{{-60, "wrong"}, {-30, "valid"}, {-30, "refused"}, {0, "valid"}, {0, "refused"}, {30, "valid"}, {30, "refused"}, {60, "wrong"}} {
		if got := valid(t, m, "k", code(tt.shift)); got != tt.want {
			t.Errorf("the code of %d seconds from now is %s, want %s", tt.shift, got, tt.want)
		}
	}
	// Within the window of a code a later request does not bring it back.
	late := code(30)
	at(m, 1_000_000_060)
	if got := valid(t, m, "k", late); got != "refused" {
		t.Errorf("a used code is %s a period later", got)
	}
	at(m, 1_000_000_140)
	if got := valid(t, m, "k", late); got != "wrong" {
		t.Errorf("a code of long ago is %s", got)
	}
	for _, bad := range []string{"", "12345", "1234567", "12345a", "１２３４５６", "-12345"} {
		if got := valid(t, m, "k", bad); got != "refused" {
			t.Errorf("%q is %s", bad, got)
		}
	}
	key["skew"] = 0
	m.Write("keys/k", key)
	at(m, 1_000_000_020)
	if got := valid(t, m, "k", code(-30)); got != "wrong" {
		t.Errorf("without skew the last code is %s", got)
	}
	if got := valid(t, m, "k", code(0)); got != "valid" {
		t.Errorf("without skew the present code is %s", got)
	}
}

// TestOfManyAtOnceOneIsAccepted sends the same code from many places.
func TestOfManyAtOnceOneIsAccepted(t *testing.T) {
	m := mounted(t)
	m.Write("keys/k", in{"generate": true, "issuer": "i", "account_name": "a"})
	code := text(t, m.Read("code/k"), "code")
	results := make(chan string, 20)
	var wg sync.WaitGroup
	for range cap(results) {
		wg.Go(func() {
			r := m.Call(route.VerbWrite, "code/k", in{"code": code})
			if r.Err == nil {
				results <- string(r.Data)
			} else {
				results <- fault.KindOf(r.Err).String()
			}
		})
	}
	wg.Wait()
	close(results)
	accepted := 0
	for r := range results {
		if r == `{"valid":true}` {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
}

func TestGeneratedKeys(t *testing.T) {
	m := mounted(t)
	r := m.Write("keys/k", in{"generate": true, "issuer": "Big Corp", "account_name": "me@example.org", "algorithm": "SHA256", "digits": 8, "period": "1m", "key_size": 32, "qr_size": 300})
	u, err := url.Parse(text(t, r, "url"))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Big Corp:me@example.org" || q.Get("issuer") != "Big Corp" || q.Get("algorithm") != "SHA256" || q.Get("digits") != "8" || q.Get("period") != "60" {
		t.Errorf("the URL is %s", u)
	}
	if strings.Contains(text(t, r, "url"), "+") {
		t.Error("the URL has a plus, which apps do not read as a space")
	}
	raw, err := base64.StdEncoding.DecodeString(text(t, r, "barcode"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil || img.Bounds().Dx() != 300 {
		t.Errorf("the barcode: %v", err)
	}
	// The device that scanned it has the same codes.
	device := mounted(t)
	device.Write("keys/k", in{"url": text(t, r, "url")})
	if got := valid(t, m, "k", text(t, device.Read("code/k"), "code")); got != "valid" {
		t.Errorf("the device's code is %s", got)
	}
	want := map[string]any{"account_name": "me@example.org", "algorithm": "SHA256", "digits": 8.0, "issuer": "Big Corp", "period": 60.0}
	for _, m := range []*enginetest.Mount{m, device} {
		if diff := cmp.Diff(want, m.Read("keys/k").Map(t)); diff != "" {
			t.Error(diff)
		}
	}
	if r := m.Write("keys/hidden", in{"generate": true, "exported": false, "issuer": "i", "account_name": "a"}); r.Data != nil {
		t.Errorf("a key that is not exported is answered: %s", r.Data)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	m := mounted(t)
	const secret = "JBSWY3DPEHPK3PXP"
	for _, bad := range []in{
		{}, {"key": "not base32!"}, {"key": "", "account_name": "a"}, {"key": secret, "generate": true}, {"key": secret, "digits": 7}, {"key": secret, "period": 0},
		{"key": secret, "algorithm": "MD5"}, {"key": secret, "skew": 2}, {"key": secret, "account_name": "a:b"}, {"key": secret, "qr_size": -1}, {"key": secret, "qr_size": 1 << 20},
		{"generate": true, "issuer": "i"}, {"generate": true, "account_name": "a"}, {"generate": true, "issuer": "i", "account_name": "a", "key_size": 8},
		{"generate": true, "issuer": "i", "account_name": strings.Repeat("a", 4000)},
		{"url": "http://totp/x?secret=" + secret}, {"url": "otpauth://hotp/x?secret=" + secret}, {"url": "otpauth://totp/x"}, {"url": "otpauth://totp/x?secret=!"},
		{"url": "otpauth://totp/x?secret=" + secret + "&period=x"}, {"url": "otpauth://totp/x?secret=" + secret + "&digits=9"}, {"url": "otpauth://totp/x?secret=" + secret + "&algorithm=x"},
		{"url": "otpauth://totp/x?secret=" + secret, "key": secret},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "keys/k", bad)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "keys/a b", in{"key": secret})
	m.Write("keys/k", in{"key": "jbsw y3dp-ehpk 3pxp====", "account_name": "a"})
	if r := m.Read("keys/k"); strings.Contains(strings.ToUpper(string(r.Data)), secret) {
		t.Errorf("the secret is shown: %s", r.Data)
	}
}

// FuzzURL looks for URLs that make the parser panic, and checks that what it
// takes gives codes.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{"otpauth://totp/a:b?secret=JBSWY3DPEHPK3PXP", "otpauth://totp/?secret=AA&period=1&digits=8&algorithm=sha512", "otpauth://totp/%zz", "otpauth:totp", "otpauth://totp/a?secret=AA&period=-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, u string) {
		m := mounted(t)
		if r := m.Call(route.VerbWrite, "keys/k", in{"url": u}); r.Err != nil {
			return
		}
		if code := text(t, m.Read("code/k"), "code"); len(code) != 6 && len(code) != 8 {
			t.Fatalf("the code is %q", code)
		}
	})
}
