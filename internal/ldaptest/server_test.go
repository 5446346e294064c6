package ldaptest_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/ldaptest"
)

func TestItKnowsItsPeople(t *testing.T) {
	s := ldaptest.Start(t)
	for dn, tt := range map[string]struct {
		password string
		ok       bool
	}{
		"uid=alice," + ldaptest.UserDN: {"alicepw", true},
		"uid=bob," + ldaptest.UserDN:   {"alicepw", false},
		ldaptest.ServiceDN:             {ldaptest.ServicePW, true},
	} {
		c, err := s.As(dn, tt.password)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", dn, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
	s.Stop()
	s.Restart()
	if _, err := s.As(ldaptest.BindDN, ldaptest.BindPassword); err != nil {
		t.Error(err)
	}
}
